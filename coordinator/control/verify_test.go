package control_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
)

// verify asks for a verification and waits for its end.
func (w *world) verify(b *v1alpha1.VMBackup, blocks bool) *v1alpha1.Verification {
	w.t.Helper()
	word := ask.Verify(blocks, ask.Word(time.Now()))[v1alpha1.AnnotationVerify]
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{v1alpha1.AnnotationVerify: word}}})
	require.NoError(w.t, err)
	require.NoError(w.t, w.client.Patch(w.ctx, b, client.RawPatch("application/merge-patch+json", patch)))
	w.eventually("the verification ends", func() bool {
		v := b.Status.Verification
		return w.refresh(b) && v != nil && v.Requested == word && v.EndedAt != nil
	})
	return b.Status.Verification
}

// A point at rest is verified when that is asked for: damaged, it counts as good no
// more and is not restored, and nothing of it goes; found whole again, it is Ready.
func TestAPointIsVerified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, stop := w.start("one")
	session, b := w.point()

	v := w.verify(b, false)
	require.Equal(t, v1alpha1.VerificationPassed, v.Result)
	require.Equal(t, "BackupsInspected", v.Reason)
	require.Empty(t, w.fake.called("inspectBlocks root"))
	v = w.verify(b, true)
	require.Equal(t, "AllBlocksPresent", v.Reason)
	require.EqualValues(t, 2, v.DisksDone)
	for _, disk := range []string{"root", "data"} {
		require.Len(t, w.fake.called("inspectBlocks "+disk), 1)
	}

	w.fake.fail("inspectBlocks data", &protocol.Error{Reason: protocol.Unreachable, Message: "no route"})
	v = w.verify(b, true)
	require.Equal(t, v1alpha1.VerificationUnknown, v.Result)
	require.Equal(t, v1alpha1.BackupReady, b.Status.Phase)
	c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionVerified)
	require.Equal(t, metav1.ConditionUnknown, c.Status)

	w.fake.fail("inspectBlocks data", &protocol.Error{Reason: protocol.Damaged, Message: "disk data: 1 of 9 blocks is missing"})
	v = w.verify(b, true)
	require.Equal(t, v1alpha1.VerificationDamaged, v.Result)
	require.Equal(t, v1alpha1.BackupDamaged, b.Status.Phase)
	reason, message := ready(b.Status.Conditions)
	require.Equal(t, "Damaged", reason)
	require.Contains(t, message, "disk data: 1 of 9 blocks is missing")
	refused := w.restore("refused", b.Name, "web2")
	w.awaitRestore(refused, v1alpha1.RestoreFailed)
	_, message = ready(refused.Status.Conditions)
	require.Contains(t, message, "is Damaged, not Ready")

	// The next leader lets it be, too, and takes up what was asked while nobody led.
	stop()
	w.start("two")
	w.holds("it stays", time.Second, func() bool { return w.refresh(b) && b.Status.Phase == v1alpha1.BackupDamaged })
	require.Empty(t, w.fake.called("deletePoint"))
	require.Empty(t, w.fake.called("dropAttempt"))
	v = w.verify(b, false)
	require.Equal(t, v1alpha1.VerificationPassed, v.Result)
	require.Equal(t, v1alpha1.BackupDamaged, b.Status.Phase, "no block was looked for")
	w.fake.fail("inspectBlocks data", nil)
	w.verify(b, true)
	require.Equal(t, v1alpha1.BackupReady, b.Status.Phase)
	reason, _ = ready(b.Status.Conditions)
	require.Equal(t, "Verified", reason)

	require.NoError(t, w.client.Delete(w.ctx, b))
	w.eventually("it can be deleted as any other", func() bool { w.removes(session); return !w.refresh(b) })
}

// Several are verified one after the other, found ones and those of which a leader was
// asked who is gone.
func TestPointsAreVerifiedInTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, stop := w.start("one")
	session, b := w.point()
	found := w.found(b)
	all := []*v1alpha1.VMBackup{found, b, w.ready("p2", b.Spec.Target, session)}
	stop()
	for i, p := range all {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"blocks %d"}}}`, v1alpha1.AnnotationVerify, i)
		require.NoError(t, w.client.Patch(w.ctx, p, client.RawPatch("application/merge-patch+json", []byte(patch))))
	}
	w.start("two")
	for _, p := range all {
		w.eventually(p.Name+" is verified", func() bool {
			return w.refresh(p) && p.Status.Verification != nil && p.Status.Verification.Result == v1alpha1.VerificationPassed
		})
	}
	require.Len(t, w.fake.called("inspectBlocks root"), 3)
}
