package v1alpha1_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

func apiClient(t *testing.T) (client.Client, string) {
	t.Helper()
	config := harness.APIServer(t)
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	return c, harness.Namespace(t, config)
}

func s3Target(change func(*v1alpha1.BackupTarget)) *v1alpha1.BackupTarget {
	t := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	t.Spec.S3 = &v1alpha1.S3Target{Endpoint: "https://s3.example.org", Bucket: "backups", Region: "eu-1"}
	t.Spec.CredentialSecret = "keys"
	if change != nil {
		change(t)
	}
	return t
}

func TestTheAPIServerRefusesBadTargets(t *testing.T) {
	c, _ := apiClient(t)
	require.NoError(t, c.Create(t.Context(), s3Target(nil)))
	for name, bad := range map[string]struct {
		change func(*v1alpha1.BackupTarget)
		says   string
	}{
		"neither place":        {func(b *v1alpha1.BackupTarget) { b.Spec = v1alpha1.BackupTargetSpec{} }, "exactly one of spec.s3, spec.nfs, spec.cifs, spec.azureBlob and spec.directory"},
		"both places":          {func(b *v1alpha1.BackupTarget) { b.Spec.Directory = &v1alpha1.DirectoryTarget{Path: "/b"} }, "exactly one of spec.s3, spec.nfs, spec.cifs, spec.azureBlob and spec.directory"},
		"S3 without keys":      {func(b *v1alpha1.BackupTarget) { b.Spec.CredentialSecret = "" }, "spec.credentialSecret is required"},
		"bucket name":          {func(b *v1alpha1.BackupTarget) { b.Spec.S3.Bucket = "Not_A_Bucket" }, "spec.s3.bucket"},
		"endpoint without URL": {func(b *v1alpha1.BackupTarget) { b.Spec.S3.Endpoint = "s3.example.org" }, "spec.s3.endpoint"},
		"endpoint with path":   {func(b *v1alpha1.BackupTarget) { b.Spec.S3.Endpoint = "https://s3.example.org/x" }, "spec.s3.endpoint"},
		"unknown compression":  {func(b *v1alpha1.BackupTarget) { b.Spec.Compression = "zstd" }, "spec.compression"},
		"no job at once":       {func(b *v1alpha1.BackupTarget) { b.Spec.MaxConcurrentJobs = -1 }, "spec.maxConcurrentJobs"},
		"keys for a directory": {func(b *v1alpha1.BackupTarget) {
			b.Spec.S3, b.Spec.Directory = nil, &v1alpha1.DirectoryTarget{Path: "/b"}
		}, "does not belong to a directory"},
		"directory not absolute": {func(b *v1alpha1.BackupTarget) {
			b.Spec = v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: "b"}}
		}, "spec.directory.path"},
	} {
		err := c.Create(t.Context(), s3Target(bad.change))
		require.ErrorContains(t, err, bad.says, name)
	}
}

func TestPointsAndRestoresAreImmutable(t *testing.T) {
	c, ns := apiClient(t)
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "b"}, Spec: v1alpha1.VMBackupSpec{VM: "vm", Target: "t"}}
	require.NoError(t, c.Create(t.Context(), b))
	require.Equal(t, v1alpha1.DeletionDelete, b.Spec.DeletionPolicy)
	b.Spec.DeletionPolicy = v1alpha1.DeletionRetain
	require.NoError(t, c.Update(t.Context(), b), "the deletion policy may change")
	for _, change := range []func(*v1alpha1.VMBackup){
		func(b *v1alpha1.VMBackup) { b.Spec.VM = "other" },
		func(b *v1alpha1.VMBackup) { b.Spec.Target = "other" },
	} {
		changed := b.DeepCopy()
		change(changed)
		require.ErrorContains(t, c.Update(t.Context(), changed), "immutable: create another VMBackup")
	}
	long := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: strings.Repeat("b", 64)}, Spec: b.Spec}
	require.ErrorContains(t, c.Create(t.Context(), long), "at most 63 characters")

	r := &v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "r"}, Spec: v1alpha1.VMRestoreSpec{Backup: "b", NewVM: "new"}}
	require.NoError(t, c.Create(t.Context(), r))
	r.Spec.NewVM = "newer"
	require.ErrorContains(t, c.Update(t.Context(), r), "spec is immutable")
	for _, name := range []string{"Upper", "dot.ted", "-dash", strings.Repeat("x", 64)} {
		bad := &v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "bad"}, Spec: v1alpha1.VMRestoreSpec{Backup: "b", NewVM: name}}
		require.ErrorContains(t, c.Create(t.Context(), bad), "spec.newVM", name)
	}
}

func newJob(ns string) *v1alpha1.NodeJob {
	return &v1alpha1.NodeJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "job-"},
		Spec: v1alpha1.NodeJobSpec{
			Owner:           v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: "x", Name: "y", UID: "z"},
			DeadlineSeconds: 60,
			Cut:             &v1alpha1.CutJob{Disks: []v1alpha1.CutDisk{{Name: "root", Volume: "v"}}, WindowMilliseconds: 1000},
		},
	}
}

// TestAnOldOwnerIsRefused: whoever lost a volume cannot write over what its new
// owner said, whatever it believes.
func TestAnOldOwnerIsRefused(t *testing.T) {
	c, ns := apiClient(t)
	job := newJob(ns)
	require.NoError(t, c.Create(t.Context(), job))
	write := func(state v1alpha1.JobState, session string, epochs map[string]int64) error {
		require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(job), job))
		job.Status = v1alpha1.NodeJobStatus{State: state, Session: session, Epochs: epochs}
		return c.Status().Update(t.Context(), job)
	}
	require.NoError(t, write(v1alpha1.JobRunning, "old", map[string]int64{"v": 1, "w": 4}))
	require.NoError(t, write(v1alpha1.JobRunning, "new", map[string]int64{"v": 2, "w": 5}))
	for name, epochs := range map[string]map[string]int64{
		"lower": {"v": 1, "w": 5}, "left out": {"v": 2}, "none": nil,
	} {
		require.ErrorContains(t, write(v1alpha1.JobRunning, "old", epochs), "older lease epoch", name)
	}
	require.NoError(t, write(v1alpha1.JobSucceeded, "new", map[string]int64{"v": 2, "w": 5}))
	require.ErrorContains(t, write(v1alpha1.JobRunning, "newer", map[string]int64{"v": 3, "w": 6}), "a finished job stays finished")
	require.ErrorContains(t, write(v1alpha1.JobFailed, "newer", map[string]int64{"v": 3, "w": 6}), "a finished job stays finished")
}

func TestAJobsWorkIsImmutable(t *testing.T) {
	c, ns := apiClient(t)
	job := newJob(ns)
	require.NoError(t, c.Create(t.Context(), job))
	job.Spec.NodeName = "node-1"
	require.NoError(t, c.Update(t.Context(), job), "a job may be assigned")
	for name, change := range map[string]func(*v1alpha1.NodeJob){
		"owner":      func(j *v1alpha1.NodeJob) { j.Spec.Owner.UID = "other" },
		"deadline":   func(j *v1alpha1.NodeJob) { j.Spec.DeadlineSeconds++ },
		"work":       func(j *v1alpha1.NodeJob) { j.Spec.Cut.Disks[0].Volume = "other" },
		"other work": func(j *v1alpha1.NodeJob) { j.Spec.Cut = nil; j.Spec.Backup = &v1alpha1.BackupJob{Volume: "v"} },
	} {
		changed := job.DeepCopy()
		change(changed)
		require.ErrorContains(t, c.Update(t.Context(), changed), "immutable", name)
	}
	two := newJob(ns)
	two.Spec.Backup = &v1alpha1.BackupJob{Volume: "v"}
	require.ErrorContains(t, c.Create(t.Context(), two), "exactly one of spec.cut")

	var list v1alpha1.NodeJobList
	require.NoError(t, c.List(t.Context(), &list, client.InNamespace(ns), client.MatchingFields{"spec.nodeName": "node-1"}))
	require.Len(t, list.Items, 1, "an agent can ask for the jobs of its node alone")
}
