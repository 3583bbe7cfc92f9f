package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"hayloft.dev/cli/internal/command"
	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
	"hayloft.dev/test/text"
)

// deadline bounds what a test waits for.
const deadline = 3 * time.Minute

// world is a real API server, and a namespace in it, in which the test plays
// the coordinator.
type world struct {
	client.WithWatch
	kubeconfig, namespace string
}

func newWorld(t *testing.T) *world {
	config := harness.APIServer(t)
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	require.NoError(t, corev1.AddToScheme(scheme))
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: kinds.Mapper()})
	require.NoError(t, err)
	return &world{WithWatch: c, kubeconfig: harness.Kubeconfig(t), namespace: harness.Namespace(t, config)}
}

// result of one run of the program.
type result struct {
	code     int
	out, err string
}

// run runs the program in the world's namespace.
func (w *world) run(t *testing.T, args ...string) result {
	return w.runAs(t.Context(), "hayloft", args...)
}

func (w *world) runAs(ctx context.Context, program string, args ...string) result {
	var out, errs text.Buffer
	code := command.Run(ctx, command.Env{
		Program: program, Args: append(args, "--kubeconfig", w.kubeconfig, "-n", w.namespace),
		Out: &out, Err: &errs, Now: time.Now,
	})
	return result{code, out.String(), errs.String()}
}

// backup is the one backup in the namespace, once it is there.
func (w *world) backup(t *testing.T) *v1alpha1.VMBackup {
	var l v1alpha1.VMBackupList
	assert.Eventually(t, func() bool {
		return w.List(t.Context(), &l, client.InNamespace(w.namespace)) == nil && len(l.Items) == 1
	}, deadline, 20*time.Millisecond)
	return &l.Items[0]
}

// say writes the status of a backup.
func (w *world) say(t *testing.T, b *v1alpha1.VMBackup, status v1alpha1.VMBackupStatus) {
	b.Status = status
	assert.NoError(t, w.Status().Update(t.Context(), b))
}

func condition(kind, status, reason, message string) []metav1.Condition {
	return []metav1.Condition{{
		Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, Message: message,
		LastTransitionTime: metav1.Now(),
	}}
}

func TestRestoreCreateSpec(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		args []string
		want v1alpha1.VMRestoreSpec
	}{
		"replace": {
			[]string{"--replace", "web", "--volumes", "DELETE", "--delete-snapshot", "s1,s2", "--halt"},
			v1alpha1.VMRestoreSpec{Replace: &v1alpha1.Replace{VM: "web", Volumes: v1alpha1.VolumesDelete, DeleteSnapshots: []string{"s1", "s2"}}, HaltAfterRestore: true},
		},
		"retain": {[]string{"--replace", "web"}, v1alpha1.VMRestoreSpec{Replace: &v1alpha1.Replace{VM: "web", Volumes: v1alpha1.VolumesRetain}}},
		"elsewhere": {
			[]string{"--new-vm", "web2", "--from-namespace", "shop", "--storage-class", "fast=longhorn", "--network", "shop/a=lab/a", "--network", "shop/b=lab/b"},
			v1alpha1.VMRestoreSpec{
				NewVM: "web2", BackupNamespace: "shop", StorageClasses: map[string]string{"fast": "longhorn"},
				Networks: map[string]string{"shop/a": "lab/a", "shop/b": "lab/b"},
			},
		},
		"disk": {[]string{"--disk", "root", "--claim", "rescued"}, v1alpha1.VMRestoreSpec{DiskClaim: &v1alpha1.DiskClaim{Disk: "root", Claim: "rescued"}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.run(t, append([]string{"restore", "create", "point", "--name", name}, tc.args...)...)
			require.Equal(t, 0, r.code, r.err)
			made := w.restore(t, name)
			tc.want.Backup = "point"
			assert.Equal(t, tc.want, made.Spec)
		})
	}
}

func TestBackupCreate(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, "backup", "create", "web", "--target", "s3", "--deletion-policy", "retain",
		"--exclude", "scratch,swap", "--quiesce", "required", "--freeze-deadline", "3", "--note", "before the upgrade", "--pin")
	require.Equal(t, 0, r.code, r.err)
	b := w.backup(t)
	assert.Equal(t, v1alpha1.VMBackupSpec{
		VM: "web", Type: v1alpha1.TypeBackup, Target: "s3", DeletionPolicy: v1alpha1.DeletionRetain,
		ExcludeDisks: []string{"scratch", "swap"}, Note: "before the upgrade", Pinned: true,
		Quiesce: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired, DeadlineSeconds: 3},
	}, b.Spec)
	assert.Regexp(t, `^web-\d{8}-\d{6}$`, b.Name)
	assert.Equal(t, "vmbackup.hayloft.dev/"+b.Name+"\n", strings.Replace(r.out, " created", "", 1))

	r = w.run(t, "backup", "create", "web", "-t", "s3", "--name", "mine", "-o", "json")
	require.Equal(t, 0, r.code, r.err)
	var printed v1alpha1.VMBackup
	require.NoError(t, json.Unmarshal([]byte(r.out), &printed))
	assert.Equal(t, "mine", printed.Name)
	assert.Equal(t, "VMBackup", printed.Kind)
	assert.Equal(t, v1alpha1.DeletionDelete, printed.Spec.DeletionPolicy)

	r = w.run(t, "backup", "create", "web", "-t", "s3", "--name", "mine")
	assert.Equal(t, 1, r.code)
	assert.Equal(t, "Error: there is already a backup called \"mine\": choose another name\n", r.err)
}

func TestChangesOfABackup(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, 0, w.run(t, "backup", "create", "web", "-t", "s3", "--name", "mine").code)
	for _, c := range []struct {
		verb, says string
		spec       func(v1alpha1.VMBackupSpec) bool
	}{
		{"pin", "pinned", func(s v1alpha1.VMBackupSpec) bool { return s.Pinned }},
		{"unpin", "unpinned", func(s v1alpha1.VMBackupSpec) bool { return !s.Pinned }},
		{"cancel", "cancelled", func(s v1alpha1.VMBackupSpec) bool { return s.Cancel }},
	} {
		r := w.run(t, c.verb, "backup", "mine")
		require.Equal(t, 0, r.code, r.err)
		assert.Equal(t, "vmbackup.hayloft.dev/mine "+c.says+"\n", r.out)
		assert.True(t, c.spec(w.backup(t).Spec), c.verb)
	}
	r := w.run(t, "cancel", "backup", "other")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, "other")
}

func TestSnapshotCreate(t *testing.T) {
	w := newWorld(t)
	done := make(chan result, 1)
	go func() { done <- w.run(t, "snapshot", "create", "web", "--note", "before the upgrade", "--wait") }()
	b := w.backup(t)
	assert.Equal(t, v1alpha1.TypeSnapshot, b.Spec.Type)
	assert.Empty(t, b.Spec.Target)
	assert.Equal(t, "before the upgrade", b.Spec.Note)
	w.say(t, b, v1alpha1.VMBackupStatus{
		Phase: v1alpha1.BackupReady, Disks: []v1alpha1.BackupDisk{{Name: "root", Claim: "c", Volume: "v", SizeBytes: 1 << 30, State: v1alpha1.DiskDone}},
		Conditions: condition("Ready", "True", "Complete", "whole"),
	})
	r := <-done
	assert.Equal(t, 0, r.code, r.err)
	assert.Regexp(t, `^snapshot web-\d+-\d+ is ready: 1 disk, 1.0 GiB, in \d+(ms|s)\n$`, r.out)
}

// Two backups of one VM in the same second get two names.
func TestGeneratedNamesDoNotCollide(t *testing.T) {
	w := newWorld(t)
	at := time.Date(2026, 11, 23, 4, 15, 0, 0, time.UTC)
	for range 3 {
		var out, errs bytes.Buffer
		code := command.Run(t.Context(), command.Env{
			Program: "hayloft", Args: []string{"backup", "create", "web", "-t", "s3", "-o", "name", "--kubeconfig", w.kubeconfig, "-n", w.namespace},
			Out: &out, Err: &errs, Now: func() time.Time { return at },
		})
		require.Equal(t, 0, code, errs.String())
	}
	r := w.run(t, "get", "backups", "-o", "name")
	assert.Equal(t, "vmbackup.hayloft.dev/web-20261123-041500\nvmbackup.hayloft.dev/web-20261123-041501\nvmbackup.hayloft.dev/web-20261123-041502\n", r.out)
}

func TestBackupWaitReady(t *testing.T) {
	w := newWorld(t)
	done := make(chan result, 1)
	go func() {
		done <- w.run(t, "backup", "create", "web", "-t", "s3", "--wait", "--timeout", deadline.String())
	}()
	b := w.backup(t)
	disk := v1alpha1.BackupDisk{Name: "root", Claim: "c", Volume: "v", SizeBytes: 1 << 30, State: v1alpha1.DiskTransferring, Progress: &v1alpha1.Progress{BytesDone: 1 << 20, BytesTotal: 4 << 20}}
	w.say(t, b, v1alpha1.VMBackupStatus{
		Phase: v1alpha1.BackupUploading, Disks: []v1alpha1.BackupDisk{disk},
		Conditions: condition("Progressing", "True", "Uploading", "1 disk is moving"),
	})
	uploaded := int64(3 << 20)
	disk.State, disk.UploadedBytes = v1alpha1.DiskDone, &uploaded
	w.say(t, b, v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupReady, Disks: []v1alpha1.BackupDisk{disk}, Conditions: condition("Ready", "True", "Ready", "whole")})
	r := <-done
	assert.Equal(t, 0, r.code, r.err)
	assert.Regexp(t, `^backup web-\d+-\d+ is ready: 1 disk, 1.0 GiB, 3.0 MiB uploaded, in \d+(ms|s)\n$`, r.out)
	assert.Contains(t, r.err, "Ready; root done", "progress goes to standard error")
}

func TestBackupWaitFailedTellsTheCause(t *testing.T) {
	w := newWorld(t)
	done := make(chan result, 1)
	go func() { done <- w.run(t, "backup", "create", "web", "-t", "typo", "--wait", "-o", "yaml") }()
	b := w.backup(t)
	w.say(t, b, v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupFailed, Conditions: condition("Ready", "False", "TargetNotFound", "there is no BackupTarget called typo")})
	r := <-done
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, "Error: backup "+b.Name+" failed: there is no BackupTarget called typo (TargetNotFound)\n")
	var printed v1alpha1.VMBackup
	require.NoError(t, yaml.Unmarshal([]byte(r.out), &printed), "standard output holds the object alone")
	assert.Equal(t, v1alpha1.BackupFailed, printed.Status.Phase)
}

func TestBackupWaitTimeout(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, "backup", "create", "web", "-t", "s3", "--wait", "--timeout", "100ms")
	assert.Equal(t, 3, r.code)
	assert.Contains(t, r.err, "is not ready after 100ms; it goes on (no coordinator has looked at it yet), see: hayloft describe backup web-")
	assert.Empty(t, r.out)
}

func TestWaitInterrupted(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- w.runAs(ctx, "hayloft", "backup", "create", "web", "-t", "s3", "--wait") }()
	w.backup(t)
	cancel()
	assert.Equal(t, 130, (<-done).code)
}

func TestWaitEndsWhenTheObjectIsDeleted(t *testing.T) {
	w := newWorld(t)
	done := make(chan result, 1)
	go func() { done <- w.run(t, "backup", "create", "web", "-t", "s3", "--wait") }()
	b := w.backup(t)
	require.NoError(t, w.Delete(t.Context(), b))
	r := <-done
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, "was deleted while it was waited for")
}

func TestRestoreCreate(t *testing.T) {
	w := newWorld(t)
	done := make(chan result, 1)
	go func() {
		done <- w.run(t, "restore", "create", "point", "--new-vm", "web2", "--keep-mac", "--halt", "--wait")
	}()
	var l v1alpha1.VMRestoreList
	require.Eventually(t, func() bool {
		return w.List(t.Context(), &l, client.InNamespace(w.namespace)) == nil && len(l.Items) == 1
	}, deadline, 20*time.Millisecond)
	r := &l.Items[0]
	assert.Equal(t, v1alpha1.VMRestoreSpec{Backup: "point", NewVM: "web2", KeepMACAddresses: true, HaltAfterRestore: true}, r.Spec)
	r.Status = v1alpha1.VMRestoreStatus{Phase: v1alpha1.RestoreReady, Disks: []v1alpha1.RestoreDisk{{Name: "root", Claim: "c", SizeBytes: 5 << 30, State: v1alpha1.DiskDone, SourceVolume: "v", Backup: "b"}}}
	require.NoError(t, w.Status().Update(t.Context(), r))
	got := <-done
	assert.Equal(t, 0, got.code, got.err)
	assert.Contains(t, got.out, "restore "+r.Name+" is ready: VM web2 with 1 disk, 5.0 GiB, in ")
}

func (w *world) restore(t *testing.T, name string) *v1alpha1.VMRestore {
	t.Helper()
	r := &v1alpha1.VMRestore{}
	require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, r))
	return r
}

// Who waits for a cancellation is told how the backup ended, and that is no failure.
func TestCancelWait(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, 0, w.run(t, "backup", "create", "web", "-t", "s3", "--name", "mine").code)
	done := make(chan result, 1)
	go func() { done <- w.run(t, "cancel", "backup", "mine", "--wait") }()
	require.Eventually(t, func() bool { return w.backup(t).Spec.Cancel }, deadline, 20*time.Millisecond)
	w.say(t, w.backup(t), v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupFailed, Conditions: condition("Ready", "False", "Cancelled", "it was cancelled")})
	r := <-done
	assert.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "vmbackup.hayloft.dev/mine cancelled\nbackup mine has ended: Failed\n", r.out)
}

// Who has not begun a backup can see how it goes, and how it ended.
func TestWaitFor(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, "wait", "backup", "mine")
	assert.Equal(t, 1, r.code)
	assert.Equal(t, "Error: there is no backup called \"mine\"\n", r.err)
	require.Equal(t, 0, w.run(t, "backup", "create", "web", "-t", "s3", "--name", "mine").code)
	r = w.run(t, "wait", "backup", "mine", "--timeout", "100ms")
	assert.Equal(t, 3, r.code)
	assert.Contains(t, r.err, "backup mine is not ready after 100ms; it goes on")

	done := make(chan result, 1)
	go func() { done <- w.run(t, "wait", "backup", "mine", "--timeout", deadline.String()) }()
	w.say(t, w.backup(t), v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupUploading, Conditions: condition("Progressing", "True", "Uploading", "1 disk is moving")})
	w.say(t, w.backup(t), v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupReady, Conditions: condition("Ready", "True", "Ready", "whole")})
	r = <-done
	assert.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "backup mine is ready\n", r.out)

	w.say(t, w.backup(t), v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupMissing, Conditions: condition("Ready", "False", "Missing", "it is not on the target any more")})
	r = w.run(t, "wait", "backup", "mine", "-o", "name")
	assert.Equal(t, 1, r.code)
	assert.Equal(t, "vmbackup.hayloft.dev/mine\n", r.out)
	assert.Contains(t, r.err, "Error: backup mine failed: it is not on the target any more (Missing)\n")
}
