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

// TestTargetTest: the command shows the answer to its own question, and its exit
// code says whether the target can be used.
func TestTargetTest(t *testing.T) {
	w := newWorld(t)
	target := &v1alpha1.BackupTarget{
		ObjectMeta: metav1.ObjectMeta{Name: "tested-" + w.namespace},
		Spec:       v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: "/mnt"}},
	}
	require.NoError(t, w.Create(t.Context(), target))
	for name, c := range map[string]struct {
		answer   v1alpha1.TargetTest
		code     int
		out, err string
	}{
		"good":   {v1alpha1.TargetTest{Passed: true, Milliseconds: 2000}, 0, "target " + target.Name + " can be used, found out in 2s\n", ""},
		"warned": {v1alpha1.TargetTest{Passed: true, Warning: "it keeps everything"}, 0, "can be used", "Warning: it keeps everything\n"},
		"bad":    {v1alpha1.TargetTest{Reason: "BucketNotFound", Message: "create the bucket"}, 1, "", "Error: target " + target.Name + " cannot be used (BucketNotFound): create the bucket\n"},
	} {
		t.Run(name, func(t *testing.T) {
			seen := &v1alpha1.BackupTarget{}
			require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(target), seen))
			answered := make(chan struct{})
			go func() { // as the coordinator does
				defer close(answered)
				for before := seen.Annotations[v1alpha1.AnnotationTest]; ; time.Sleep(20 * time.Millisecond) {
					if err := w.Get(t.Context(), client.ObjectKeyFromObject(seen), seen); err != nil {
						assert.NoError(t, err)
						return
					}
					if asked := seen.Annotations[v1alpha1.AnnotationTest]; asked != before {
						c.answer.Requested, c.answer.Time = asked, metav1.Now()
						seen.Status.Test = &c.answer
						assert.NoError(t, w.Status().Update(t.Context(), seen))
						return
					}
				}
			}()
			r := w.run(t, "target", "test", target.Name)
			<-answered
			assert.Equal(t, c.code, r.code)
			assert.Contains(t, r.out, c.out)
			assert.Contains(t, r.err, c.err)
		})
	}
	r := w.run(t, "target", "test", target.Name, "--wait=false")
	assert.Equal(t, 0, r.code, r.err)
	assert.Contains(t, r.out, "test requested")
	r = w.run(t, "target", "test", target.Name, "--timeout", "100ms")
	assert.Equal(t, 3, r.code)
	assert.Contains(t, r.err, "does one run?")
	r = w.run(t, "target", "test", "none")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, `"none"`)
}
