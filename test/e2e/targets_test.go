package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
	"hayloft.dev/test/azurestand"
	"hayloft.dev/test/enginetest"
	"hayloft.dev/test/harness"
)

// severalTargets backs one volume up to four targets of three kinds in turn, of which
// none knows the others' keys and two have a bucket of the same name: each holds its
// own points and nothing else, and each point is what the disk was.
func severalTargets(w *world) {
	other := enginetest.StartS3(w.t, "ROOT_ACCESS_KEY=other", "ROOT_SECRET_KEY=other-secret")
	bucket := filepath.Join(filepath.Dir(other.Dir), w.S3.Bucket)
	require.NoError(w.t, os.MkdirAll(bucket, 0o755))
	here := w.ownTarget("here", w.S3.AccessKey, w.S3.SecretKey, func(s *v1alpha1.BackupTargetSpec) { s.S3.Prefix = "below/" + w.ns })
	there := w.ownTarget("there", "other", "wrong", func(s *v1alpha1.BackupTargetSpec) {
		s.S3.Endpoint, s.S3.Region = other.Endpoint, "us-east-1"
	})
	azure := azurestand.Start(w.t, 5000)
	dir := w.t.TempDir()
	targets := []struct {
		*v1alpha1.BackupTarget
		files func() []string
	}{
		{here, w.onTarget},
		{there, func() []string { return filesBelow(w, bucket) }},
		{w.onAzure("blobs", azure), azure.Names},
		{w.onDirectory("folder", dir), func() []string { return filesBelow(w, dir) }},
	}
	w.runningVM("several", 32*mib)
	w.quietHashes("several", "root")

	// The key is set right while everything runs, and is used from then on.
	require.ErrorContains(w.t, w.testTarget(there.Name), "SignatureDoesNotMatch")
	w.patch(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: harness.HayloftNamespace, Name: there.Spec.CredentialSecret}}, `{"stringData":{"AWS_SECRET_ACCESS_KEY":"other-secret"}}`)
	require.NoError(w.t, w.testTarget(there.Name))

	sums := map[string]string{}
	var points []string
	for k := range 8 {
		name := fmt.Sprintf("several-%d", k)
		sums[name] = w.rewritten("several", "root", int64(k)*2*mib, 2*mib, 50+k)
		w.backupTo(targets[k%4].Name, name, "several")
		b := w.awaitBackup(name, v1alpha1.BackupReady)
		require.Equal(w.t, k >= 4, b.Status.Disks[0].Incremental, "each target has its own chain")
		for i, t := range targets {
			found := slices.ContainsFunc(t.files(), func(f string) bool { return strings.Contains(f, string(b.UID)) })
			require.Equal(w.t, i == k%4, found, "%s on %s", name, t.Name)
		}
		for _, f := range w.filesOf(b) {
			require.True(w.t, strings.HasPrefix(f, here.Spec.S3.Prefix+"/"), f)
		}
		points = append(points, name)
	}
	for _, name := range points[4:] {
		w.restore("r-"+name, name, "copy-"+name)
	}
	for _, name := range points[4:] {
		w.sameDisks(w.awaitRestore("r-"+name, v1alpha1.RestoreReady), map[string]string{"root": sums[name]})
	}
	w.deletePoints(points...)
	w.awaitGone(points...)
	for _, t := range targets[1:] {
		for _, f := range t.files() {
			require.NotContains(w.t, f, ".blk", "blocks are left on %s", t.Name)
		}
	}
}

// onAzure makes a target of a container.
func (w *world) onAzure(name string, a *azurestand.Stand) *v1alpha1.BackupTarget {
	w.t.Helper()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: harness.HayloftNamespace, Name: w.ns + "-" + name},
		StringData: map[string]string{target.AzureAccountName: azurestand.Account, target.AzureAccountKey: azurestand.Key},
	}
	w.mustMake(secret)
	return w.targetOf(name, v1alpha1.BackupTargetSpec{
		AzureBlob:        &v1alpha1.AzureBlobTarget{Container: azurestand.Container, Prefix: "team", Endpoint: a.URL, Insecure: true},
		CredentialSecret: secret.Name,
	})
}

// onDirectory makes a target of a folder, which replicas and coordinators see here.
func (w *world) onDirectory(name, dir string) *v1alpha1.BackupTarget {
	w.t.Helper()
	return w.targetOf(name, v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: dir}})
}

func (w *world) targetOf(name string, spec v1alpha1.BackupTargetSpec) *v1alpha1.BackupTarget {
	w.t.Helper()
	t := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: w.ns + "-" + name}, Spec: spec}
	w.mustMake(t)
	w.t.Cleanup(func() { require.NoError(w.t, client.IgnoreNotFound(w.c.Delete(cleanUp(w.t), t))) })
	return t
}

// testTarget is what the command line says of a target.
func (w *world) testTarget(name string) error {
	w.t.Helper()
	cmd := exec.CommandContext(w.ctx, filepath.Join(moduleRoot(w.t), "bin", "hayloft"), "target", "test", name, "--kubeconfig", w.Kubeconfig)
	out, err := cmd.CombinedOutput()
	w.t.Logf("%s", out)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	require.Contains(w.t, string(out), "target "+name+" can be used")
	return nil
}

func filesBelow(w *world, dir string) (files []string) {
	w.t.Helper()
	require.NoError(w.t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	return files
}

// rulesOfTargets: who may use a target, and which one is the default, is told at
// admission.
func rulesOfTargets(s *stage) {
	backup := func(target string) *v1alpha1.VMBackup {
		b := s.backupOf("ruled", "vm", target)
		b.Spec.Type = v1alpha1.TypeBackup
		return b
	}
	own := func(name string, change func(*v1alpha1.BackupTargetSpec)) *v1alpha1.BackupTarget {
		return s.ownTarget(name, s.S3.AccessKey, s.S3.SecretKey, change)
	}
	readOnly := own("readonly", func(t *v1alpha1.BackupTargetSpec) { t.ReadOnly = true })
	require.Equal(s.t, fmt.Sprintf("BackupTarget %q (spec.target) is only read (its spec.readOnly): name another", readOnly.Name), denied(s.c.Create(s.ctx, backup(readOnly.Name))))
	closed := own("closed", func(t *v1alpha1.BackupTargetSpec) {
		t.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Names: []string{"elsewhere"}, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"allow": s.ns}}}
	})
	require.Contains(s.t, denied(s.c.Create(s.ctx, backup(closed.Name))), "takes no points of namespace "+s.ns+" (its spec.allowedNamespaces)")
	s.patch(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ns}}, fmt.Sprintf(`{"metadata":{"labels":{"allow":%q}}}`, s.ns))
	require.NoError(s.t, s.c.Create(s.ctx, backup(closed.Name), client.DryRunAll))

	first := own("default", func(t *v1alpha1.BackupTargetSpec) { t.Default = true })
	s.eventually("the default target to be recorded in what names none", func() (bool, string) {
		b := backup("")
		err := s.c.Create(s.ctx, b, client.DryRunAll)
		return err == nil && b.Spec.Target == first.Name, fmt.Sprint(err, b.Spec.Target)
	})
	schedule := &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "ruled"}, Spec: v1alpha1.VMScheduleSpec{VM: "vm", Cron: "@daily"}}
	require.NoError(s.t, s.c.Create(s.ctx, schedule, client.DryRunAll))
	require.Equal(s.t, first.Name, schedule.Spec.Target)
	require.NoError(s.t, s.c.Create(s.ctx, s.backupOf("ruled", "vm", ""), client.DryRunAll), "a Snapshot needs none")

	second := &v1alpha1.BackupTarget{Spec: *first.Spec.DeepCopy()}
	second.Name = s.ns + "-second"
	require.Contains(s.t, denied(s.c.Create(s.ctx, second)), fmt.Sprintf("spec.default is true, and BackupTarget %q is the default already", first.Name))
	require.NoError(s.t, s.c.Get(s.ctx, client.ObjectKeyFromObject(closed), closed))
	closed.Spec.Default = true
	require.Contains(s.t, denied(s.c.Update(s.ctx, closed)), "set it to false there first")
	s.patch(first, `{"spec":{"default":false}}`)
	require.ErrorContains(s.t, s.c.Create(s.ctx, backup("")), "have one be the default")
}
