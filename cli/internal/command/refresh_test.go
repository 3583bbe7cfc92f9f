package command_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// A refresh that is waited for is the one that was asked for, or a later one, and
// its failure is the command's.
func TestTargetRefreshWait(t *testing.T) {
	w := newWorld(t)
	target := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "t-" + w.namespace}}
	target.Spec.Directory = &v1alpha1.DirectoryTarget{Path: "/nowhere"}
	require.NoError(t, w.Create(t.Context(), target))
	t.Cleanup(func() { _ = w.Delete(t.Context(), target) })
	tell := func(r v1alpha1.TargetRefreshStatus) {
		require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(target), target))
		target.Status.Refresh = &r
		require.NoError(t, w.Status().Update(t.Context(), target))
	}
	moment := func(after time.Duration) *metav1.Time {
		at := metav1.NewTime(time.Date(2026, 11, 26, 20, 0, 0, 0, time.UTC).Add(after))
		return &at
	}
	former := v1alpha1.TargetRefreshStatus{Requested: "2026-11-26T19:00:00Z", StartedTime: moment(0), LastTime: moment(time.Second), NextTime: moment(time.Minute)}
	for name, tt := range map[string]struct {
		failures int32
		message  string
		code     int
		out, err string
	}{
		"well": {0, "", 0, "target " + target.Name + " was looked through: 12 documents, 7 points here; 2 new, 0 changed, 1 gone\n", ""},
		"not":  {1, "it is away", 1, "", "Error: target " + target.Name + " could not be looked through: it is away\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tell(former)
			done := make(chan result, 1)
			go func() { done <- w.run(t, "target", "refresh", target.Name, "--wait") }()
			var asked string
			require.Eventually(t, func() bool {
				found := &v1alpha1.BackupTarget{}
				before := asked
				if w.Get(t.Context(), client.ObjectKeyFromObject(target), found) == nil {
					asked = found.Annotations[v1alpha1.AnnotationRefresh]
				}
				return asked != "" && before == asked && asked != target.Annotations[v1alpha1.AnnotationRefresh]
			}, deadline, 20*time.Millisecond)
			began := former
			began.Requested, began.StartedTime = asked, moment(time.Minute)
			tell(began)
			ended := began
			ended.LastTime, ended.Failures, ended.Message = moment(2*time.Minute), tt.failures, tt.message
			ended.Documents = &v1alpha1.RefreshedDocuments{Total: 12, Points: 7, New: 2, Gone: 1}
			tell(ended)
			r := <-done
			assert.Equal(t, tt.code, r.code)
			assert.Equal(t, tt.out, r.out)
			assert.Contains(t, r.err, tt.err)
		})
	}
}
