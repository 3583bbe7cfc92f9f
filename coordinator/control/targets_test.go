package control_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/points"
)

func (w *world) patch(o client.Object, patch string) {
	w.t.Helper()
	require.NoError(w.t, w.client.Patch(w.ctx, o, client.RawPatch("application/merge-patch+json", []byte(patch))))
}

// condition of a target as it is now; "" when it has none of that type.
func (w *world) condition(t *v1alpha1.BackupTarget, kind string) metav1.Condition {
	w.t.Helper()
	w.refresh(t)
	if c := meta.FindStatusCondition(t.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// Whoever asks for a test gets the answer of a probe that was made for it.
func TestATestOfATarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target("t")
	w.start("one")
	ask := func(word string) *v1alpha1.TargetTest {
		w.patch(target, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationTest, word))
		w.eventually("the answer to "+word, func() bool {
			return w.refresh(target) && target.Status.Test != nil && target.Status.Test.Requested == word
		})
		return target.Status.Test
	}
	require.True(t, ask("first").Passed)
	require.Equal(t, metav1.ConditionTrue, w.condition(target, v1alpha1.ConditionFreesSpace).Status)

	w.fake.fail("probe", &protocol.Error{Reason: protocol.BucketNotFound, Message: "there is no such bucket"})
	got := ask("second")
	require.False(t, got.Passed)
	require.Equal(t, "BucketNotFound", got.Reason)
	require.Equal(t, "there is no such bucket", got.Message)
	require.Equal(t, "BucketNotFound", w.condition(target, v1alpha1.ConditionReady).Reason)

	w.fake.fail("probe", nil)
	w.fake.mu.Lock()
	w.fake.keeps = protocol.KeepsVersions
	w.fake.mu.Unlock()
	got = ask("third")
	require.True(t, got.Passed)
	require.Contains(t, got.Warning, "versioning")
	c := w.condition(target, v1alpha1.ConditionFreesSpace)
	require.Equal(t, "False Versioning", string(c.Status)+" "+c.Reason)
	require.Equal(t, metav1.ConditionTrue, w.condition(target, v1alpha1.ConditionReady).Status)
}

// Where no webhook has kept a second default away, both say so.
func TestTwoDefaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.target("a"), w.target("b")
	w.patch(a, `{"spec":{"default":true}}`)
	w.start("one")
	w.eventually("a is the default", func() bool { return w.condition(a, v1alpha1.ConditionDefault).Status == metav1.ConditionTrue })
	w.patch(b, `{"spec":{"default":true}}`)
	for _, target := range []*v1alpha1.BackupTarget{a, b} {
		w.eventually("both say that there are two", func() bool {
			c := w.condition(target, v1alpha1.ConditionDefault)
			return c.Status == metav1.ConditionFalse && c.Reason == rules.SeveralDefaults
		})
	}
	w.patch(a, `{"spec":{"default":false}}`)
	w.eventually("b is the default", func() bool { return w.condition(b, v1alpha1.ConditionDefault).Status == metav1.ConditionTrue })
	w.eventually("a is none", func() bool { return w.condition(a, v1alpha1.ConditionDefault).Type == "" })
}

// What no webhook has refused, the planner does, by the same rules.
func TestTargetsThatTakeNoPointsFromHere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vm("vm")
	readOnly, closed, picky := w.target("read"), w.target("closed"), w.target("picky")
	w.patch(readOnly, `{"spec":{"readOnly":true}}`)
	w.patch(closed, `{"spec":{"allowedNamespaces":{"names":["elsewhere"]}}}`)
	w.patch(picky, fmt.Sprintf(`{"spec":{"allowedNamespaces":{"selector":{"matchLabels":{"allow":%q}}}}}`, w.ns))
	w.start("one")
	for target, reason := range map[*v1alpha1.BackupTarget]string{readOnly: rules.TargetReadOnly, closed: rules.TargetNotAllowed, picky: rules.TargetNotAllowed} {
		b := w.backup("to-"+target.Name, "vm", target.Name)
		w.awaitBackup(b, v1alpha1.BackupFailed)
		got, message := ready(b.Status.Conditions)
		require.Equal(t, reason, got)
		require.Contains(t, message, target.Name)
	}
	w.patch(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}, fmt.Sprintf(`{"metadata":{"labels":{"allow":%q}}}`, w.ns))
	b := w.backup("allowed", "vm", picky.Name)
	w.awaitBackup(b, v1alpha1.BackupCutting)
}

// Points of namespaces that a target does not allow wait until it does.
func TestPointsOfNamespacesThatAreNotAllowed(t *testing.T) {
	t.Parallel()
	w, dir, target := onDirectory(t)
	points.WriteAll(t, dir, points.Document(w.ns, "p", 1))
	w.patch(target, `{"spec":{"allowedNamespaces":{"names":["elsewhere"]}}}`)
	w.start("one")
	w.eventually("the point waits", func() bool { return w.documents(target).Waiting == 1 })
	require.Contains(t, target.Status.Refresh.Waiting[0].Message, "spec.allowedNamespaces")
	require.Empty(t, w.points())
	w.patch(target, fmt.Sprintf(`{"spec":{"allowedNamespaces":{"names":[%q]}}}`, w.ns))
	w.eventually("the point appears", func() bool { return len(w.points()) == 1 })
}
