package target

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"slices"
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

	CIFSUsername = "CIFS_USERNAME"
	CIFSPassword = "CIFS_PASSWORD"

	AzureAccountName = "AZBLOB_ACCOUNT_NAME"
	AzureAccountKey  = "AZBLOB_ACCOUNT_KEY"
	AzureEndpoint    = "AZBLOB_ENDPOINT"
	AzureCert        = "AZBLOB_CERT"

	HTTPProxy  = "HTTP_PROXY"
	HTTPSProxy = "HTTPS_PROXY"
	NoProxy    = "NO_PROXY"
)

// variables are all that any target may set.
var variables = []string{
	AccessKeyID, SecretAccessKey, Endpoints, Cert, VirtualHostedStyle, CIFSUsername, CIFSPassword,
	AzureAccountName, AzureAccountKey, AzureEndpoint, AzureCert, HTTPProxy, HTTPSProxy, NoProxy,
}

// proxies go with every target that is spoken to by HTTP.
var proxies = []string{HTTPProxy, HTTPSProxy, NoProxy}

// Credential is the complete set of variables for a target. Every variable
// that any target may set is present, empty where it does not apply: the
// engine's sync agent keeps what it received as process environment, so a
// variable left out would keep the value of an earlier target.
//
// An error names the Secret's key and never shows a value that may be a secret.
func Credential(spec v1alpha1.BackupTargetSpec, secret map[string][]byte) (map[string]string, error) {
	c := map[string]string{}
	for _, name := range variables {
		c[name] = ""
	}
	c[VirtualHostedStyle] = "false"
	s := keys{secret: secret, name: spec.CredentialSecret}
	switch {
	case spec.S3 != nil:
		s.only(slices.Concat([]string{AccessKeyID, SecretAccessKey, Endpoints, Cert, VirtualHostedStyle}, proxies)...)
		c[AccessKeyID], c[SecretAccessKey] = s.required(AccessKeyID), s.required(SecretAccessKey)
		c[Endpoints] = s.same(Endpoints, strings.TrimSuffix(spec.S3.Endpoint, "/"), "spec.s3.endpoint")
		c[Cert] = s.either(Cert, spec.S3.CABundle, "spec.s3.caBundle")
		c[VirtualHostedStyle] = s.style(spec.S3.VirtualHostedStyle)
		s.proxies(c)
	case spec.CIFS != nil:
		s.only(CIFSUsername, CIFSPassword)
		c[CIFSUsername], c[CIFSPassword] = s.required(CIFSUsername), s.required(CIFSPassword)
	case spec.AzureBlob != nil:
		s.only(slices.Concat([]string{AzureAccountName, AzureAccountKey, AzureEndpoint, AzureCert}, proxies)...)
		c[AzureAccountName], c[AzureAccountKey] = s.required(AzureAccountName), s.required(AzureAccountKey)
		if _, err := base64.StdEncoding.DecodeString(c[AzureAccountKey]); err != nil {
			s.refuse("%s of secret %q is not base64, as Azure's keys are: correct it", AzureAccountKey, s.name)
		}
		c[AzureEndpoint] = s.same(AzureEndpoint, strings.TrimSuffix(spec.AzureBlob.Endpoint, "/"), "spec.azureBlob.endpoint")
		c[AzureCert] = s.either(AzureCert, spec.AzureBlob.CABundle, "spec.azureBlob.caBundle")
		s.proxies(c)
	}
	if s.err != nil {
		return nil, s.err
	}
	return c, nil
}

// Secrets are the values among credentials that no message may show.
func Secrets(credential map[string]string) []string {
	var out []string
	for _, name := range []string{SecretAccessKey, CIFSPassword, AzureAccountKey} {
		if v := credential[name]; v != "" {
			out = append(out, v)
		}
	}
	for _, name := range []string{HTTPProxy, HTTPSProxy} {
		if u, err := url.Parse(credential[name]); err == nil && u.User != nil {
			if password, set := u.User.Password(); set && password != "" {
				out = append(out, password, url.QueryEscape(password))
			}
		}
	}
	return out
}

// keys reads a Secret and keeps the first thing that is wrong with it.
type keys struct {
	secret map[string][]byte
	name   string
	err    error
}

func (k *keys) refuse(format string, args ...any) {
	if k.err == nil {
		k.err = fmt.Errorf(format, args...)
	}
}

func (k *keys) value(key string) string { return strings.TrimSpace(string(k.secret[key])) }

func (k *keys) required(key string) string {
	v := k.value(key)
	if v == "" {
		k.refuse("secret %q has no %s: add it", k.name, key)
	}
	return v
}

// only refuses keys that mean nothing to this kind of target: they were meant to.
func (k *keys) only(known ...string) {
	for _, key := range slices.Sorted(maps.Keys(k.secret)) {
		if !slices.Contains(known, key) {
			k.refuse("secret %q has the key %s, which does not belong to this kind of target: remove it (known are %s)", k.name, key, strings.Join(known, ", "))
		}
	}
}

// same is a field's value, which the Secret may repeat, as Longhorn's has it.
func (k *keys) same(key, value, field string) string {
	if v := strings.TrimSuffix(k.value(key), "/"); v != "" && v != value {
		k.refuse("%s of secret %q is %s and %s is %q: set the field to it, or remove the key", key, k.name, v, field, value)
	}
	return value
}

// either is a field's value, or the Secret's where the field is empty.
func (k *keys) either(key, value, field string) string {
	v := k.value(key)
	switch {
	case v == "":
		return value
	case value != "" && strings.TrimSpace(value) != v:
		k.refuse("%s of secret %q differs from %s: remove one of them", key, k.name, field)
	}
	return v
}

func (k *keys) style(hosted bool) string {
	switch v := k.value(VirtualHostedStyle); {
	case v != "" && v != "true" && v != "false":
		k.refuse("%s of secret %q is %q: use true or false", VirtualHostedStyle, k.name, v)
	case v == "false" && hosted:
		k.refuse("%s of secret %q is false and spec.s3.virtualHostedStyle is true: remove one of them", VirtualHostedStyle, k.name)
	case v == "true", hosted:
		return "true"
	}
	return "false"
}

// proxies may hold a password, so they are in the Secret and never shown.
func (k *keys) proxies(c map[string]string) {
	for _, key := range proxies {
		c[key] = k.value(key)
		if key == NoProxy || c[key] == "" {
			continue
		}
		if u, err := url.Parse(c[key]); err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) {
			k.refuse("%s of secret %q is no URL of a proxy, such as http://proxy.example.org:3128: correct it", key, k.name)
		}
	}
}
