package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// S3Target is a bucket of an S3 service.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.endpoint) || !self.endpoint.startsWith('http://') || has(self.insecure) && self.insecure`,message=`spec.s3.endpoint is http, so data and object names can be read on the way: use https, or set spec.s3.insecure to true`,messageExpression=`'spec.s3.endpoint ' + self.endpoint + ' is http, so data and object names can be read on the way: use https, or set spec.s3.insecure to true'`
// +kubebuilder:validation:XValidation:rule=`!has(self.insecure) || !self.insecure || has(self.endpoint) && self.endpoint.startsWith('http://')`,message=`spec.s3.insecure is true, and only belongs to an http:// endpoint: remove it`
// +kubebuilder:validation:XValidation:rule=`!has(self.caBundle) || !has(self.endpoint) || !self.endpoint.startsWith('http://')`,message=`spec.s3.caBundle does not belong to an http:// endpoint, which shows no certificate: remove it, or use https`
type S3Target struct {
	// Endpoint is the service's URL; empty for AWS.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule=`self.matches('^https?://[^/@?#\\s]+/?$')`,message=`spec.s3.endpoint must be a URL such as https://s3.example.org:9000, without a path`,messageExpression=`'spec.s3.endpoint is ' + self + ', which is no URL such as https://s3.example.org:9000, without user and path: correct it'`
	Endpoint string `json:"endpoint,omitempty"`
	// Insecure allows an http:// endpoint.
	// +optional
	Insecure bool `json:"insecure,omitempty"`
	// Bucket must exist. The rule is S3's own for bucket names.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$')`,message=`spec.s3.bucket is no name of a bucket: use 3 to 63 lower-case letters, digits, dots and dashes`,messageExpression=`'spec.s3.bucket is ' + self + ', which is no name of a bucket: use 3 to 63 lower-case letters, digits, dots and dashes'`
	Bucket string `json:"bucket"`
	// Region as the service calls it; some take any.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9-]+$')`,message=`spec.s3.region must be the name of a region, such as eu-central-1: correct it`,messageExpression=`'spec.s3.region is ' + self + ', which is no name of a region, such as eu-central-1: correct it'`
	Region string `json:"region"`
	// Prefix is put before the names of all objects, so that a bucket can hold
	// other things too.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$')`,message=`spec.s3.prefix must be names joined by slashes, such as team/backups: correct it`,messageExpression=`'spec.s3.prefix is ' + self + ', which is not names joined by slashes, such as team/backups: correct it'`
	Prefix string `json:"prefix,omitempty"`
	// VirtualHostedStyle puts the bucket into the host name of requests.
	// +optional
	VirtualHostedStyle bool `json:"virtualHostedStyle,omitempty"`
	// CABundle is a PEM bundle to trust for the endpoint's certificate. AWS_CERT in
	// the Secret is the same.
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	CABundle string `json:"caBundle,omitempty"`
}

// NFSTarget is an export of an NFS 4 server. Replicas mount it by themselves; the
// target worker works on a mount that it is given.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.options) || self.options.exists(o, o == 'soft' || o == 'softerr')`,message=`spec.nfs.options lacks soft, so replicas would hang for good when the server is away: add soft or softerr`
type NFSTarget struct {
	// Server is a DNS name or an address; IPv6 in brackets.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9a-fA-F:.]+\\])$')`,message=`spec.nfs.server must be a host name or an address, such as nfs.example.org: correct it`,messageExpression=`'spec.nfs.server is ' + self + ', which is no host name or address, such as nfs.example.org: correct it'`
	Server string `json:"server"`
	// Path is what the server exports. Longhorn allows neither "$" nor "," in it.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches('^/[^\\s$,?#%]*$') && !self.matches('/[.][.]?(/|$)')`,message=`spec.nfs.path must be an absolute path, such as /export/backups: correct it`,messageExpression=`'spec.nfs.path is ' + self + ', which is no absolute path without blanks and $ , ? # %, such as /export/backups: correct it'`
	Path string `json:"path"`
	// Options of the mount, soft or softerr among them; unset: NFS 4.2, 4.1 or 4.0,
	// whichever works, with Longhorn's actimeo=1,soft,timeo=300,retry=2.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:XValidation:rule=`self.all(o, o.matches('^[a-z0-9_]+(=[A-Za-z0-9._:/-]+)?$'))`,message=`spec.nfs.options must be single options of mount, such as soft or timeo=150: put each into an item of its own`
	Options []string `json:"options,omitempty"`
}

// CIFSTarget is a share of an SMB server. Replicas mount it by themselves; the
// target worker works on a mount that it is given.
type CIFSTarget struct {
	// Server is a DNS name or an address; IPv6 in brackets.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9a-fA-F:.]+\\])$')`,message=`spec.cifs.server must be a host name or an address, such as files.example.org: correct it`,messageExpression=`'spec.cifs.server is ' + self + ', which is no host name or address, such as files.example.org: correct it'`
	Server string `json:"server"`
	// Share, with folders in it if wanted, such as backups or backups/longhorn.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[^\\s/,?#%]+(/[^\\s/,?#%]+)*$') && !self.matches('(^|/)[.][.]?(/|$)')`,message=`spec.cifs.share must be a share, such as backups: correct it`,messageExpression=`'spec.cifs.share is ' + self + ', which is no share without blanks and , ? # %, such as backups or backups/longhorn: correct it'`
	Share string `json:"share"`
	// Options of the mount; unset: Longhorn's soft. User and password are in the
	// Secret.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:XValidation:rule=`self.all(o, o.matches('^[a-z0-9_]+(=[A-Za-z0-9._:/-]+)?$'))`,message=`spec.cifs.options must be single options of mount, such as vers=3.0: put each into an item of its own`
	// +kubebuilder:validation:XValidation:rule=`!self.exists(o, o.matches('^(user|username|pass|password|password2|cred|credentials)='))`,message=`spec.cifs.options names a user or a password: put them into the Secret, as CIFS_USERNAME and CIFS_PASSWORD`
	Options []string `json:"options,omitempty"`
}

// AzureBlobTarget is a container of Azure Blob Storage.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.endpoint) || !self.endpoint.startsWith('http://') || has(self.insecure) && self.insecure`,message=`spec.azureBlob.endpoint is http, so data can be read on the way: use https, or set spec.azureBlob.insecure to true`,messageExpression=`'spec.azureBlob.endpoint ' + self.endpoint + ' is http, so data can be read on the way: use https, or set spec.azureBlob.insecure to true'`
// +kubebuilder:validation:XValidation:rule=`!has(self.insecure) || !self.insecure || has(self.endpoint) && self.endpoint.startsWith('http://')`,message=`spec.azureBlob.insecure is true, and only belongs to an http:// endpoint: remove it`
// +kubebuilder:validation:XValidation:rule=`!has(self.caBundle) || !has(self.endpoint) || !self.endpoint.startsWith('http://')`,message=`spec.azureBlob.caBundle does not belong to an http:// endpoint, which shows no certificate: remove it, or use https`
// +kubebuilder:validation:XValidation:rule=`!has(self.endpoint) || !has(self.endpointSuffix)`,message=`spec.azureBlob.endpoint and spec.azureBlob.endpointSuffix exclude each other: set one of them, or none for Azure's public cloud`
type AzureBlobTarget struct {
	// Container must exist. The rule is Azure's own for their names.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9](-?[a-z0-9]){2,62}$')`,message=`spec.azureBlob.container is no name of a container: use 3 to 63 lower-case letters, digits and single dashes`,messageExpression=`'spec.azureBlob.container is ' + self + ', which is no name of a container: use 3 to 63 lower-case letters, digits and single dashes'`
	Container string `json:"container"`
	// EndpointSuffix of another cloud than Azure's public one, such as
	// core.chinacloudapi.cn.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')`,message=`spec.azureBlob.endpointSuffix must be a domain, such as core.windows.net: correct it`,messageExpression=`'spec.azureBlob.endpointSuffix is ' + self + ', which is no domain, such as core.windows.net: correct it'`
	EndpointSuffix string `json:"endpointSuffix,omitempty"`
	// Endpoint of a service that speaks Azure's language; the account's name is
	// added to it as a path.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule=`self.matches('^https?://[^/@?#\\s]+/?$')`,message=`spec.azureBlob.endpoint must be a URL such as https://blobs.example.org:10000, without a path`,messageExpression=`'spec.azureBlob.endpoint is ' + self + ', which is no URL such as https://blobs.example.org:10000, without user and path: correct it'`
	Endpoint string `json:"endpoint,omitempty"`
	// Insecure allows an http:// endpoint.
	// +optional
	Insecure bool `json:"insecure,omitempty"`
	// Prefix is put before the names of all blobs, so that a container can hold
	// other things too.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$')`,message=`spec.azureBlob.prefix must be names joined by slashes, such as team/backups: correct it`,messageExpression=`'spec.azureBlob.prefix is ' + self + ', which is not names joined by slashes, such as team/backups: correct it'`
	Prefix string `json:"prefix,omitempty"`
	// CABundle is a PEM bundle to trust for the endpoint's certificate. AZBLOB_CERT
	// in the Secret is the same.
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	CABundle string `json:"caBundle,omitempty"`
}

// DirectoryTarget is a directory that every replica and the coordinator see
// under the same path, such as a shared mount.
type DirectoryTarget struct {
	// Path is absolute and must exist.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches('^/[^\\s]*$')`,message=`spec.directory.path must be an absolute path, such as /mnt/backups: correct it`,messageExpression=`'spec.directory.path is ' + self + ', which is no absolute path without blanks, such as /mnt/backups: correct it'`
	Path string `json:"path"`
}

// AllowedNamespaces are those whose points a target takes: named, or picked by
// their labels. A target without it takes those of all.
//
// +kubebuilder:validation:XValidation:rule=`has(self.names) || has(self.selector)`,message=`spec.allowedNamespaces allows nothing: set names or selector, or remove it to allow all namespaces`
type AllowedNamespaces struct {
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	Names []string `json:"names,omitempty"`
	// Selector picks namespaces by their labels.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// TargetTest is what a test of a target found that somebody asked for.
type TargetTest struct {
	// Requested is the request (annotation hayloft.dev/test-requested) that it
	// answers.
	// +kubebuilder:validation:MaxLength=64
	Requested string      `json:"requested"`
	Time      metav1.Time `json:"time"`
	// Passed: the target can be used for what its spec says.
	Passed bool `json:"passed"`
	// Reason and Message say why not.
	// +optional
	Reason string `json:"reason,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message,omitempty"`
	// Warning is what is wrong with a target that can be used.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Warning string `json:"warning,omitempty"`
	// Milliseconds that it took.
	Milliseconds int64 `json:"milliseconds"`
}
