package api

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestVerbs: what a request is called is what becomes of the object.
func TestVerbs(t *testing.T) {
	w := newWorld(t)
	w.may("of-a", "", "list", "delete")
	w.may("of-a", w.a, "get", "patch")
	w.awaitRights()
	w.backup("point", v1alpha1.BackupReady)
	w.backup("goes", v1alpha1.BackupReady)
	w.backup("leaves", v1alpha1.BackupReady)
	w.make(&v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: w.a, Name: "copy"}, Spec: v1alpha1.VMRestoreSpec{Backup: "point", NewVM: "web2"}})
	w.schedule(w.a, "nightly", "")
	// What is deleted stays to be looked at.
	for _, name := range []string{"goes", "leaves"} {
		b := &v1alpha1.VMBackup{}
		w.read(b, w.a, name)
		b.Finalizers = []string{v1alpha1.FinalizerData}
		require.NoError(t, w.client.Update(t.Context(), b))
	}
	t.Cleanup(func() { w.letGo("goes", "leaves") })

	point := func(name string) *v1alpha1.VMBackup {
		b := &v1alpha1.VMBackup{}
		w.read(b, w.a, name)
		return b
	}
	for _, c := range []struct {
		path string
		ok   func() bool
	}{
		{"points/point/pin", func() bool { return point("point").Spec.Pinned }},
		{"points/point/unpin", func() bool { return !point("point").Spec.Pinned }},
		{"points/point/cancel", func() bool { return point("point").Spec.Cancel }},
		{"restores/copy/cancel", func() bool { r := &v1alpha1.VMRestore{}; w.read(r, w.a, "copy"); return r.Spec.Cancel }},
		{"schedules/nightly/suspend", func() bool { return len(w.suspended()) == 1 }},
		{"schedules/nightly/resume", func() bool { return len(w.suspended()) == 0 }},
	} {
		var said map[string]any
		require.Equal(t, http.StatusOK, w.ask("of-a", "POST", "/namespaces/"+w.a+"/"+c.path, "", &said), "%s: %v", c.path, said)
		require.Equal(t, strings.Split(c.path, "/")[1], said["name"])
		require.True(t, c.ok(), c.path)
	}
	for path, keeps := range map[string]bool{"points/goes": false, "points/leaves?keepData=true&force=true": true} {
		require.Equal(t, http.StatusAccepted, w.ask("of-a", "DELETE", "/namespaces/"+w.a+"/"+path, "", nil))
		name, _, _ := strings.Cut(strings.TrimPrefix(path, "points/"), "?")
		b := point(name)
		require.NotNil(t, b.DeletionTimestamp, name)
		require.Equal(t, keeps, b.Spec.DeletionPolicy == v1alpha1.DeletionRetain, name)
		require.Equal(t, keeps, b.Annotations[v1alpha1.AnnotationForceDeletion] == "true", name)
	}
	require.Equal(t, http.StatusAccepted, w.ask("of-a", "DELETE", "/namespaces/"+w.a+"/restores/copy", "", nil))
	err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.a, Name: "copy"}, &v1alpha1.VMRestore{})
	require.NoError(t, client.IgnoreNotFound(err))
	require.Error(t, err)
}

// letGo takes the finalizers of points, as a coordinator does that has cleaned up.
func (w *world) letGo(names ...string) {
	w.t.Helper()
	for _, name := range names {
		b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.a, Name: name}}
		require.NoError(w.t, client.IgnoreNotFound(w.client.Patch(context.Background(), b, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))))
	}
}
