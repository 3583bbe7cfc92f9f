package cluster

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

const namespace = harness.HayloftNamespace

// installs installs the chart as docs/install.md says, into a namespace of level "restricted": agents and coordinators
// run as pods of the images that `make images` made, one leads, the API server reaches the webhook, and doctor finds
// nothing wrong.
func (k *cluster) installs(t *testing.T) {
	k.install(t)
	k.awaitReady(t)
	k.notRestarted(t)

	lease := &coordinationv1.Lease{}
	await(t, patience, "a leader", func() error {
		if err := k.c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "coordinator"}, lease); err != nil {
			return err
		}
		if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
			return fmt.Errorf("nobody leads")
		}
		return nil
	})
	leader := &corev1.Pod{}
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: *lease.Spec.HolderIdentity}, leader), "a leader's identity is its pod's name")
	require.Contains(t, k.run(t, "hayloft", "doctor"), "nothing is wrong")

	backup := &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "refused"},
		Spec:       v1alpha1.VMBackupSpec{VM: "nothing", Target: "nowhere"},
	}
	require.ErrorContains(t, k.c.Create(t.Context(), backup), `there is no BackupTarget "nowhere"`, "the webhook answers, from a pod")
}

// makeNamespaces makes those of others; docs/install.md makes Hayloft's.
func (k *cluster) makeNamespaces(t *testing.T) {
	t.Helper()
	_, err := k.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: harness.LonghornNamespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "privileged"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// install loads the images into each node and installs the chart, by the commands of docs/install.md.
func (k *cluster) install(t *testing.T) {
	t.Helper()
	for _, node := range k.Nodes {
		load := "cd " + filepath.Dir(bin(t, "images/hayloft-images.tar")) + " && " + block(t, "install.md", "ctr ")
		k.run(t, "cluster/hayloft-cluster", "enter", "--dir", k.Dir, node.Name, "--", "bash", "-c", load)
	}
	k.follow(t, "install.md", "kubectl create namespace", "deploy/chart -n hayloft-system", "deploy/chart -n hayloft-system --set image.tag="+imageTag)
}

// notRestarted: no container of Hayloft's has been started twice.
func (k *cluster) notRestarted(t *testing.T) {
	t.Helper()
	pods := &corev1.PodList{}
	require.NoError(t, k.c.List(t.Context(), pods, client.InNamespace(namespace)))
	for _, p := range pods.Items {
		for _, c := range p.Status.ContainerStatuses {
			require.Zero(t, c.RestartCount, "pod %s: %v", p.Name, c.LastTerminationState)
		}
	}
}
