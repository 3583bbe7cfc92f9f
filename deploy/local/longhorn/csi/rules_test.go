package csi

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestShouldProvision(t *testing.T) {
	asked := map[string]string{storageProvisioner: Driver}
	ours := &storagev1.StorageClass{Provisioner: Driver}
	late := &storagev1.StorageClass{Provisioner: Driver, VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer)}
	for name, test := range map[string]struct {
		annotations map[string]string
		bound       string
		class       *storagev1.StorageClass
		want        bool
	}{
		"asked":                 {asked, "", ours, true},
		"asked in the old way":  {map[string]string{provisionerBeta: Driver}, "", ours, true},
		"not asked yet":         {nil, "", ours, false},
		"another driver":        {asked, "", &storagev1.StorageClass{Provisioner: "other"}, false},
		"bound":                 {asked, "pv", ours, false},
		"waits for a consumer":  {asked, "", late, false},
		"waited for a consumer": {map[string]string{storageProvisioner: Driver, selectedNode: "a"}, "", late, true},
	} {
		t.Run(name, func(t *testing.T) {
			claim := &corev1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Annotations: test.annotations},
				Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: test.bound},
			}
			require.Equal(t, test.want, shouldProvision(claim, test.class))
		})
	}
}

func TestShouldDelete(t *testing.T) {
	now := metav1.Now()
	for name, test := range map[string]struct {
		change func(*corev1.PersistentVolume)
		want   bool
	}{
		"released": {func(*corev1.PersistentVolume) {}, true},
		"bound":    {func(p *corev1.PersistentVolume) { p.Status.Phase = corev1.VolumeBound }, false},
		"failed":   {func(p *corev1.PersistentVolume) { p.Status.Phase = corev1.VolumeFailed }, false},
		"retained": {func(p *corev1.PersistentVolume) {
			p.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		}, false},
		"made by hand":                    {func(p *corev1.PersistentVolume) { p.Annotations = nil }, false},
		"made by another":                 {func(p *corev1.PersistentVolume) { p.Annotations[provisionedBy] = "other" }, false},
		"being deleted":                   {func(p *corev1.PersistentVolume) { p.DeletionTimestamp = &now }, true},
		"being deleted without finalizer": {func(p *corev1.PersistentVolume) { p.DeletionTimestamp, p.Finalizers = &now, nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			pv := &corev1.PersistentVolume{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{provisionedBy: Driver}, Finalizers: []string{Finalizer}},
				Spec:       corev1.PersistentVolumeSpec{PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete},
				Status:     corev1.PersistentVolumeStatus{Phase: corev1.VolumeReleased},
			}
			test.change(pv)
			require.Equal(t, test.want, shouldDelete(pv))
		})
	}
}
