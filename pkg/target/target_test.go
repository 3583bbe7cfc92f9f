package target_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

// The forms are those that Longhorn's documentation and backupstore's drivers
// have.
func TestURL(t *testing.T) {
	for want, spec := range map[string]v1alpha1.BackupTargetSpec{
		"s3://b@eu-1/":                        {S3: &v1alpha1.S3Target{Bucket: "b", Region: "eu-1"}},
		"s3://b@eu-1/team/backups/":           {S3: &v1alpha1.S3Target{Bucket: "b", Region: "eu-1", Prefix: "team/backups"}},
		"nfs://nfs.example.org:/export/b":     {NFS: &v1alpha1.NFSTarget{Server: "nfs.example.org", Path: "/export/b"}},
		"nfs://[fd00::1]:/":                   {NFS: &v1alpha1.NFSTarget{Server: "[fd00::1]", Path: "/"}},
		"cifs://files/share/folder":           {CIFS: &v1alpha1.CIFSTarget{Server: "files", Share: "share/folder"}},
		"cifs://files/hidden$":                {CIFS: &v1alpha1.CIFSTarget{Server: "files", Share: "hidden$"}},
		"azblob://c@core.windows.net/":        {AzureBlob: &v1alpha1.AzureBlobTarget{Container: "c"}},
		"azblob://c@core.chinacloudapi.cn/x/": {AzureBlob: &v1alpha1.AzureBlobTarget{Container: "c", EndpointSuffix: "core.chinacloudapi.cn", Prefix: "x"}},
	} {
		got, err := target.URL(spec)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, want, target.Place(spec))
	}
	_, err := target.URL(v1alpha1.BackupTargetSpec{})
	require.Error(t, err)
}

// The engine parses the backup's URL and takes server, path and options of it.
func TestBackupURL(t *testing.T) {
	for _, path := range []string{"/mnt/backups", "/", "/a?volume=x", "/a#b", "/a%41", "/a&backup=y"} {
		got, err := target.URL(v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: path}})
		require.NoError(t, err)
		u, err := url.Parse(target.BackupURL(got, "vol", "bak"))
		require.NoError(t, err)
		require.Equal(t, path, u.Path)
		require.Equal(t, url.Values{"volume": {"vol"}, "backup": {"bak"}}, u.Query())
	}
	for _, spec := range []v1alpha1.BackupTargetSpec{
		{NFS: &v1alpha1.NFSTarget{Server: "s", Path: "/p", Options: []string{"soft", "timeo=150"}}},
		{CIFS: &v1alpha1.CIFSTarget{Server: "s", Share: "p", Options: []string{"soft", "timeo=150"}}},
	} {
		got, err := target.URL(spec)
		require.NoError(t, err)
		u, err := url.Parse(target.BackupURL(got, "vol", "bak"))
		require.NoError(t, err)
		require.Equal(t, "/p", u.Path)
		require.Equal(t, "s", u.Hostname())
		require.Equal(t, []string{"soft,timeo=150"}, u.Query()[u.Scheme+"Options"])
		require.Equal(t, "bak", u.Query().Get("backup"))
		require.Equal(t, u.Scheme+"://"+u.Host+"/p", target.Place(spec))
	}
}

func s3(change func(*v1alpha1.S3Target)) v1alpha1.BackupTargetSpec {
	s := &v1alpha1.S3Target{Endpoint: "https://s3:9000/", Bucket: "b", Region: "r"}
	if change != nil {
		change(s)
	}
	return v1alpha1.BackupTargetSpec{S3: s, CredentialSecret: "s"}
}

func secret(more ...string) map[string][]byte {
	out := map[string][]byte{target.AccessKeyID: []byte("id\n"), target.SecretAccessKey: []byte(" key ")}
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = []byte(more[i+1])
	}
	return out
}

func TestCredential(t *testing.T) {
	c, err := target.Credential(s3(func(s *v1alpha1.S3Target) { s.CABundle, s.VirtualHostedStyle = "pem", true }), secret())
	require.NoError(t, err)
	set := map[string]string{
		target.AccessKeyID: "id", target.SecretAccessKey: "key", target.Endpoints: "https://s3:9000",
		target.Cert: "pem", target.VirtualHostedStyle: "true",
	}
	for name, value := range c {
		require.Equal(t, set[name], value, name)
	}

	// A Secret made for Longhorn does, as long as it says what the target says.
	whole, err := target.Credential(s3(nil), secret(target.Endpoints, "https://s3:9000", target.Cert, "pem", target.VirtualHostedStyle, "true",
		target.HTTPProxy, "http://proxy:3128", target.HTTPSProxy, "http://u:pw@proxy:3128", target.NoProxy, "10.0.0.0/8"))
	require.NoError(t, err)
	require.Equal(t, "pem", whole[target.Cert])
	require.Equal(t, "true", whole[target.VirtualHostedStyle])
	require.Equal(t, "http://u:pw@proxy:3128", whole[target.HTTPSProxy])
	require.Subset(t, target.Secrets(whole), []string{"key", "pw"})

	// Every kind sets every variable, empty where it is not its own.
	for _, spec := range []v1alpha1.BackupTargetSpec{
		{Directory: &v1alpha1.DirectoryTarget{Path: "/x"}},
		{NFS: &v1alpha1.NFSTarget{Server: "s", Path: "/x"}},
	} {
		d, err := target.Credential(spec, nil)
		require.NoError(t, err)
		require.Len(t, d, len(c))
		require.Empty(t, d[target.SecretAccessKey])
	}
	cifs, err := target.Credential(v1alpha1.BackupTargetSpec{CIFS: &v1alpha1.CIFSTarget{}}, map[string][]byte{target.CIFSUsername: []byte("u"), target.CIFSPassword: []byte("p")})
	require.NoError(t, err)
	require.Len(t, cifs, len(c))
	require.Equal(t, []string{"p"}, target.Secrets(cifs))
	azure, err := target.Credential(v1alpha1.BackupTargetSpec{AzureBlob: &v1alpha1.AzureBlobTarget{Endpoint: "https://a/"}},
		map[string][]byte{target.AzureAccountName: []byte("n"), target.AzureAccountKey: []byte("a2V5")})
	require.NoError(t, err)
	require.Len(t, azure, len(c))
	require.Equal(t, "https://a", azure[target.AzureEndpoint])
}

func TestASecretIsRefused(t *testing.T) {
	cifs := v1alpha1.BackupTargetSpec{CIFS: &v1alpha1.CIFSTarget{}, CredentialSecret: "s"}
	azure := v1alpha1.BackupTargetSpec{AzureBlob: &v1alpha1.AzureBlobTarget{}, CredentialSecret: "s"}
	without := secret()
	delete(without, target.SecretAccessKey)
	hosted := s3(func(s *v1alpha1.S3Target) { s.VirtualHostedStyle, s.CABundle = true, "other" })
	for name, c := range map[string]struct {
		spec   v1alpha1.BackupTargetSpec
		secret map[string][]byte
		says   string
	}{
		"no key ID":                {s3(nil), nil, "has no AWS_ACCESS_KEY_ID: add it"},
		"no key":                   {s3(nil), without, "has no AWS_SECRET_ACCESS_KEY: add it"},
		"another kind's key":       {s3(nil), secret(target.CIFSPassword, "hidden"), "has the key CIFS_PASSWORD, which does not belong"},
		"misspelt":                 {s3(nil), secret("AWS_CERTS", "hidden"), "has the key AWS_CERTS"},
		"another endpoint":         {s3(nil), secret(target.Endpoints, "https://other"), "AWS_ENDPOINTS of secret \"s\" is https://other and spec.s3.endpoint is \"https://s3:9000\""},
		"another authority":        {hosted, secret(target.Cert, "hidden"), "AWS_CERT of secret \"s\" differs from spec.s3.caBundle"},
		"another style":            {hosted, secret(target.VirtualHostedStyle, "false"), "remove one of them"},
		"no style":                 {s3(nil), secret(target.VirtualHostedStyle, "yes"), "use true or false"},
		"a proxy that is no URL":   {s3(nil), secret(target.HTTPSProxy, "hidden:3128"), "HTTPS_PROXY of secret \"s\" is no URL of a proxy"},
		"no password":              {cifs, map[string][]byte{target.CIFSUsername: []byte("u")}, "has no CIFS_PASSWORD"},
		"keys of S3 for CIFS":      {cifs, secret(), "AWS_ACCESS_KEY_ID, which does not belong"},
		"a key that is not base64": {azure, map[string][]byte{target.AzureAccountName: []byte("n"), target.AzureAccountKey: []byte("hidden!")}, "is not base64"},
	} {
		_, err := target.Credential(c.spec, c.secret)
		require.ErrorContains(t, err, c.says, name)
		require.NotContains(t, err.Error(), "hidden", name)
	}
}

// What stands for no authority is one for nobody, and an engine takes it.
func TestForEngine(t *testing.T) {
	c, err := target.Credential(s3(func(s *v1alpha1.S3Target) { s.CABundle = "pem" }), secret())
	require.NoError(t, err)
	got, err := target.ForEngine(c)
	require.NoError(t, err)
	require.Equal(t, "pem", got[target.Cert])
	require.Empty(t, c[target.AzureCert], "the credential itself was changed")
	block, _ := pem.Decode([]byte(got[target.AzureCert]))
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.False(t, cert.IsCA)
	require.True(t, cert.NotAfter.Before(time.Now()))
	delete(c, target.Cert)
	for name, value := range got {
		if name != target.Cert && name != target.AzureCert {
			require.Equal(t, c[name], value)
		}
	}
}
