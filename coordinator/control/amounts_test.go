package control

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEqualAmountsAreOne(t *testing.T) {
	a := newAmounts()
	// where is the place of a list.
	where := func(l corev1.ResourceList) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&l)) }
	list := func(sizes ...string) corev1.ResourceList {
		out := corev1.ResourceList{}
		for i, s := range sizes {
			out[[]corev1.ResourceName{corev1.ResourceStorage, "others"}[i]] = resource.MustParse(s)
		}
		return out
	}
	claim := func(requested, has corev1.ResourceList) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "root", Annotations: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
		}}
		c.Spec.Resources.Requests, c.Status.Capacity = requested, has
		want := c.DeepCopy()
		want.ManagedFields = nil
		kept, err := a.claim(c)
		require.NoError(t, err)
		require.True(t, equality.Semantic.DeepEqual(want, kept), "%v", kept)
		return c
	}
	first, second := claim(list("10Gi"), list("10Gi", "3")), claim(list("10Gi"), list("10Gi", "3"))
	require.Equal(t, where(first.Spec.Resources.Requests), where(second.Spec.Resources.Requests))
	require.Equal(t, where(first.Status.Capacity), where(second.Status.Capacity))
	require.NotEqual(t, where(first.Spec.Resources.Requests), where(first.Status.Capacity))
	other := claim(list("10240Mi"), nil)
	require.Nil(t, other.Status.Capacity)
}
