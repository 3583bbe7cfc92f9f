package command_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/upgrade"
)

// emptied is a world in which no other test has left anything: an upgrade goes
// over all namespaces.
func emptied(t *testing.T) *world {
	w := newWorld(t)
	var backups v1alpha1.VMBackupList
	var restores v1alpha1.VMRestoreList
	var schedules v1alpha1.VMScheduleList
	for _, l := range []client.ObjectList{&backups, &restores, &schedules} {
		require.NoError(t, w.List(t.Context(), l))
	}
	var all []client.Object
	for i := range backups.Items {
		all = append(all, &backups.Items[i])
	}
	for i := range restores.Items {
		all = append(all, &restores.Items[i])
	}
	for i := range schedules.Items {
		all = append(all, &schedules.Items[i])
	}
	for _, o := range all {
		require.NoError(t, client.IgnoreNotFound(w.Delete(t.Context(), o)))
	}
	return w
}

func TestUpgrade(t *testing.T) {
	w := emptied(t)
	r := w.run(t, "upgrade", "check")
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, "Nothing is in the way of an upgrade.\n", r.out)

	require.NoError(t, w.Create(t.Context(), &v1alpha1.VMSchedule{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "nightly"},
		Spec:       v1alpha1.VMScheduleSpec{Cron: "0 2 * * *", VM: "web", Target: "s3", MaxFailures: 2, Retention: v1alpha1.Retention{KeepLast: 3}},
	}))
	b := w.make(t, "moving")
	w.say(t, b, v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupUploading, Conditions: condition("Progressing", "True", "Uploading", "1 disk is moving")})
	r = w.run(t, "upgrade", "check")
	assert.Equal(t, 1, r.code)
	assert.Regexp(t, `^In the way of an upgrade are 1 schedule, 1 backup:\n  KIND +NAMESPACE +NAME +STATE +MESSAGE\n  schedule +test-\w+ +nightly +Active +it may begin a run at any time\n  backup +test-\w+ +moving +Uploading +1 disk is moving\n$`, r.out)
	r = w.run(t, "upgrade", "check", "-o", "json")
	assert.Equal(t, 1, r.code)
	var report upgrade.Report
	require.NoError(t, json.Unmarshal([]byte(r.out), &report))
	assert.Len(t, report.Blockers, 2)

	r = w.run(t, "upgrade", "prepare", "--timeout", "1ns")
	assert.Equal(t, 3, r.code)
	assert.Contains(t, r.err, "Error: after 1ns it was not known yet what is in the way; repeat it with more time")

	r = w.run(t, "upgrade", "prepare", "--reason", "Hayloft goes to 1.1", "--timeout", "5s")
	assert.Equal(t, 3, r.code)
	assert.Contains(t, r.err, "waiting for 1 backup\n")
	assert.Contains(t, r.err, "Error: after 5s 1 backup is still in the way, see: hayloft upgrade check; suspended schedules stay so until hayloft upgrade finish")

	done := make(chan result, 1)
	go func() { done <- w.run(t, "upgrade", "prepare", "--cancel", "--timeout", deadline.String()) }()
	require.Eventually(t, func() bool {
		return w.Get(t.Context(), client.ObjectKeyFromObject(b), b) == nil && b.Spec.Cancel
	}, deadline, 20*time.Millisecond)
	w.say(t, b, v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupFailed})
	r = <-done
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, "Ready to upgrade: 1 schedule is suspended. Afterwards: hayloft upgrade finish\n", r.out)
	s := &v1alpha1.VMSchedule{}
	require.NoError(t, w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "nightly"}, s))
	require.Equal(t, "Hayloft goes to 1.1", s.Annotations[v1alpha1.AnnotationSuspendReason], "the first reason stays")

	r = w.run(t, "upgrade", "check")
	require.Equal(t, "1 schedule is suspended for an upgrade.\nNothing is in the way of an upgrade.\n", r.out)
	r = w.run(t, "upgrade", "finish")
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, "schedule "+w.namespace+"/nightly resumed\n", r.out)
	r = w.run(t, "upgrade", "finish")
	require.Equal(t, "No schedule is suspended for an upgrade.\n", r.err)
}
