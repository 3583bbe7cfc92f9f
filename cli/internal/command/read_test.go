package command_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/command"
	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/pkg/api/v1alpha1"
)

// make puts a backup into the world.
func (w *world) make(t *testing.T, name string, finalizers ...string) *v1alpha1.VMBackup {
	b := &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Finalizers: finalizers},
		Spec:       v1alpha1.VMBackupSpec{VM: "web", Target: "s3"},
	}
	require.NoError(t, w.Create(t.Context(), b))
	return b
}

func TestGet(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, "get", "backups")
	assert.Equal(t, 0, r.code)
	assert.Equal(t, "There are no backups in namespace "+w.namespace+".\n", r.err)
	r = w.run(t, "get", "backups", "-o", "json")
	assert.JSONEq(t, `{"apiVersion":"v1","kind":"List","items":[]}`, r.out)

	w.make(t, "one")
	w.make(t, "two")
	r = w.run(t, "get", "hb")
	require.Equal(t, 0, r.code, r.err)
	assert.Regexp(t, `^NAME +VM +TYPE +TARGET +PHASE .*\none +web +Backup +s3 +New .*\ntwo `, r.out)
	r = w.run(t, "get", "backups", "-A", "-o", "name")
	assert.Contains(t, r.out, "vmbackup.hayloft.dev/two\n")
	r = w.run(t, "get", "backups", "-A")
	assert.Contains(t, r.out, w.namespace)

	r = w.run(t, "get", "backup", "two", "-o", "json")
	var b v1alpha1.VMBackup
	require.NoError(t, json.Unmarshal([]byte(r.out), &b))
	assert.Equal(t, "two", b.Name)
	assert.Equal(t, "hayloft.dev/v1alpha1", b.APIVersion)
	r = w.run(t, "get", "backups", "one", "two", "-o", "yaml")
	assert.Equal(t, 2, strings.Count(r.out, "kind: VMBackup"))

	r = w.run(t, "get", "restore", "none")
	assert.Equal(t, 1, r.code)
	assert.Equal(t, "Error: there is no restore called \"none\"\n", r.err)
}

// TestGetSome: by labels, and by the VM that an object is of.
func TestGetSome(t *testing.T) {
	w := newWorld(t)
	for name, vm := range map[string]string{"a": "web", "b": "web", "c": "db"} {
		require.NoError(t, w.Create(t.Context(), &v1alpha1.VMBackup{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{"name": name}},
			Spec:       v1alpha1.VMBackupSpec{VM: vm, Target: "s3"},
		}))
	}
	for name, spec := range map[string]v1alpha1.VMRestoreSpec{
		"makes": {Backup: "a", NewVM: "web"}, "replaces": {Backup: "a", Replace: &v1alpha1.Replace{VM: "web"}},
		"other": {Backup: "a", NewVM: "web2"}, "disk": {Backup: "a", DiskClaim: &v1alpha1.DiskClaim{Disk: "root", Claim: "web"}},
	} {
		require.NoError(t, w.Create(t.Context(), &v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: spec}))
	}
	for name, spec := range map[string]v1alpha1.VMScheduleSpec{
		"named": {VM: "web"}, "not-named": {VM: "db"},
		"picks": {Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "front"}}}, "all": {Selector: &metav1.LabelSelector{}},
		"picks-others": {Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "back"}}},
	} {
		spec.Cron, spec.Target = "@daily", "s3"
		require.NoError(t, w.Create(t.Context(), &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: spec}))
	}
	vm := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"running": false, "template": map[string]any{"spec": map[string]any{"domain": map[string]any{"devices": map[string]any{}}}}}}}
	vm.SetGroupVersionKind(kinds.VMKind)
	vm.SetNamespace(w.namespace)
	vm.SetName("web")
	vm.SetLabels(map[string]string{"tier": "front"})
	require.NoError(t, w.Create(t.Context(), vm))

	for args, want := range map[string][]string{
		"backups --vm web":            {"a", "b"},
		"backups -l name":             {"a", "b", "c"},
		"backups -l name!=a --vm=web": {"b"},
		"backups -l name=c,name!=a":   {"c"},
		"restores --vm web":           {"makes", "replaces"},
		"schedules --vm web":          {"named", "picks", "all"},
		"schedules --vm gone":         nil,
	} {
		r := w.run(t, append([]string{"get", "-o", "name"}, strings.Fields(args)...)...)
		require.Equal(t, 0, r.code, r.err)
		var names []string
		for _, line := range strings.Fields(r.out) {
			_, name, _ := strings.Cut(line, "/")
			names = append(names, name)
		}
		assert.ElementsMatch(t, want, names, args)
	}
	r := w.run(t, "get", "backups", "--vm", "none", "-l", "name")
	assert.Equal(t, "There are no backups of VM none with labels name in namespace "+w.namespace+".\n", r.err)
	r = w.run(t, "get", "backups", "-l", "name=none")
	assert.Equal(t, 0, r.code)
	assert.Equal(t, "There are no backups with labels name=none in namespace "+w.namespace+".\n", r.err)
	r = w.run(t, "get", "backups", "-A", "--vm", "db", "-o", "name")
	assert.Contains(t, r.out, "vmbackup.hayloft.dev/c\n")
	assert.NotContains(t, r.out, "vmbackup.hayloft.dev/a\n")

	for args, want := range map[string]string{
		"backups --vm ": "db\nweb\n:4\n", "restores --vm ": "web\nweb2\n:4\n", "schedules --vm ": "db\nweb\n:4\n", "jobs --vm ": ":4\n",
	} {
		full := append([]string{"__complete", "--kubeconfig", w.kubeconfig, "-n", w.namespace, "get"}, strings.Split(args, " ")...)
		var out, errs strings.Builder
		code := command.Run(t.Context(), command.Env{Program: "hayloft", Args: full, Out: &out, Err: &errs, Now: time.Now})
		assert.Equal(t, 0, code, errs.String())
		assert.Equal(t, want, out.String(), args)
	}
}

func TestGetJobsLooksInHayloftsNamespace(t *testing.T) {
	w := newWorld(t)
	j := &v1alpha1.NodeJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "remove-1"},
		Spec: v1alpha1.NodeJobSpec{
			Owner: v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: "x", Name: "y", UID: "z"}, DeadlineSeconds: 60,
			RemoveSnapshots: &v1alpha1.RemoveSnapshotsJob{Volume: "v", Snapshots: []string{"s"}},
		},
	}
	require.NoError(t, w.Create(t.Context(), j))
	r := w.run(t, "get", "jobs", "--system-namespace", w.namespace)
	assert.Contains(t, r.out, "remove 1 snapshot")
	r = w.run(t, "describe", "job", "remove-1", "--system-namespace", w.namespace)
	assert.Contains(t, r.out, "Queued: waits for its turn")
	r = w.run(t, "get", "jobs")
	assert.NotContains(t, r.out, "remove-1")
}

func TestDescribeShowsJobsAndEvents(t *testing.T) {
	w := newWorld(t)
	b := w.make(t, "point")
	require.NoError(t, w.Create(t.Context(), &v1alpha1.NodeJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "cut-1"},
		Spec: v1alpha1.NodeJobSpec{
			Owner: v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: w.namespace, Name: "point", UID: b.UID}, DeadlineSeconds: 60,
			Cut: &v1alpha1.CutJob{Disks: []v1alpha1.CutDisk{{Name: "root", Volume: "v"}}, WindowMilliseconds: 1000},
		},
	}))
	require.NoError(t, w.Create(t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: w.namespace, Name: "e"},
		InvolvedObject: corev1.ObjectReference{Kind: "VMBackup", Name: "point", Namespace: w.namespace, UID: b.UID},
		Type:           "Normal", Reason: "Cutting", Message: "cutting 1 disk", LastTimestamp: metav1.Now(),
	}))
	r := w.run(t, "describe", "backup", "point", "--system-namespace", w.namespace)
	require.Equal(t, 0, r.code, r.err)
	assert.Contains(t, r.out, "cut 1 disk")
	assert.Contains(t, r.out, "cutting 1 disk")
	r = w.run(t, "describe", "backup", "none")
	assert.Equal(t, "Error: there is no backup called \"none\"\n", r.err)
}

func TestDescribeTarget(t *testing.T) {
	w := newWorld(t)
	target := &v1alpha1.BackupTarget{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace}, // cluster-wide, so named by the test's namespace
		Spec:       v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: "/mnt"}},
	}
	require.NoError(t, w.Create(t.Context(), target))
	r := w.run(t, "describe", "target", target.Name)
	assert.Contains(t, r.out, "not probed yet")
	r = w.run(t, "get", "targets", target.Name)
	assert.Contains(t, r.out, "NotProbed")
}

func TestCompletion(t *testing.T) {
	w := newWorld(t)
	w.make(t, "one")
	w.make(t, "two")
	for args, want := range map[string]string{
		"get ":                 "backups\nrestores\nschedules\ntargets\nquotas\njobs\n:4\n",
		"describe backup ":     "one\ntwo\n:4\n",
		"describe backup one ": ":4\n",
		"get backups one ":     "one\ntwo\n:4\n",
		"restore create ":      "one\ntwo\n:4\n",
		"delete job ":          ":4\n",
		"backup create ":       ":4\n",
	} {
		// The flags come before the word that is completed.
		full := append([]string{"__complete", "--kubeconfig", w.kubeconfig, "-n", w.namespace}, strings.Split(args, " ")...)
		var out, errs strings.Builder
		code := command.Run(t.Context(), command.Env{Program: "hayloft", Args: full, Out: &out, Err: &errs, Now: time.Now})
		assert.Equal(t, 0, code, errs.String())
		assert.Equal(t, want, out.String(), args)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	b := w.make(t, "gone")
	r := w.run(t, "delete", "backup", "gone")
	assert.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "vmbackup.hayloft.dev/gone deleted\n", r.out)
	assert.True(t, apierrors.IsNotFound(w.Get(t.Context(), client.ObjectKeyFromObject(b), b)))
	r = w.run(t, "delete", "backup", "gone")
	assert.Equal(t, 1, r.code)
	assert.Equal(t, "Error: there is no backup called \"gone\"\n", r.err)
}

// --wait holds until the coordinator let the object go; --keep-data has told
// the coordinator, before that, to leave the data.
func TestDeleteWaitsAndKeepsData(t *testing.T) {
	w := newWorld(t)
	b := w.make(t, "point", v1alpha1.FinalizerData)
	done := make(chan result, 1)
	go func() {
		done <- w.run(t, "delete", "backup", "point", "--keep-data", "--wait", "--timeout", deadline.String())
	}()
	require.Eventually(t, func() bool {
		return w.Get(t.Context(), client.ObjectKeyFromObject(b), b) == nil && b.DeletionTimestamp != nil
	}, deadline, 20*time.Millisecond)
	assert.Equal(t, v1alpha1.DeletionRetain, b.Spec.DeletionPolicy)
	w.say(t, b, v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupDeleting, Conditions: condition("Progressing", "True", "Deleting", "waiting for a lock on the target")})
	select {
	case r := <-done:
		t.Fatalf("it did not wait: %+v", r)
	default:
	}
	b.Finalizers = nil
	require.NoError(t, w.Update(t.Context(), b))
	r := <-done
	assert.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "vmbackup.hayloft.dev/point deleted\n", r.out)

	stuck := w.make(t, "stuck", v1alpha1.FinalizerData)
	r = w.run(t, "delete", "backup", "stuck", "--wait", "--timeout", "100ms")
	assert.Equal(t, 3, r.code)
	assert.Contains(t, r.err, "is not gone after 100ms")

	// What was not said before can be said while it is waited for.
	r = w.run(t, "delete", "backup", "stuck", "--keep-data", "--force")
	assert.Equal(t, 0, r.code, r.err)
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(stuck), stuck))
	assert.Equal(t, v1alpha1.DeletionRetain, stuck.Spec.DeletionPolicy)
	assert.Equal(t, "true", stuck.Annotations[v1alpha1.AnnotationForceDeletion])
	stuck.Finalizers = nil
	require.NoError(t, client.IgnoreNotFound(w.Patch(t.Context(), stuck, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))))
}

// Without --yes nothing goes; that something does, the end-to-end tests show on
// a stack of their own.
func TestUninstallTellsWhatWouldGo(t *testing.T) {
	w := newWorld(t)
	b := w.make(t, "point", v1alpha1.FinalizerData)
	r := w.run(t, "uninstall")
	assert.Equal(t, 0, r.code, r.err)
	assert.Regexp(t, `^this would remove \d definitions with \d+ backups?, .*data on targets stays. Say --yes to do it\n$`, r.out)
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(b), b))
	assert.True(t, b.DeletionTimestamp.IsZero())
	require.NoError(t, client.IgnoreNotFound(w.Patch(t.Context(), b, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))))
}

// What the API server refuses is one readable sentence, and counts as a
// mistake of the user.
func TestValidationErrorsAreSentences(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("t", 300)
	r := w.run(t, "backup", "create", "web", "-t", long, "--name", "point")
	assert.Equal(t, 2, r.code)
	assert.Equal(t, 1, strings.Count(r.err, "\n"), r.err)
	assert.Contains(t, r.err, `Error: backup "point" is not accepted: spec.target: Too long: may not be more than 253 `)
	assert.NotContains(t, r.err, long, "the value is not repeated")
}
