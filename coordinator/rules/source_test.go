package rules

import (
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
)

func gone() *metav1.Time { t := metav1.NewTime(time.Unix(1, 0)); return &t }

func TestResolve(t *testing.T) {
	class, block := "fast", corev1.PersistentVolumeBlock
	for name, c := range map[string]struct {
		change        func(*Storage)
		refused, wait string
		image         *v1alpha1.BackingImage
	}{
		"good":                {change: func(*Storage) {}},
		"no claim":            {change: func(s *Storage) { delete(s.Claims, "c") }, refused: "PersistentVolumeClaim c does not exist"},
		"claim being deleted": {change: func(s *Storage) { s.Claims["c"].DeletionTimestamp = gone() }, refused: "is being deleted"},
		"claim not bound":     {change: func(s *Storage) { s.Claims["c"].Spec.VolumeName = "" }, refused: "is not bound to a volume"},
		"claim lost":          {change: func(s *Storage) { s.Claims["c"].Status.Phase = corev1.ClaimLost }, refused: "is not bound"},
		"no PersistentVolume": {change: func(s *Storage) { delete(s.Volumes, "pv") }, refused: "PersistentVolume pv of claim c does not exist"},
		"another CSI driver":  {change: func(s *Storage) { s.Volumes["pv"].Spec.CSI.Driver = "ebs.csi.aws.com" }, refused: "disk root (claim c) is on CSI driver ebs.csi.aws.com, not on Longhorn"},
		"NFS": {
			change: func(s *Storage) {
				s.Volumes["pv"].Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}
			},
			refused: "is on NFS, not on Longhorn",
		},
		"local disk": {
			change: func(s *Storage) {
				s.Volumes["pv"].Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{}}
			},
			refused: "is on a disk of one node",
		},
		"no Longhorn volume":   {change: func(s *Storage) { delete(s.Longhorn, "v") }, refused: "Longhorn volume v of claim c does not exist"},
		"volume being deleted": {change: func(s *Storage) { s.Longhorn["v"].DeletionTimestamp = gone() }, refused: "v is being deleted"},
		"data engine v2":       {change: func(s *Storage) { s.Longhorn["v"].Spec.DataEngine = longhorn.DataEngineTypeV2 }, refused: "spec.dataEngine v2"},
		"encrypted":            {change: func(s *Storage) { s.Longhorn["v"].Spec.Encrypted = true }, refused: "is encrypted (spec.encrypted)"},
		"faulted":              {change: func(s *Storage) { s.Longhorn["v"].Status.Robustness = longhorn.VolumeRobustnessFaulted }, refused: "is faulted"},
		"backing image": {
			change: func(s *Storage) { s.Longhorn["v"].Spec.BackingImage = "img" }, image: &v1alpha1.BackingImage{Name: "img", Checksum: "sha"},
		},
		"no backing image": {change: func(s *Storage) { s.Longhorn["v"].Spec.BackingImage = "gone" }, refused: "backing image gone of volume v does not exist or has no checksum"},
		"backing image without checksum": {
			change: func(s *Storage) { s.Longhorn["v"].Spec.BackingImage = "img"; s.Images["img"].Status.Checksum = "" }, refused: "has no checksum",
		},
		"migrating": {change: func(s *Storage) { s.Longhorn["v"].Status.CurrentMigrationNodeID = "n2" }, wait: "being live-migrated"},
	} {
		t.Run(name, func(t *testing.T) {
			s := Storage{
				Claims: map[string]*corev1.PersistentVolumeClaim{"c": {Spec: corev1.PersistentVolumeClaimSpec{
					VolumeName: "pv", StorageClassName: &class, VolumeMode: &block, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
				}}},
				Volumes: map[string]*corev1.PersistentVolume{"pv": {Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
					CSI: &corev1.CSIPersistentVolumeSource{Driver: Driver, VolumeHandle: "v"},
				}}}},
				Longhorn: map[string]*longhorn.Volume{"v": {ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: longhorn.VolumeSpec{
					Size: 5, NumberOfReplicas: 2, Migratable: true, AccessMode: longhorn.AccessModeReadWriteMany,
				}}},
				Images: map[string]*longhorn.BackingImage{"img": {Status: longhorn.BackingImageStatus{Checksum: "sha"}}},
			}
			c.change(&s)
			got := Resolve("uid", vmspec.Contents{Disks: []vmspec.Disk{{Name: "root", Claim: "c"}}}, nil, s)
			if c.refused == "" {
				require.Empty(t, got.Refusals)
				require.Equal(t, []SourceDisk{{Name: "root", Claim: "c", Volume: "v", SizeBytes: 5, BackingImage: c.image, Shape: v1alpha1.DiskShape{
					NumberOfReplicas: 2, VolumeAccessMode: "rwx", Migratable: true,
					StorageClass: class, VolumeMode: block, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
				}}}, got.Disks)
			} else {
				require.Len(t, got.Refusals, 1)
				require.Contains(t, got.Refusals[0], c.refused)
				require.Contains(t, got.Refusals[0], "disk root")
			}
			require.Contains(t, got.Wait, c.wait)
			require.Equal(t, c.wait == "", got.Wait == "")
		})
	}
}

func TestResolveTellsEveryRefusal(t *testing.T) {
	got := Resolve("uid", vmspec.Contents{Disks: []vmspec.Disk{{Name: "a", Claim: "x"}, {Name: "b", Claim: "y"}}},
		[]vmspec.Refusal{{Disk: "c", Sentence: "disk c is shareable"}}, Storage{})
	require.Len(t, got.Refusals, 3)
}
