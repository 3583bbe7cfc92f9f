package v1alpha1_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// spec is a target's spec as somebody writes it.
type spec = map[string]any

func written(s spec) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": s}}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BackupTarget"))
	o.SetGenerateName("t-")
	return o
}

// with is a spec with one part replaced; nil removes it.
func with(s spec, key string, value any) spec {
	out := spec{}
	for k, v := range s {
		out[k] = v
	}
	if out[key] = value; value == nil {
		delete(out, key)
	}
	return out
}

// TestTheAPIServerJudgesTargets: what is right is taken, and of what is not each
// refusal names the field, its value where that tells something, and what to do.
func TestTheAPIServerJudgesTargets(t *testing.T) {
	c, _ := apiClient(t)
	s3 := spec{"endpoint": "https://s3.example.org:9000", "bucket": "backups", "region": "eu-1"}
	nfs := spec{"server": "nfs.example.org", "path": "/export/backups"}
	cifs := spec{"server": "files", "share": "backups"}
	azure := spec{"container": "backups"}
	on := func(kind string, s spec, key string, value any) spec {
		out := spec{kind: with(s, key, value)}
		if kind != "nfs" {
			out["credentialSecret"] = "keys"
		}
		return out
	}
	for name, s := range map[string]spec{
		"AWS":                 on("s3", s3, "endpoint", nil),
		"prefix":              on("s3", s3, "prefix", "team/backups.v1"),
		"http, with the word": {"s3": with(with(s3, "endpoint", "http://10.0.0.1:9000/"), "insecure", true), "credentialSecret": "keys"},
		"virtual hosted":      on("s3", s3, "virtualHostedStyle", true),
		"NFS":                 {"nfs": nfs},
		"NFS over IPv6":       on("nfs", nfs, "server", "[fd00::1]"),
		"NFS with options":    on("nfs", nfs, "options", []any{"nfsvers=4.1", "softerr", "timeo=150", "retrans=3"}),
		"CIFS":                on("cifs", cifs, "options", []any{"vers=3.0", "soft"}),
		"a hidden share":      on("cifs", cifs, "share", "backups$/longhorn"),
		"Azure":               on("azureBlob", azure, "prefix", "a/b"),
		"Azure in China":      on("azureBlob", azure, "endpointSuffix", "core.chinacloudapi.cn"),
		"the default":         {"nfs": nfs, "default": true},
		"only read, named":    {"nfs": nfs, "readOnly": true, "allowedNamespaces": spec{"names": []any{"shop"}}},
		"for some":            {"nfs": nfs, "allowedNamespaces": spec{"selector": spec{"matchLabels": spec{"backup": "yes"}}}},
		"never refreshed":     {"nfs": nfs, "refresh": spec{"interval": "Never"}},
		"a directory":         {"directory": spec{"path": "/mnt/backups"}},
	} {
		require.NoError(t, c.Create(t.Context(), written(s), client.DryRunAll), name)
	}
	for name, bad := range map[string]struct {
		spec spec
		says string
	}{
		"nothing":                       {spec{}, "exactly one of spec.s3, spec.nfs, spec.cifs, spec.azureBlob and spec.directory must be set"},
		"two kinds":                     {spec{"nfs": nfs, "directory": spec{"path": "/b"}}, "exactly one of spec.s3, spec.nfs"},
		"S3 without keys":               {spec{"s3": s3}, "spec.credentialSecret is required with spec.s3: name a Secret"},
		"CIFS without keys":             {spec{"cifs": cifs}, "spec.credentialSecret is required with spec.cifs: name a Secret with CIFS_USERNAME"},
		"Azure without keys":            {spec{"azureBlob": azure}, "spec.credentialSecret is required with spec.azureBlob: name a Secret with AZBLOB_ACCOUNT_NAME"},
		"NFS with keys":                 {spec{"nfs": nfs, "credentialSecret": "keys"}, "spec.credentialSecret does not belong to spec.nfs, which knows no keys: remove it"},
		"http without the word":         {on("s3", s3, "endpoint", "http://10.0.0.1:9000"), "spec.s3.endpoint http://10.0.0.1:9000 is http, so data and object names can be read on the way: use https, or set spec.s3.insecure to true"},
		"the word without http":         {on("s3", s3, "insecure", true), "spec.s3.insecure is true, and only belongs to an http:// endpoint: remove it"},
		"a CA for http":                 {spec{"s3": with(with(with(s3, "endpoint", "http://s3"), "insecure", true), "caBundle", "x"), "credentialSecret": "keys"}, "spec.s3.caBundle does not belong to an http:// endpoint"},
		"a user in the endpoint":        {on("s3", s3, "endpoint", "https://key:secret@s3.example.org"), "without user and path: correct it"},
		"an endpoint with a path":       {on("s3", s3, "endpoint", "https://s3.example.org/x"), "spec.s3.endpoint is https://s3.example.org/x, which is no URL"},
		"a region that is none":         {on("s3", s3, "region", "eu_1"), "spec.s3.region is eu_1, which is no name of a region"},
		"a bucket that is none":         {on("s3", s3, "bucket", "My_Bucket"), "spec.s3.bucket is My_Bucket, which is no name of a bucket: use 3 to 63"},
		"a prefix that climbs":          {on("s3", s3, "prefix", "a/../b"), "spec.s3.prefix is a/../b, which is not names joined by slashes"},
		"a prefix with a slash":         {on("s3", s3, "prefix", "/a"), "spec.s3.prefix is /a, which is not names joined by slashes"},
		"an unknown field":              {on("s3", s3, "bucketName", "b"), `unknown field "spec.s3.bucketName"`},
		"a misspelt kind":               {spec{"S3": s3}, `unknown field "spec.S3"`},
		"an NFS path that is none":      {on("nfs", nfs, "path", "export"), "spec.nfs.path is export, which is no absolute path"},
		"an NFS path with a comma":      {on("nfs", nfs, "path", "/a,b"), "spec.nfs.path is /a,b, which is no absolute path"},
		"an NFS server with a path":     {on("nfs", nfs, "server", "nas/export"), "spec.nfs.server is nas/export, which is no host name or address"},
		"NFS that hangs for good":       {on("nfs", nfs, "options", []any{"hard", "timeo=50"}), "spec.nfs.options lacks soft, so replicas would hang for good when the server is away: add soft or softerr"},
		"options in one":                {on("nfs", nfs, "options", []any{"soft,timeo=50"}), "put each into an item of its own"},
		"a password in options":         {on("cifs", cifs, "options", []any{"password=x"}), "put them into the Secret, as CIFS_USERNAME and CIFS_PASSWORD"},
		"a share that climbs":           {on("cifs", cifs, "share", "a/../b"), "spec.cifs.share is a/../b, which is no share"},
		"a container that is none":      {on("azureBlob", azure, "container", "a--b"), "spec.azureBlob.container is a--b, which is no name of a container"},
		"Azure over http":               {on("azureBlob", azure, "endpoint", "http://10.0.0.1:10000"), "or set spec.azureBlob.insecure to true"},
		"two ways to Azure":             {on("azureBlob", with(azure, "endpoint", "https://b:1"), "endpointSuffix", "x.y"), "spec.azureBlob.endpoint and spec.azureBlob.endpointSuffix exclude each other"},
		"a negative interval":           {spec{"nfs": nfs, "refresh": spec{"interval": "-5m"}}, "spec.refresh.interval must be Never or a duration, such as 5m, that is not negative"},
		"a negative number":             {spec{"nfs": nfs, "refresh": spec{"interval": -300}}, "spec.refresh.interval"},
		"a default that is only read":   {spec{"nfs": nfs, "default": true, "readOnly": true}, "spec.default does not go with spec.readOnly"},
		"nobody allowed":                {spec{"nfs": nfs, "allowedNamespaces": spec{}}, "spec.allowedNamespaces allows nothing: set names or selector"},
		"a directory that is no path":   {spec{"directory": spec{"path": "b"}}, "spec.directory.path is b, which is no absolute path"},
		"compression that is not known": {spec{"nfs": nfs, "compression": "zstd"}, `spec.compression: Unsupported value: "zstd"`},
	} {
		err := c.Create(t.Context(), written(bad.spec), client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
		require.ErrorContains(t, err, bad.says, name)
	}
}
