package control_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/points"
)

// A target is moved to another place, with points of its own, and back. Nothing is
// lost: what is not there is Missing meanwhile, comes back by itself, and what was
// forgotten stays so.
func TestATargetThatIsMovedAndBack(t *testing.T) {
	t.Parallel()
	w, dir, target := onDirectory(t)
	c := &counts{}
	w.opts.Refreshes = c
	own, found, forgotten := points.Document(w.ns, "own", 1), points.Document(w.ns, "found", 2), points.Document(w.ns, "forgotten", 3)
	points.WriteAll(t, dir, own, found, forgotten)
	other := t.TempDir()
	points.WriteAll(t, other, points.Document(w.ns, "elsewhere", 4))
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "own"}, Spec: v1alpha1.VMBackupSpec{VM: "vm-0", Target: target.Name}}
	w.create(b)
	b.Status = v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupReady, Document: points.Path(t, own)}
	require.NoError(t, w.client.Status().Update(w.ctx, b))
	phases := func() map[string]v1alpha1.BackupPhase {
		out := map[string]v1alpha1.BackupPhase{}
		for name, p := range w.points() {
			out[name] = p.Status.Phase
		}
		return out
	}
	moveTo := func(to string) { w.patch(target, fmt.Sprintf(`{"spec":{"directory":{"path":%q}}}`, to)) }
	_, stop := w.start("one")
	w.eventually("all of the first place are there", func() bool { return phases()["found"] == v1alpha1.BackupReady && len(w.points()) == 3 })
	gone := w.points()["forgotten"]
	require.NoError(t, w.client.Delete(w.ctx, &gone))
	w.eventually("it is told as forgotten", func() bool { return w.documents(target).Forgotten == 1 })

	moveTo(other)
	w.eventually("the second place has one, and the first's are gone or missing", func() bool {
		p := phases()
		_, there := p["found"]
		return p["elsewhere"] == v1alpha1.BackupReady && p["own"] == v1alpha1.BackupMissing && !there
	})
	w.seenTimes(c, 5)
	stop()
	w.start("two")
	w.seenTimes(c, 5)
	require.Contains(t, phases(), "own", "this cluster's own stays")
	for _, d := range []string{points.Path(t, own), points.Path(t, found), points.Path(t, forgotten)} {
		require.FileExists(t, filepath.Join(dir, d))
	}

	moveTo(dir)
	w.eventually("they are back", func() bool {
		p := phases()
		_, there := p["elsewhere"]
		return p["own"] == v1alpha1.BackupReady && p["found"] == v1alpha1.BackupReady && !there
	})
	w.seenTimes(c, 3)
	require.Len(t, w.points(), 2, "what was forgotten stays so")
	require.EqualValues(t, 1, w.documents(target).Forgotten)
}
