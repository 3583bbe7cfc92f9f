package longhorn_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/disk"
	"hayloft.dev/deploy/local/longhorn"
)

// class makes a storage class and returns its name.
func (s *stack) class(t *testing.T, policy corev1.PersistentVolumeReclaimPolicy, parameters map[string]string) string {
	t.Helper()
	class := &storagev1.StorageClass{
		ObjectMeta:    metav1.ObjectMeta{Name: name(t)},
		Provisioner:   "driver.longhorn.io",
		Parameters:    parameters,
		ReclaimPolicy: &policy,
	}
	require.NoError(t, s.Create(t.Context(), class))
	return class.Name
}

// claim makes a PVC of a class and waits until it is bound.
func (s *stack) claim(t *testing.T, class string, mode corev1.PersistentVolumeAccessMode) *corev1.PersistentVolumeClaim {
	t.Helper()
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name(t)},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{mode},
			VolumeMode:       new(corev1.PersistentVolumeBlock),
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("65Mi")}},
		},
	}
	require.NoError(t, s.Create(t.Context(), claim))
	require.NoError(t, poll(t.Context(), func() bool {
		return s.Get(t.Context(), client.ObjectKeyFromObject(claim), claim) == nil && claim.Status.Phase == corev1.ClaimBound
	}), "claim %+v", claim.Status)
	return claim
}

func (s *stack) waitNotFound(t *testing.T, object client.Object) {
	t.Helper()
	require.NoError(t, poll(t.Context(), func() bool {
		return apierrors.IsNotFound(s.Get(t.Context(), client.ObjectKeyFromObject(object), object))
	}), "%T %s is still there", object, object.GetName())
}

func TestClaimGetsVolumeAndBothGo(t *testing.T) {
	s := theStack(t)
	class := s.class(t, corev1.PersistentVolumeReclaimDelete, map[string]string{"numberOfReplicas": "1", "migratable": "true"})
	claim := s.claim(t, class, corev1.ReadWriteMany)
	vol := s.waitVolume(t, "pvc-"+string(claim.UID), "there", func(v *lh.Volume) bool { return v.Status.KubernetesStatus.PVCName != "" })
	require.EqualValues(t, 66*mib, vol.Spec.Size)
	require.Equal(t, 1, vol.Spec.NumberOfReplicas)
	require.True(t, vol.Spec.Migratable)

	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: claim.Spec.VolumeName}}
	require.NoError(t, s.Get(t.Context(), client.ObjectKeyFromObject(pv), pv))
	require.Equal(t, vol.Name, pv.Spec.CSI.VolumeHandle)
	require.Equal(t, claim.UID, pv.Spec.ClaimRef.UID)
	require.Equal(t, corev1.PersistentVolumeBlock, *pv.Spec.VolumeMode)
	require.Equal(t, corev1.PersistentVolumeReclaimDelete, pv.Spec.PersistentVolumeReclaimPolicy)

	require.NoError(t, s.Delete(t.Context(), claim))
	s.waitNotFound(t, vol)
	s.waitNotFound(t, pv)
	s.waitNotFound(t, claim)
}

func TestMigratableIsOnlyForSharedClaims(t *testing.T) {
	s := theStack(t)
	class := s.class(t, corev1.PersistentVolumeReclaimDelete, map[string]string{"migratable": "true"})
	claim := s.claim(t, class, corev1.ReadWriteOnce)
	vol := s.waitVolume(t, "pvc-"+string(claim.UID), "there", func(*lh.Volume) bool { return true })
	require.False(t, vol.Spec.Migratable)
	require.Equal(t, lh.AccessModeReadWriteOnce, vol.Spec.AccessMode)
	// A deleted volume takes its PV and PVC with it.
	s.deleteVolume(t, vol.Name)
	s.waitNotFound(t, claim)
	s.waitNotFound(t, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: vol.Name}})
}

func TestRetainedAndForeignVolumesStay(t *testing.T) {
	s := theStack(t)
	retain := s.claim(t, s.class(t, corev1.PersistentVolumeReclaimRetain, nil), corev1.ReadWriteOnce)
	kept := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: retain.Spec.VolumeName}}

	// A PV that somebody made by hand for a volume that was there before.
	vol := s.volume(t, nil)
	static := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: vol.Name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("64Mi")},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			StorageClassName:              "by-hand",
			VolumeMode:                    new(corev1.PersistentVolumeBlock),
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "driver.longhorn.io", VolumeHandle: vol.Name}},
		},
	}
	require.NoError(t, s.Create(t.Context(), static))
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: vol.Name},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: new("by-hand"), VolumeName: static.Name, VolumeMode: new(corev1.PersistentVolumeBlock),
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("64Mi")}},
		},
	}
	require.NoError(t, s.Create(t.Context(), claim))
	phase := func(pv *corev1.PersistentVolume, want corev1.PersistentVolumePhase) {
		t.Helper()
		require.NoError(t, poll(t.Context(), func() bool {
			return s.Get(t.Context(), client.ObjectKeyFromObject(pv), pv) == nil && pv.Status.Phase == want
		}), "PV %s is %s, not %s", pv.Name, pv.Status.Phase, want)
	}
	phase(static, corev1.VolumeBound)
	for _, c := range []*corev1.PersistentVolumeClaim{retain, claim} {
		require.NoError(t, s.Delete(t.Context(), c))
	}
	phase(kept, corev1.VolumeReleased)
	require.NoError(t, poll(t.Context(), func() bool { // the PV controller finds no deleter and says so
		return s.Get(t.Context(), client.ObjectKeyFromObject(static), static) == nil && static.Status.Phase != corev1.VolumeBound
	}))
	for _, name := range []string{vol.Name, kept.Spec.CSI.VolumeHandle} {
		there := s.waitVolume(t, name, "noted as history", func(v *lh.Volume) bool {
			return v.Status.KubernetesStatus.PVStatus != string(corev1.VolumeBound)
		})
		require.Nil(t, there.DeletionTimestamp)
	}
	s.deleteVolume(t, kept.Spec.CSI.VolumeHandle)
}

func TestBackingImage(t *testing.T) {
	s := theStack(t)
	content := bytes.Repeat([]byte("hay "), 8*mib/4)
	sum := sha512.Sum512(content)
	file := filepath.Join(t.TempDir(), "image.raw")
	image := &lh.BackingImage{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(t)},
		Spec: lh.BackingImageSpec{
			SourceType:       lh.BackingImageDataSourceTypeUpload,
			SourceParameters: map[string]string{longhorn.FileParameter: file},
			DataEngine:       lh.DataEngineTypeV1,
		},
	}
	require.NoError(t, s.Create(t.Context(), image))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		require.NoError(t, client.IgnoreNotFound(s.Delete(ctx, image)))
		waitGone(ctx, t, filepath.Join(s.dir, "*", "backing-images", image.Name+"*"))
	})

	// A volume waits for an image whose file is not there yet.
	vol := s.volume(t, func(v *lh.Volume) { v.Spec.BackingImage = image.Name })
	s.ticket(t, vol.Name, "csi", "node-1", lh.AttacherTypeCSIAttacher, "-")
	s.waitVolume(t, vol.Name, "waiting for its image", func(v *lh.Volume) bool {
		return waitsForImage(v) == lh.ConditionStatusTrue
	})
	require.NoError(t, os.WriteFile(file, content, 0o600))
	s.waitSatisfied(t, vol.Name, "csi")
	require.NoError(t, s.Get(t.Context(), client.ObjectKeyFromObject(image), image))
	require.Equal(t, hex.EncodeToString(sum[:]), image.Status.Checksum)
	require.EqualValues(t, len(content), image.Status.Size)
	require.Len(t, image.Status.DiskFileStatusMap, 3)
	for _, status := range image.Status.DiskFileStatusMap {
		require.Equal(t, lh.BackingImageStateReady, status.State)
	}
	require.Equal(t, lh.ConditionStatusFalse, waitsForImage(s.waitVolume(t, vol.Name, "there", func(*lh.Volume) bool { return true })))

	device, err := disk.Open(t.Context(), vol.Name, vol.Spec.Size)
	require.NoError(t, err)
	defer device.Close()
	got := make([]byte, 4096)
	_, err = device.ReadAt(got, 2*mib)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(got), "hay hay"), "the disk begins as its image")

	small := &lh.Volume{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(t)},
		Spec:       lh.VolumeSpec{Size: 4 * mib, Frontend: lh.VolumeFrontendBlockDev, BackingImage: image.Name},
	}
	require.ErrorContains(t, s.Create(t.Context(), small), "larger than the backing image")
}

func TestBackingImageWithAnotherChecksumFails(t *testing.T) {
	s := theStack(t)
	file := filepath.Join(t.TempDir(), "image.raw")
	require.NoError(t, os.WriteFile(file, []byte("hay"), 0o600))
	image := &lh.BackingImage{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(t)},
		Spec: lh.BackingImageSpec{
			SourceType:       lh.BackingImageDataSourceTypeUpload,
			SourceParameters: map[string]string{longhorn.FileParameter: file},
			Checksum:         fmt.Sprintf("%x", sha512.Sum512([]byte("straw"))),
			DataEngine:       lh.DataEngineTypeV1,
		},
	}
	require.NoError(t, s.Create(t.Context(), image))
	t.Cleanup(func() { require.NoError(t, s.Delete(context.WithoutCancel(t.Context()), image)) })
	require.NoError(t, poll(t.Context(), func() bool {
		if s.Get(t.Context(), client.ObjectKeyFromObject(image), image) != nil {
			return false
		}
		for _, status := range image.Status.DiskFileStatusMap {
			return status.State == lh.BackingImageStateFailed && strings.Contains(status.Message, "checksum")
		}
		return false
	}))
}

func waitsForImage(v *lh.Volume) lh.ConditionStatus {
	for _, c := range v.Status.Conditions {
		if c.Type == lh.VolumeConditionTypeWaitForBackingImage {
			return c.Status
		}
	}
	return ""
}
