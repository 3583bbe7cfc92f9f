package e2e

import (
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// nobodyListens is an endpoint that refuses every connection.
const nobodyListens = "http://127.0.0.1:1"

// die has a target's endpoint be one where nobody is, revive the real one.
func (w *world) die(target string) { w.t.Helper(); w.moveTarget(target, nobodyListens) }

func (w *world) revive(target string) { w.t.Helper(); w.moveTarget(target, w.S3.Endpoint) }

func (w *world) moveTarget(target, endpoint string) {
	w.t.Helper()
	t := &v1alpha1.BackupTarget{}
	t.Name = target
	w.patch(t, fmt.Sprintf(`{"spec":{"s3":{"endpoint":%q}}}`, endpoint))
}

// deleteWithDeadTarget: while its target is away a deletion waits and says so,
// until the target is back or a user has said that the data is to stay, or that
// nothing is to be waited for. A point that never was whole goes by itself.
func deleteWithDeadTarget(w *world) {
	target := w.ownTarget("mortal", w.S3.AccessKey, w.S3.SecretKey, nil).Name
	w.runningVM("mortal", 96*mib)
	w.quietHashes("mortal", "root")
	points := map[string]*v1alpha1.VMBackup{}
	for _, name := range []string{"patient", "kept-after-all", "forced"} {
		w.backupTo(target, name, "mortal")
		points[name] = w.awaitBackup(name, v1alpha1.BackupReady)
	}
	failed := w.failedPoint(target)

	w.deletePoints("patient", "kept-after-all", "forced", failed.Name)
	for _, name := range []string{"patient", "kept-after-all", "forced"} {
		w.awaitDeletionWaits(name, "--keep-data")
		w.requireEvent(points[name], "DeletionHeldUp", "--keep-data")
	}
	w.awaitGone(failed.Name)
	w.requireEvent(failed, "LeftBehind", "could not be removed")

	before := w.filesOf(points["kept-after-all"])
	w.patch(points["kept-after-all"], `{"spec":{"deletionPolicy":"Retain"}}`)
	w.awaitGone("kept-after-all")
	require.Equal(w.t, before, w.filesOf(points["kept-after-all"]))

	before = w.filesOf(points["forced"])
	w.patch(points["forced"], fmt.Sprintf(`{"metadata":{"annotations":{%q:"true"}}}`, v1alpha1.AnnotationForceDeletion))
	w.awaitGone("forced")
	require.Equal(w.t, before, w.filesOf(points["forced"]))
	w.requireEvent(points["forced"], "LeftBehind", "on target "+target)

	w.awaitDeletionWaits("patient", "--keep-data")
	w.revive(target)
	w.awaitGone("patient")
	require.Empty(w.t, w.filesOf(points["patient"]))
	require.NotEmpty(w.t, w.filesOf(failed), "what the event told of")
	w.eventually("nothing to be left in the cluster", func() (bool, string) {
		left := w.clusterLeftovers()
		return len(left) == 0, strings.Join(left, ", ")
	})
	for _, name := range []string{"kept-after-all", "forced"} {
		documents, backups := w.documentAndBackups(points[name])
		require.Len(w.t, documents, 1)
		require.Len(w.t, backups, 1)
	}
}

// failedPoint is cancelled when its target is dead already, so that what it has
// uploaded is there to stay. It returns while the clean-up tries in vain.
func (w *world) failedPoint(target string) *v1alpha1.VMBackup {
	w.t.Helper()
	w.rewritten("mortal", "root", 0, 64*mib, 77)
	b := w.backupTo(target, "never-whole", "mortal")
	w.awaitMoving(b, 1)
	w.die(target)
	w.patch(b, `{"spec":{"cancel":true}}`)
	w.eventually("the clean-up to meet the dead target", func() (bool, string) {
		b = w.pointNow(b.Name)
		return strings.Contains(conditionText(b.Status.Conditions, v1alpha1.ConditionProgressing), "could not be removed"), words(b.Status)
	})
	return b
}

// requireEvent waits for an event about a point; events are written in the
// background.
func (w *world) requireEvent(b *v1alpha1.VMBackup, reason, says string) {
	w.t.Helper()
	w.eventually("an event "+reason+" about "+b.Name, func() (bool, string) {
		var events corev1.EventList
		require.NoError(w.t, w.c.List(w.ctx, &events, client.InNamespace(b.Namespace)))
		var heard []string
		for _, e := range events.Items {
			if e.InvolvedObject.UID != b.UID {
				continue
			}
			if e.Reason == reason && strings.Contains(e.Message, says) {
				return true, ""
			}
			heard = append(heard, e.Reason+": "+e.Message)
		}
		return false, strings.Join(heard, "; ")
	})
}
