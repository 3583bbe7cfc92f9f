package target_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

func TestURL(t *testing.T) {
	got, err := target.URL(v1alpha1.BackupTargetSpec{S3: &v1alpha1.S3Target{Bucket: "b", Region: "eu-1"}})
	require.NoError(t, err)
	require.Equal(t, "s3://b@eu-1/", got)
	for _, path := range []string{"/mnt/backups", "/", "/a?volume=x", "/a#b", "/a%41", "/a&backup=y"} {
		got, err := target.URL(v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: path}})
		require.NoError(t, err)
		// The engine parses the backup's URL and takes its path.
		u, err := url.Parse(target.BackupURL(got, "vol", "bak"))
		require.NoError(t, err)
		require.Equal(t, path, u.Path)
		require.Equal(t, url.Values{"volume": {"vol"}, "backup": {"bak"}}, u.Query())
	}
	_, err = target.URL(v1alpha1.BackupTargetSpec{})
	require.Error(t, err)
}

func TestCredential(t *testing.T) {
	spec := v1alpha1.BackupTargetSpec{S3: &v1alpha1.S3Target{Endpoint: "https://s3:9000/", CABundle: "pem", VirtualHostedStyle: true}, CredentialSecret: "s"}
	secret := map[string][]byte{target.AccessKeyID: []byte("id\n"), target.SecretAccessKey: []byte(" key ")}
	c, err := target.Credential(spec, secret)
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		target.AccessKeyID: "id", target.SecretAccessKey: "key", target.Endpoints: "https://s3:9000",
		target.Cert: "pem", target.VirtualHostedStyle: "true",
	}, c)
	for _, missing := range []string{target.AccessKeyID, target.SecretAccessKey} {
		_, err := target.Credential(spec, map[string][]byte{otherThan(missing): []byte("x")})
		require.ErrorContains(t, err, missing)
	}
	// A directory sets every variable too, empty.
	d, err := target.Credential(v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: "/x"}}, nil)
	require.NoError(t, err)
	require.Len(t, d, len(c))
	require.Empty(t, d[target.SecretAccessKey])
}

func otherThan(key string) string {
	if key == target.AccessKeyID {
		return target.SecretAccessKey
	}
	return target.AccessKeyID
}
