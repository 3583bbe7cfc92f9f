package command_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/command"
	"hayloft.dev/pkg/api/v1alpha1"
)

// hidden is a key that no output may show.
const hidden = "hunter2-key"

const keys = "# of the bucket\nAWS_ACCESS_KEY_ID=id\n\nAWS_SECRET_ACCESS_KEY=" + hidden + "=\n"

// makeTarget runs hayloft target create, with content on standard input. Hayloft's
// namespace is the world's.
func (w *world) makeTarget(t *testing.T, in string, args ...string) result {
	t.Helper()
	var out, errs strings.Builder
	code := command.Run(t.Context(), command.Env{
		Program: "hayloft", Args: append(append([]string{"target", "create"}, args...), "--kubeconfig", w.kubeconfig, "--system-namespace", w.namespace),
		In: strings.NewReader(in), Out: &out, Err: &errs, Now: time.Now,
	})
	assert.NotContains(t, out.String()+errs.String(), hidden)
	return result{code, out.String(), errs.String()}
}

// made is a target, nil if there is none.
func (w *world) madeTarget(t *testing.T, name string) *v1alpha1.BackupTarget {
	t.Helper()
	b := &v1alpha1.BackupTarget{}
	err := w.Get(t.Context(), client.ObjectKey{Name: name}, b)
	if apierrors.IsNotFound(err) {
		return nil
	}
	require.NoError(t, err)
	return b
}

func (w *world) madeSecret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{}
	err := w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	require.NoError(t, err)
	return s
}

func TestTargetCreate(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "keys.env")
	require.NoError(t, os.WriteFile(file, []byte(keys), 0o600))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, []byte("a certificate"), 0o600))
	name := "s3-" + w.namespace // targets have no namespace

	r := w.makeTarget(t, "", name, "s3://backups@eu-1/team", "--endpoint", "https://s3.example.org:9000", "--ca-file", ca, "--credentials-file", file,
		"--default", "--allow-namespace", "shop,lab", "--recipient", "age1x", "--identity-secret", "identity", "--virtual-hosted-style", "--dry-run")
	require.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "backuptarget.hayloft.dev/"+name+" would be created\n", r.out)
	require.Nil(t, w.madeTarget(t, name))
	require.Nil(t, w.madeSecret(t, name))

	r = w.makeTarget(t, "", name, "s3://backups@eu-1/team", "--endpoint", "https://s3.example.org:9000", "--ca-file", ca, "--credentials-file", file,
		"--default", "--allow-namespace", "shop,lab", "--recipient", "age1x", "--identity-secret", "identity", "--virtual-hosted-style")
	require.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "backuptarget.hayloft.dev/"+name+" created\n", r.out)
	assert.Equal(t, "secret/"+name+" created in namespace "+w.namespace+"\n", r.err)
	spec := w.madeTarget(t, name).Spec
	spec.MaxConcurrentJobs, spec.Compression, spec.Threads = 0, "", 0 // the API's defaults
	assert.Equal(t, v1alpha1.BackupTargetSpec{
		S3:               &v1alpha1.S3Target{Endpoint: "https://s3.example.org:9000", Bucket: "backups", Region: "eu-1", Prefix: "team", VirtualHostedStyle: true, CABundle: "a certificate"},
		CredentialSecret: name, Default: true, AllowedNamespaces: &v1alpha1.AllowedNamespaces{Names: []string{"shop", "lab"}},
		Encryption: &v1alpha1.TargetEncryption{Recipients: []string{"age1x"}, IdentitySecret: "identity"},
	}, spec)
	assert.Equal(t, map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("id"), "AWS_SECRET_ACCESS_KEY": []byte(hidden + "=")}, w.madeSecret(t, name).Data)

	// A Secret that exists is never written to.
	r = w.makeTarget(t, "AWS_ACCESS_KEY_ID=other\nAWS_SECRET_ACCESS_KEY=other", name+"-2", "s3://backups@eu-1/", "--secret", name, "--credentials-file", "-")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, "which is left as it is: name another with --secret")
	require.Nil(t, w.madeTarget(t, name+"-2"))
	assert.Equal(t, []byte("id"), w.madeSecret(t, name).Data["AWS_ACCESS_KEY_ID"])
	r = w.makeTarget(t, "", name+"-2", "s3://backups@eu-1/", "--secret", name, "-o", "json")
	require.Equal(t, 0, r.code, r.err)
	var printed v1alpha1.BackupTarget
	require.NoError(t, json.Unmarshal([]byte(r.out), &printed))
	assert.Equal(t, name, printed.Spec.CredentialSecret)

	// Of a target that is refused no Secret is left.
	r = w.makeTarget(t, keys, name+"-3", "s3://backups@eu-1/", "--endpoint", "http://s3.example.org", "--credentials-file", "-")
	assert.Equal(t, 2, r.code)
	assert.Contains(t, r.err, "use https, or set spec.s3.insecure to true")
	assert.Contains(t, r.err, "secret/"+name+"-3 removed again\n")
	require.Nil(t, w.madeSecret(t, name+"-3"))
	r = w.makeTarget(t, keys, name, "s3://backups@eu-1/", "--secret", name+"-3", "--credentials-file", "-")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, `there is already a target called "`+name+`"`)
	require.Nil(t, w.madeSecret(t, name+"-3"))
}

func TestTargetCreateOfEachKind(t *testing.T) {
	w := newWorld(t)
	for url, c := range map[string]struct {
		keys string
		want func(*v1alpha1.BackupTargetSpec) bool
	}{
		"cifs://files/share": {"CIFS_USERNAME=u\nCIFS_PASSWORD=" + hidden, func(s *v1alpha1.BackupTargetSpec) bool { return s.CIFS.Share == "share" }},
		"azblob://backups@core.windows.net/": {
			"AZBLOB_ACCOUNT_NAME=a\nAZBLOB_ACCOUNT_KEY=aGF5bG9mdA==",
			func(s *v1alpha1.BackupTargetSpec) bool { return s.AzureBlob.Container == "backups" },
		},
		"nfs://nas:/export?nfsOptions=soft": {"", func(s *v1alpha1.BackupTargetSpec) bool { return s.NFS.Path == "/export" && s.NFS.Options[0] == "soft" }},
		"vfs:///mnt/backups":                {"", func(s *v1alpha1.BackupTargetSpec) bool { return s.Directory.Path == "/mnt/backups" }},
	} {
		scheme, _, _ := strings.Cut(url, ":")
		args := []string{scheme + "-" + w.namespace, url, "--read-only"}
		if c.keys != "" {
			args = append(args, "--credentials-file", "-")
		}
		r := w.makeTarget(t, c.keys, args...)
		require.Equal(t, 0, r.code, "%s: %s", url, r.err)
		made := w.madeTarget(t, args[0])
		assert.True(t, c.want(&made.Spec), url)
		assert.True(t, made.Spec.ReadOnly)
		assert.Equal(t, c.keys != "", w.madeSecret(t, args[0]) != nil)
	}
}

// What is wrong with a file is told without what is in it, before anything is made.
func TestCredentialsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	name := "refused-" + w.namespace
	for content, says := range map[string]string{
		"":                                       "has no AWS_ACCESS_KEY_ID: add it",
		hidden:                                   "line 1 is not KEY=VALUE",
		"AWS_ACCESS_KEY_ID=id\nkey: " + hidden:   "line 2 is not KEY=VALUE",
		keys + "AWS_SECRET_ACCESS_KEY=" + hidden: "line 5 gives AWS_SECRET_ACCESS_KEY again",
		keys + "CIFS_PASSWORD=" + hidden:         "has the key CIFS_PASSWORD, which does not belong to this kind of target",
		strings.Repeat("#", 2<<20):               "larger than 1 MiB",
	} {
		r := w.makeTarget(t, content, name, "s3://backups@eu-1/", "--credentials-file", "-")
		assert.NotZero(t, r.code)
		assert.Contains(t, r.err, says)
		assert.Equal(t, 1, strings.Count(r.err, "\n"), r.err)
	}
	r := w.makeTarget(t, keys, name, "s3://backups@eu-1/", "--credentials-file", filepath.Join(t.TempDir(), "none"))
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, "no such file")
	require.Nil(t, w.madeTarget(t, name))
	require.Nil(t, w.madeSecret(t, name))
}
