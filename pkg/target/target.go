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

// Keys of a target's Secret and of the credentials handed to engines and
// target workers; the names are backupstore's.
const (
	AccessKeyID        = "AWS_ACCESS_KEY_ID"
	SecretAccessKey    = "AWS_SECRET_ACCESS_KEY"
	Endpoints          = "AWS_ENDPOINTS"
	Cert               = "AWS_CERT"
	VirtualHostedStyle = "VIRTUAL_HOSTED_STYLE"
)

// URL is the target in Longhorn's form, such as "s3://bucket@region/" or
// "vfs:///mnt/backups". It holds no credentials.
func URL(spec v1alpha1.BackupTargetSpec) (string, error) {
	switch {
	case spec.S3 != nil:
		return fmt.Sprintf("s3://%s@%s/", spec.S3.Bucket, spec.S3.Region), nil
	case spec.Directory != nil:
		return (&url.URL{Scheme: "vfs", Path: spec.Directory.Path}).String(), nil
	}
	return "", fmt.Errorf("the target has neither spec.s3 nor spec.directory: set exactly one")
}

// BackupURL names one Longhorn backup on a target.
func BackupURL(targetURL, volume, backup string) string {
	return fmt.Sprintf("%s?backup=%s&volume=%s", targetURL, backup, volume)
}

// Credential is the complete set of variables for a target. Every variable
// that any target may set is present, empty where it does not apply: the
// engine's sync agent keeps what it received as process environment, so a
// variable left out would keep the value of an earlier target. backupstore
// applies an empty value to all of them but the keys and AWS_CERT.
func Credential(spec v1alpha1.BackupTargetSpec, secret map[string][]byte) (map[string]string, error) {
	c := map[string]string{
		AccessKeyID: "", SecretAccessKey: "", Endpoints: "", Cert: "", VirtualHostedStyle: "false",
	}
	if spec.S3 == nil {
		return c, nil
	}
	for _, key := range []string{AccessKeyID, SecretAccessKey} {
		v := strings.TrimSpace(string(secret[key]))
		if v == "" {
			return nil, fmt.Errorf("secret %q has no %s: add it", spec.CredentialSecret, key)
		}
		c[key] = v
	}
	c[Endpoints] = strings.TrimSuffix(spec.S3.Endpoint, "/")
	c[Cert] = spec.S3.CABundle
	if spec.S3.VirtualHostedStyle {
		c[VirtualHostedStyle] = "true"
	}
	return c, nil
}
