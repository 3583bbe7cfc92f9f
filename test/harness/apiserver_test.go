package harness_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"hayloft.dev/test/harness"
)

func TestAPIServerServesEveryKind(t *testing.T) {
	config := harness.APIServer(t)
	namespace := harness.Namespace(t, config)
	client, err := dynamic.NewForConfig(config)
	require.NoError(t, err)

	for _, resource := range []schema.GroupVersionResource{
		{Group: "hayloft.dev", Version: "v1alpha1", Resource: "vmbackups"},
		{Group: "longhorn.io", Version: "v1beta2", Resource: "volumeattachments"},
		{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachines"},
		{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: "volumesnapshots"},
	} {
		list, err := client.Resource(resource).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err, resource)
		require.Empty(t, list.Items, resource)
	}
}

func TestNamespacesDiffer(t *testing.T) {
	config := harness.APIServer(t)
	a, b := harness.Namespace(t, config), harness.Namespace(t, config)
	require.NotEqual(t, a, b)

	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	_, err = client.CoreV1().ConfigMaps(a).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "x"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	list, err := client.CoreV1().ConfigMaps(b).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, list.Items)
}
