package control_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/test/points"
)

// A target is looked through for leftovers when somebody asks, once for each
// request; the status has the answer.
func TestLeftoversOnRequest(t *testing.T) {
	t.Parallel()
	w, dir, target := onDirectory(t)
	w.opts.LeftoverAge = time.Millisecond
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}}
	require.NoError(t, w.client.Get(w.ctx, client.ObjectKeyFromObject(system), system))
	d := points.Document(w.ns, "gone", 1)
	d.Origin.ClusterUID, d.Disks, d.Consistency = system.UID, nil, ""
	data, _, err := document.EncodeDraft(d)
	require.NoError(t, err)
	path, err := document.DraftPath(d.Point.UID)
	require.NoError(t, err)
	points.Write(t, dir, path, data)
	w.start("one")

	ask := func(what string) *v1alpha1.TargetLeftovers {
		t.Helper()
		w.refresh(target)
		before := target.DeepCopy()
		target.Annotations = map[string]string{v1alpha1.AnnotationLeftovers: what}
		require.NoError(t, w.client.Patch(w.ctx, target, client.MergeFrom(before)))
		w.eventually("the answer to "+what, func() bool {
			w.refresh(target)
			l := target.Status.Leftovers
			return l != nil && l.Requested == what && l.Time != nil
		})
		return target.Status.Leftovers
	}
	l := ask(v1alpha1.LeftoversList + " 1")
	require.Empty(t, l.Message)
	require.EqualValues(t, 1, l.Drafts)
	require.Zero(t, l.Removed)
	require.Equal(t, path, l.Items[0].Path)
	require.FileExists(t, filepath.Join(dir, path))

	l = ask(v1alpha1.LeftoversRemove + " 2")
	require.EqualValues(t, 1, l.Removed, "%+v", l)
	_, err = os.Stat(filepath.Join(dir, path))
	require.ErrorIs(t, err, os.ErrNotExist)
	l = ask(v1alpha1.LeftoversList + " 3")
	require.Zero(t, l.Drafts)
}
