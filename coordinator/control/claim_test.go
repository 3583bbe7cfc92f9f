package control_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
	"hayloft.dev/test/points"
)

func (w *world) patchPoint(name, body string) error {
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = w.ns, name
	return w.client.Patch(w.ctx, b, client.RawPatch(types.MergePatchType, []byte(body)))
}

// A found point's data stays whatever becomes of the object, until the point is
// claimed; from then on its deletion is like that of any other point, and nothing
// but a deletion removes it.
func TestClaimedPoints(t *testing.T) {
	t.Parallel()
	w, dir, target := onDirectory(t)
	c := &counts{}
	w.opts.Refreshes = c
	gone, kept, missing := points.Document(w.ns, "gone", 1), points.Document(w.ns, "kept", 2), points.Document(w.ns, "missing", 3)
	points.WriteAll(t, dir, gone, kept, missing)
	w.start("one")
	w.eventually("all appear", func() bool { return w.documents(target).Points == 3 })

	require.ErrorContains(t, w.patchPoint("gone", `{"spec":{"deletionPolicy":"Delete"}}`), "unless it is claimed")
	watching, err := client.NewWithWatch(w.config, client.Options{Scheme: w.client.Scheme()})
	require.NoError(t, err)
	changes, err := watching.Watch(w.ctx, &v1alpha1.VMBackupList{}, client.InNamespace(w.ns))
	require.NoError(t, err)
	for _, name := range []string{"gone", "kept", "missing"} {
		require.NoError(t, w.patchPoint(name, `{"spec":{"claimed":true,"deletionPolicy":"Delete"}}`))
	}
	require.ErrorContains(t, w.patchPoint("gone", `{"spec":{"claimed":false}}`), "cannot be taken back")
	require.NoError(t, w.patchPoint("kept", `{"spec":{"deletionPolicy":"Retain"}}`))
	w.eventually("they are this cluster's", func() bool {
		for _, b := range w.points() {
			_, message := ready(b.Status.Conditions)
			if len(b.Finalizers) != 1 || b.Status.Phase != v1alpha1.BackupReady || message == "" || b.Status.StartedAt == nil {
				return false
			}
		}
		return true
	})
	defer changes.Stop()
	for seen := map[string]bool{}; len(seen) < 3; {
		change, open := <-changes.ResultChan()
		require.True(t, open)
		if b, ok := change.Object.(*v1alpha1.VMBackup); ok && len(b.Finalizers) > 0 {
			require.NotNil(t, b.Status.StartedAt, "deleted at this moment, its data would stay")
			seen[b.Name] = true
		}
	}

	for _, name := range []string{"gone", "kept"} {
		b := w.points()[name]
		require.NoError(t, w.client.Delete(w.ctx, &b))
	}
	w.eventually("both go", func() bool { return len(w.points()) == 1 })
	require.NoFileExists(t, filepath.Join(dir, points.Path(t, gone)))
	require.FileExists(t, filepath.Join(dir, points.Path(t, kept)))
	w.eventually("the one that was kept is forgotten", func() bool { d := w.documents(target); return d.Forgotten == 1 && d.Total == 2 })

	// That a document vanished is not a user's word.
	points.Remove(t, dir, missing)
	w.eventually("it is missing", func() bool { return w.points()["missing"].Status.Phase == v1alpha1.BackupMissing })
	w.seenTimes(c, 6)
	require.Len(t, w.points(), 1)
}

// Points that were forgotten come back when somebody asks for them, and only those.
func TestRememberedPoints(t *testing.T) {
	t.Parallel()
	w, dir, target := onDirectory(t)
	c := &counts{}
	w.opts.Refreshes = c
	for i := range 3 {
		points.WriteAll(t, dir, points.Document(w.ns, fmt.Sprintf("p%d", i), i))
	}
	_, stop := w.start("one")
	w.eventually("all appear", func() bool { return w.documents(target).Points == 3 })
	for _, b := range w.points() {
		require.NoError(t, w.client.Delete(w.ctx, &b))
	}
	w.eventually("all are forgotten", func() bool { return w.documents(target).Forgotten == 3 })
	remember := func(word string, points int64, which ...string) {
		t.Helper()
		_, err := ask.Target(w.ctx, w.client, target.Name, ask.Remember(which, word))
		require.NoError(t, err)
		w.eventually("the word is taken up", func() bool {
			w.refresh(target)
			r := target.Status.Remembered
			return r != nil && r.Requested == word && r.Points == points
		})
	}
	remember("1", 2, w.ns+"/p0", "nobody/p1", string(points.UID(2)))
	w.eventually("two are back", func() bool {
		all := w.points()
		return len(all) == 2 && all["p0"].Status.Phase == v1alpha1.BackupReady && all["p2"].Status.Phase == v1alpha1.BackupReady
	})
	w.seenTimes(c, 2)
	require.Len(t, w.points(), 2)
	stop()
	w.start("two")
	remember("2", 1, v1alpha1.RememberAll)
	w.eventually("so is the third", func() bool { return len(w.points()) == 3 })
	w.eventually("nothing is forgotten", func() bool { return w.documents(target).Forgotten == 0 })
}
