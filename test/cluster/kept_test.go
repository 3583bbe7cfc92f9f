package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// keepVar in the environment names the folder of a cluster that goes on running after a test. TestRealLonghorn uses the one
// that it finds there, so that a single scenario can be tried again and again without the minutes before it:
//
//	export HAYLOFT_KEEP=/tmp/kept
//	go test -count 1 -v -run 'TestRealLonghorn/at_once/Longhorn_backs_up_too' ./test/cluster
//	bin/local/hayloft-local down --dir /tmp/kept/storage; bin/cluster/hayloft-cluster down --dir /tmp/kept
const keepVar = "HAYLOFT_KEEP"

// keptCluster is the one that an earlier run has left running, nil where there is none.
func keptCluster(t *testing.T) *cluster {
	t.Helper()
	dir := os.Getenv(keepVar)
	if _, err := os.Stat(filepath.Join(dir, "cluster.json")); dir == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	k := &cluster{isKept: true}
	k.Dir = dir
	require.NoError(t, k.takeUp(t, nil, "", "cluster.json", k))
	k.connect(t)
	require.NoError(t, k.readStorage(t, nil))
	return k
}

// clear removes what scenarios have left. Data stays on the target: it may be behind a gate that is gone.
func (k *cluster) clear(t *testing.T) {
	t.Helper()
	points := &v1alpha1.VMBackupList{}
	require.NoError(t, k.c.List(t.Context(), points, client.InNamespace(vmNamespace)))
	for _, p := range points.Items {
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"true"}}}`, v1alpha1.AnnotationForceDeletion)
		require.NoError(t, k.c.Patch(t.Context(), &p, client.RawPatch("application/merge-patch+json", patch)))
	}
	for _, left := range []struct {
		list client.ObjectList
		in   string
	}{
		{&v1alpha1.VMRestoreList{}, vmNamespace},
		{&v1alpha1.VMBackupList{}, vmNamespace},
		{&kubevirt.VirtualMachineInstanceMigrationList{}, vmNamespace},
		{&kubevirt.VirtualMachineList{}, vmNamespace},
		{&corev1.PersistentVolumeClaimList{}, vmNamespace},
		{&longhorn.VolumeList{}, harness.LonghornNamespace},
		{&longhorn.BackingImageList{}, harness.LonghornNamespace},
	} {
		await(t, upTimeout, fmt.Sprintf("%T to be empty", left.list), func() error {
			if err := k.c.List(t.Context(), left.list, client.InNamespace(left.in)); err != nil {
				return err
			}
			if n := meta.LenList(left.list); n > 0 {
				return errors.Join(fmt.Errorf("%d are left", n), meta.EachListItem(left.list, func(o runtime.Object) error {
					return client.IgnoreNotFound(k.c.Delete(t.Context(), o.(client.Object)))
				}))
			}
			return nil
		})
	}
}

// put makes an object, or what has its name into it.
func (k *cluster) put(t *testing.T, o client.Object) error {
	err := k.c.Create(t.Context(), o)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	old := o.DeepCopyObject().(client.Object)
	if err := k.c.Get(t.Context(), client.ObjectKeyFromObject(o), old); err != nil {
		return err
	}
	o.SetResourceVersion(old.GetResourceVersion())
	return k.c.Update(t.Context(), o)
}
