package command_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/forgotten"
)

// directoryTarget makes a target that no coordinator looks at.
func (w *world) directoryTarget(t *testing.T, prefix string) *v1alpha1.BackupTarget {
	t.Helper()
	target := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: prefix + w.namespace}}
	target.Spec.Directory = &v1alpha1.DirectoryTarget{Path: "/nowhere"}
	require.NoError(t, w.Create(t.Context(), target))
	t.Cleanup(func() { _ = w.Delete(t.Context(), target) })
	return target
}

// TestTargetLeftovers: the command shows the answer to its own question, and fails
// where nothing was removed that was to be.
func TestTargetLeftovers(t *testing.T) {
	w := newWorld(t)
	target := w.directoryTarget(t, "left-")
	item := v1alpha1.TargetLeftover{Kind: "InProgress", Volume: "v1", Backup: "hl-1"}
	gone, kept := item, item
	gone.Removed, kept.Keep = true, "cluster c2 may be taking this point"
	for name, c := range map[string]struct {
		args   []string
		answer v1alpha1.TargetLeftovers
		code   int
		out    string
		err    string
	}{
		"listed":  {nil, v1alpha1.TargetLeftovers{InProgress: 2, Removable: 1, Items: []v1alpha1.TargetLeftover{item, kept}}, 0, "InProgress\tbackup hl-1 of volume v1\tmay be removed (--remove)\nInProgress\tbackup hl-1 of volume v1\tstays: cluster c2 may be taking this point\n", "in progress: 2, without a document: 0, drafts: 0, removed: 0\n"},
		"removed": {[]string{"--remove"}, v1alpha1.TargetLeftovers{InProgress: 1, Removed: 1, Items: []v1alpha1.TargetLeftover{gone}}, 0, "\tremoved\n", "removed: 1\n"},
		"failed":  {[]string{"--remove"}, v1alpha1.TargetLeftovers{Message: "it failed: it is away"}, 1, "", "Error: it failed: it is away\n"},
	} {
		t.Run(name, func(t *testing.T) {
			seen := &v1alpha1.BackupTarget{}
			require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(target), seen))
			answered := make(chan struct{})
			go func() { // as the coordinator does
				defer close(answered)
				for before := seen.Annotations[v1alpha1.AnnotationLeftovers]; ; time.Sleep(20 * time.Millisecond) {
					if err := w.Get(t.Context(), client.ObjectKeyFromObject(seen), seen); err != nil {
						assert.NoError(t, err)
						return
					}
					if asked := seen.Annotations[v1alpha1.AnnotationLeftovers]; asked != before {
						now := metav1.Now()
						c.answer.Requested, c.answer.Time = asked, &now
						seen.Status.Leftovers = &c.answer
						assert.NoError(t, w.Status().Update(t.Context(), seen))
						return
					}
				}
			}()
			r := w.run(t, append([]string{"target", "leftovers", target.Name}, c.args...)...)
			<-answered
			assert.Equal(t, c.code, r.code, r.err)
			assert.Contains(t, r.out, c.out)
			assert.Contains(t, r.err, c.err)
		})
	}
	r := w.run(t, "target", "leftovers", target.Name, "--timeout", "100ms")
	assert.Equal(t, 3, r.code)
	assert.Contains(t, r.err, "is one leading?")
}

// TestTargetRemember: what is to be remembered is asked for, together with a refresh,
// and what is forgotten is listed.
func TestTargetRemember(t *testing.T) {
	w := newWorld(t)
	target := w.directoryTarget(t, "remember-")
	for _, args := range [][]string{{}, {"--all", "shop/a"}, {"shop/a shop/b"}, {"a"}} {
		r := w.run(t, append([]string{"target", "remember", target.Name}, args...)...)
		assert.Equal(t, 2, r.code, args)
	}
	for _, c := range []struct{ arg, want string }{{"shop/a", "shop/a "}, {"--all", "all "}} {
		r := w.run(t, "target", "remember", target.Name, c.arg)
		require.Equal(t, 0, r.code, r.err)
		require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(target), target))
		assert.Contains(t, target.Annotations[v1alpha1.AnnotationRemember], c.want)
		assert.NotEmpty(t, target.Annotations[v1alpha1.AnnotationRefresh])
	}
	r := w.run(t, "target", "remember", target.Name, "--list")
	require.Equal(t, 0, r.code, r.err)
	assert.Empty(t, r.out)
	graves := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.namespace, Name: "graves",
		Labels: map[string]string{v1alpha1.LabelTarget: string(target.UID), v1alpha1.LabelKept: v1alpha1.KeptGraves},
	}, Data: map[string]string{"u1": forgotten.Text("shop", "a", "Retained", time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))}}
	require.NoError(t, w.Create(t.Context(), graves))
	r = w.run(t, "target", "remember", target.Name, "--list", "--system-namespace", w.namespace)
	require.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "shop/a\tu1\tRetained 2026-03-01T00:00:00Z\n", r.out)
}
