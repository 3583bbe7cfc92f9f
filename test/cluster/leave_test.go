package cluster

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// released are lists of the kinds that the chart makes, besides definitions.
func released() []client.ObjectList {
	return []client.ObjectList{
		&appsv1.DeploymentList{}, &appsv1.DaemonSetList{}, &policyv1.PodDisruptionBudgetList{}, &networkingv1.NetworkPolicyList{},
		&corev1.ServiceList{}, &corev1.ServiceAccountList{}, &corev1.ConfigMapList{}, &corev1.PodList{},
		&rbacv1.ClusterRoleList{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleList{}, &rbacv1.RoleBindingList{},
		&admissionv1.ValidatingWebhookConfigurationList{}, &admissionv1.ValidatingAdmissionPolicyList{}, &admissionv1.ValidatingAdmissionPolicyBindingList{},
	}
}

// left are the objects of the release in the cluster.
func (k *cluster) left(t *testing.T) (all []string) {
	t.Helper()
	for _, list := range released() {
		require.NoError(t, k.c.List(t.Context(), list, client.MatchingLabels{"app.kubernetes.io/name": "hayloft"}))
		require.NoError(t, meta.EachListItem(list, func(o runtime.Object) error {
			all = append(all, fmt.Sprintf("%T %s", o, o.(client.Object).GetName()))
			return nil
		}))
	}
	return all
}

// uninstalls leaves nothing of the release but the definitions and with them the user's points, which restore once
// Hayloft is back: by kubectl, and then taken over by Helm.
func (k *cluster) uninstalls(t *testing.T, points map[string]map[string]string) {
	require.Greater(t, len(k.left(t)), len(released()), "what is looked for is there before")
	said := k.follow(t, "install.md", "hayloft uninstall", "hayloft -n hayloft-system", "hayloft -n hayloft-system --wait --timeout 3m")
	require.Contains(t, said, "this would remove")
	await(t, patience, "the release to go", func() error {
		if left := k.left(t); len(left) > 0 {
			return fmt.Errorf("%s", strings.Join(left, ", "))
		}
		return nil
	})
	for point := range points {
		require.Equal(t, v1alpha1.BackupReady, k.point(t, point).Status.Phase)
	}
	k.follow(t, "install.md", "make manifests", "make manifests ", "make manifests VALUES="+k.values(t, imageTag)+" ")
	k.awaitReady(t)
	k.follow(t, "install.md", "helm install", "--take-ownership", "--take-ownership --set image.tag="+imageTag)
	k.awaitReady(t)
	k.requireAllRestore(t, points)
}

// uproots removes the points' objects and the definitions too; their data stays on the target.
func (k *cluster) uproots(t *testing.T, points map[string]map[string]string) {
	before := k.documents(t)
	require.GreaterOrEqual(t, before, len(points))
	k.run(t, "hayloft", "uninstall", "--yes")
	k.run(t, "cluster/helm", "uninstall", "hayloft", "-n", namespace, "--wait", "--timeout", "3m")
	require.Error(t, k.c.List(t.Context(), &v1alpha1.VMBackupList{}), "the definitions are gone")
	require.Equal(t, before, k.documents(t))
}

// documents counts those of points in the bucket.
func (k *cluster) documents(t *testing.T) (n int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(filepath.Join(k.storage.Dir, "s3", "data"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.Contains(path, "/hayloft/points/") {
			n++
		}
		return err
	}))
	return n
}
