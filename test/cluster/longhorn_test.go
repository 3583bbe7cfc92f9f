package cluster

import (
	"fmt"
	"path/filepath"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// installLonghorn installs the real longhorn-manager.
func (k *cluster) installLonghorn(t *testing.T) {
	t.Helper()
	folder := filepath.Join(harness.Root(t), "deploy", "longhorn")
	for _, node := range k.Nodes {
		k.run(t, "cluster/hayloft-cluster", "enter", "--dir", k.Dir, node.Name, "--", "mount", "--bind", filepath.Join(folder, "node"), "/usr/local/sbin")
	}
	k.run(t, "local/kubectl", "apply", "-f", filepath.Join(folder, "longhorn.yaml"))
}

// awaitLonghorn waits until volumes can be attached on every node. A manager looks at its disks for the first time half a
// minute after its start.
func (k *cluster) awaitLonghorn(t *testing.T) {
	t.Helper()
	await(t, upTimeout, "Longhorn", func() error { return k.longhornMissing(t) })
}

// longhornMissing says what Longhorn still lacks.
func (k *cluster) longhornMissing(t *testing.T) error {
	t.Helper()
	nodes, images, managers := &longhorn.NodeList{}, &longhorn.EngineImageList{}, &longhorn.InstanceManagerList{}
	for _, list := range []client.ObjectList{nodes, images, managers} {
		if err := k.c.List(t.Context(), list, client.InNamespace(harness.LonghornNamespace)); err != nil {
			return err
		}
	}
	ready := map[string]int{}
	for _, node := range nodes.Items {
		for _, c := range node.Status.Conditions {
			if c.Type == longhorn.NodeConditionTypeReady && c.Status == longhorn.ConditionStatusTrue {
				ready["nodes"]++
			}
		}
		for _, disk := range node.Status.DiskStatus {
			for _, c := range disk.Conditions {
				if c.Type == longhorn.DiskConditionTypeSchedulable && c.Status == longhorn.ConditionStatusTrue {
					ready["disks"]++
				}
			}
		}
	}
	for _, m := range managers.Items {
		if m.Status.CurrentState == longhorn.InstanceManagerStateRunning {
			ready["instance managers"]++
		}
	}
	for _, what := range []string{"nodes", "disks", "instance managers"} {
		if ready[what] != len(k.Nodes) {
			return fmt.Errorf("%d %s are ready", ready[what], what)
		}
	}
	for _, image := range images.Items {
		if image.Status.State != longhorn.EngineImageStateDeployed {
			return fmt.Errorf("engine image %s is %s", image.Spec.Image, image.Status.State)
		}
	}
	return nil
}

// longhornReads has Longhorn look at Hayloft's target, by an endpoint of its own.
func (k *cluster) longhornReads(t *testing.T, endpoint string) {
	t.Helper()
	s3 := k.storage.S3
	require.NoError(t, k.put(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: harness.LonghornNamespace, Name: secretName},
		StringData: map[string]string{"AWS_ACCESS_KEY_ID": s3.AccessKey, "AWS_SECRET_ACCESS_KEY": s3.SecretKey, "AWS_ENDPOINTS": endpoint},
	}))
	ours := &v1alpha1.BackupTarget{}
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKey{Name: target}, ours))
	await(t, patience, "Longhorn to be told of the target", func() error {
		theirs := k.longhornTarget(t)
		theirs.Spec.BackupTargetURL, theirs.Spec.CredentialSecret = ours.Status.URL, secretName
		theirs.Spec.SyncRequestedAt = metav1.Now()
		return k.c.Update(t.Context(), theirs) // it writes there too
	})
	await(t, patience, "Longhorn to reach the target", func() error {
		if theirs := k.longhornTarget(t); !theirs.Status.Available {
			return fmt.Errorf("it does not: %v", theirs.Status.Conditions)
		}
		return nil
	})
}

func (k *cluster) longhornTarget(t *testing.T) *longhorn.BackupTarget {
	t.Helper()
	theirs := &longhorn.BackupTarget{}
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKey{Namespace: harness.LonghornNamespace, Name: "default"}, theirs))
	return theirs
}

// longhornLooks has Longhorn list the target anew.
func (k *cluster) longhornLooks(t *testing.T) {
	t.Helper()
	await(t, patience, "Longhorn to be asked to look", func() error {
		theirs := k.longhornTarget(t)
		theirs.Spec.SyncRequestedAt = metav1.Now()
		return k.c.Update(t.Context(), theirs) // it writes there too
	})
}
