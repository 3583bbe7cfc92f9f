package command_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestTargetNamespaces: what points wait for is shown, and made for whoever asks, but
// for what a document has no business in.
func TestTargetNamespaces(t *testing.T) {
	w := newWorld(t)
	target := w.directoryTarget(t, "spaces-")
	r := w.run(t, "target", "namespaces", target.Name)
	require.Equal(t, 0, r.code, r.err)
	assert.Contains(t, r.err, "no backup on target "+target.Name+" waits")

	one, two, system := "a-"+w.namespace, "b-"+w.namespace, "kube-"+w.namespace
	target.Status.Refresh = &v1alpha1.TargetRefreshStatus{Waiting: []v1alpha1.WaitingNamespace{
		{Namespace: one, Points: 3, Message: v1alpha1.NoSuchNamespace},
		{Namespace: two, Points: 1, Message: v1alpha1.NoSuchNamespace},
		{Namespace: system, Points: 1, Message: "it is a namespace of the system: no points are made in it"},
	}}
	require.NoError(t, w.Status().Update(t.Context(), target))
	exists := func(name string) bool {
		err := w.Get(t.Context(), client.ObjectKey{Name: name}, &corev1.Namespace{})
		require.NoError(t, client.IgnoreNotFound(err))
		return !apierrors.IsNotFound(err)
	}

	r = w.run(t, "target", "namespaces", target.Name)
	require.Equal(t, 0, r.code, r.err)
	assert.Contains(t, r.out, one+"\t3 backups\tit does not exist here")
	assert.False(t, exists(one), "it was only shown")
	for name, says := range map[string]string{system: "a namespace of the system", "c-" + w.namespace: "no backup on target"} {
		r = w.run(t, "target", "namespaces", target.Name, one, name)
		assert.Equal(t, 1, r.code)
		assert.Contains(t, r.err, says)
		assert.False(t, exists(name))
		assert.False(t, exists(one), "nothing is made of a request that is refused")
	}
	r = w.run(t, "target", "namespaces", target.Name, one)
	require.Equal(t, 0, r.code, r.err)
	assert.Equal(t, "namespace/"+one+" created\n", r.out)
	assert.True(t, exists(one))
	require.NoError(t, w.Get(t.Context(), client.ObjectKeyFromObject(target), target))
	assert.NotEmpty(t, target.Annotations[v1alpha1.AnnotationRefresh])

	r = w.run(t, "target", "namespaces", target.Name, "--all")
	require.Equal(t, 0, r.code, r.err)
	assert.True(t, exists(two))
	assert.False(t, exists(system))
	assert.Equal(t, 2, w.run(t, "target", "namespaces", target.Name, one, "--all").code)
}
