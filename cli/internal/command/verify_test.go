package command_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// The answer to this very request is waited for, and is the exit code.
func TestBackupVerify(t *testing.T) {
	w := newWorld(t)
	b := w.make(t, "point")
	answer := func(found v1alpha1.VerificationResult, message string, args ...string) result {
		t.Helper()
		done := make(chan result, 1)
		go func() {
			done <- w.run(t, append([]string{"backup", "verify", "point", "--timeout", deadline.String()}, args...)...)
		}()
		before := b.Annotations[v1alpha1.AnnotationVerify]
		require.Eventually(t, func() bool {
			return w.Get(t.Context(), client.ObjectKeyFromObject(b), b) == nil && b.Annotations[v1alpha1.AnnotationVerify] != before
		}, deadline, 20*time.Millisecond)
		now := metav1.Now()
		b.Status.Verification = &v1alpha1.Verification{
			Requested: b.Annotations[v1alpha1.AnnotationVerify], StartedAt: now, EndedAt: &now, Result: found, Reason: "R", Message: message,
		}
		require.NoError(t, w.Status().Update(t.Context(), b))
		return <-done
	}
	r := answer(v1alpha1.VerificationPassed, "all of it is there")
	assert.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "backup point: all of it is there\n", r.out)
	assert.True(t, strings.HasPrefix(b.Annotations[v1alpha1.AnnotationVerify], "backups "))
	r = answer(v1alpha1.VerificationDamaged, "a block is missing", "--all-blocks")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, "Error: backup point is damaged (R): a block is missing\n")
	assert.True(t, strings.HasPrefix(b.Annotations[v1alpha1.AnnotationVerify], "blocks "))
	r = answer(v1alpha1.VerificationUnknown, "no route")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, "it is not known whether backup point is whole (R): no route\n")

	r = w.run(t, "backup", "verify", "point", "--wait=false")
	assert.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "vmbackup.hayloft.dev/point verification requested\n", r.out)
	r = w.run(t, "backup", "verify", "point", "--timeout", "100ms")
	assert.Equal(t, 3, r.code)
	r = w.run(t, "backup", "verify", "none")
	assert.Equal(t, "Error: there is no backup called \"none\"\n", r.err)
}
