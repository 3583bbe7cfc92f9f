// Package target turns a BackupTarget and its Secret into what Longhorn's
// backupstore understands: a URL and a set of credential variables. It reads
// and writes nothing.
package target

import (
	"fmt"
	"net/url"
	"strings"

	"hayloft.dev/pkg/api/v1alpha1"
)

// azurePublic is the domain of Azure's public cloud, as backupstore knows it.
const azurePublic = "core.windows.net"

// Kind of a target: S3, NFS, CIFS, AzureBlob or Directory; "" for none.
func Kind(spec v1alpha1.BackupTargetSpec) string {
	switch {
	case spec.S3 != nil:
		return "S3"
	case spec.NFS != nil:
		return "NFS"
	case spec.CIFS != nil:
		return "CIFS"
	case spec.AzureBlob != nil:
		return "AzureBlob"
	case spec.Directory != nil:
		return "Directory"
	}
	return ""
}

// Mounted tells whether a target is a share that somebody mounts for the target
// worker. Replicas mount it by themselves.
func Mounted(spec v1alpha1.BackupTargetSpec) bool { return spec.NFS != nil || spec.CIFS != nil }

// URL is the target in Longhorn's form, such as "s3://bucket@region/",
// "nfs://server:/export?nfsOptions=soft" or "vfs:///mnt/backups". It holds no
// credentials.
func URL(spec v1alpha1.BackupTargetSpec) (string, error) {
	switch {
	case spec.S3 != nil:
		return fmt.Sprintf("s3://%s@%s/%s", spec.S3.Bucket, spec.S3.Region, folder(spec.S3.Prefix)), nil
	case spec.NFS != nil:
		u := url.URL{Scheme: "nfs", Host: spec.NFS.Server + ":", Path: spec.NFS.Path}
		return withOptions(u, "nfsOptions", spec.NFS.Options), nil
	case spec.CIFS != nil:
		u := url.URL{Scheme: "cifs", Host: spec.CIFS.Server, Path: "/" + spec.CIFS.Share}
		return withOptions(u, "cifsOptions", spec.CIFS.Options), nil
	case spec.AzureBlob != nil:
		suffix := spec.AzureBlob.EndpointSuffix
		if suffix == "" {
			suffix = azurePublic
		}
		return fmt.Sprintf("azblob://%s@%s/%s", spec.AzureBlob.Container, suffix, folder(spec.AzureBlob.Prefix)), nil
	case spec.Directory != nil:
		return (&url.URL{Scheme: "vfs", Path: spec.Directory.Path}).String(), nil
	}
	return "", fmt.Errorf("the target has none of spec.s3, spec.nfs, spec.cifs, spec.azureBlob and spec.directory: set exactly one")
}

// Place is the target's URL without options of a mount.
func Place(spec v1alpha1.BackupTargetSpec) string {
	u, _ := URL(spec)
	place, _, _ := strings.Cut(u, "?")
	return place
}

func folder(prefix string) string {
	if prefix == "" {
		return ""
	}
	return prefix + "/"
}

func withOptions(u url.URL, name string, options []string) string {
	if len(options) > 0 {
		u.RawQuery = url.Values{name: {strings.Join(options, ",")}}.Encode()
	}
	return u.String()
}

// BackupURL names one Longhorn backup on a target.
func BackupURL(targetURL, volume, backup string) string {
	separator := "?"
	if strings.Contains(targetURL, "?") {
		separator = "&" // options of a mount are there already
	}
	return fmt.Sprintf("%s%sbackup=%s&volume=%s", targetURL, separator, backup, volume)
}
