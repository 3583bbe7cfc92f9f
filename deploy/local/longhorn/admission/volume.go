package admission

import (
	"fmt"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

const (
	// Finalizer is Longhorn's, on the objects whose end it has to see.
	Finalizer = "longhorn.io"
	// VolumeLabel names the volume on everything that belongs to one.
	VolumeLabel = "longhornvolume"

	// sizeUnit is what a volume's size is rounded up to: the block of a backup.
	sizeUnit = 2 << 20
	// maxReplicas is Longhorn's limit.
	maxReplicas = 20
)

// Defaults are the values that a volume gets where it has none.
type Defaults struct {
	Image            string
	NumberOfReplicas int
	SnapshotMaxCount int
}

// mutateVolume fills in what Longhorn's mutating webhook fills in.
func mutateVolume(vol *lh.Volume, d Defaults) {
	if vol.DeletionTimestamp == nil {
		controllerutil.AddFinalizer(vol, Finalizer)
	}
	if vol.Labels == nil {
		vol.Labels = map[string]string{}
	}
	vol.Labels[VolumeLabel] = vol.Name
	vol.Labels["setting.longhorn.io/replica-auto-balance"] = "ignored"
	vol.Labels["setting.longhorn.io/snapshot-data-integrity"] = "ignored"

	s := &vol.Spec
	s.Size = (s.Size + sizeUnit - 1) / sizeUnit * sizeUnit
	fill(&s.NumberOfReplicas, d.NumberOfReplicas)
	fill(&s.SnapshotMaxCount, d.SnapshotMaxCount)
	fill(&s.Image, d.Image)
	fill(&s.AccessMode, lh.AccessModeReadWriteOnce)
	fill(&s.DataLocality, lh.DataLocalityDisabled)
	fill(&s.DataEngine, lh.DataEngineTypeV1)
	fill(&s.BackupCompressionMethod, lh.BackupCompressionMethodLz4)
	fill(&s.BackupTargetName, "default")
	fill(&s.ReplicaAutoBalance, lh.ReplicaAutoBalanceIgnored)
	fill(&s.SnapshotDataIntegrity, lh.SnapshotDataIntegrityIgnored)
	fill(&s.RestoreVolumeRecurringJob, lh.RestoreVolumeRecurringJobDefault)
	fill(&s.UnmapMarkSnapChainRemoved, lh.UnmapMarkSnapChainRemovedIgnored)
	fill(&s.ReplicaSoftAntiAffinity, lh.ReplicaSoftAntiAffinityDefault)
	fill(&s.ReplicaZoneSoftAntiAffinity, lh.ReplicaZoneSoftAntiAffinityDefault)
	fill(&s.ReplicaDiskSoftAntiAffinity, lh.ReplicaDiskSoftAntiAffinityDefault)
	fill(&s.FreezeFilesystemForSnapshot, lh.FreezeFilesystemForSnapshotDefault)
	if s.DiskSelector == nil {
		s.DiskSelector = []string{}
	}
	if s.NodeSelector == nil {
		s.NodeSelector = []string{}
	}
	vol.Labels["backup-target"] = s.BackupTargetName
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validateVolume refuses what Longhorn's validating webhook refuses. old is nil for a new volume; image is the backing
// image that a new volume names, nil when there is none of that name.
func validateVolume(old, vol *lh.Volume, image *lh.BackingImage) error {
	s := vol.Spec
	switch {
	case s.NumberOfReplicas < 1 || s.NumberOfReplicas > maxReplicas:
		return fmt.Errorf("number of replicas count must be between 1 to %d", maxReplicas)
	case s.AccessMode != lh.AccessModeReadWriteOnce && s.AccessMode != lh.AccessModeReadWriteMany:
		return fmt.Errorf("invalid access mode: %v", s.AccessMode)
	case s.Migratable && s.AccessMode != lh.AccessModeReadWriteMany:
		return fmt.Errorf("migratable volumes are only supported in ReadWriteMany (rwx) access mode")
	}
	if old == nil {
		return validateNewVolume(vol, image)
	}
	switch {
	case old.Spec.DataEngine != s.DataEngine:
		return fmt.Errorf("changing data engine for volume %v is not supported", vol.Name)
	case old.Spec.BackingImage != s.BackingImage:
		return fmt.Errorf("changing backing image for volume %v is not supported", vol.Name)
	case old.Spec.Size != s.Size:
		return fmt.Errorf("changing the size of volume %v is not offered by this stand-in", vol.Name)
	}
	return nil
}

func validateNewVolume(vol *lh.Volume, image *lh.BackingImage) error {
	s := vol.Spec
	switch {
	case s.Size <= 0:
		return fmt.Errorf("invalid volume size %d", s.Size)
	case s.Frontend != lh.VolumeFrontendBlockDev && s.Frontend != lh.VolumeFrontendISCSI && s.Frontend != lh.VolumeFrontendNvmf:
		return fmt.Errorf("invalid volume frontend specified: %v", s.Frontend)
	case s.FromBackup != "" || s.DataSource != "" || s.Standby:
		return fmt.Errorf("making volume %v from a backup or another volume is not offered by this stand-in", vol.Name)
	case s.BackingImage == "":
		return nil
	case image == nil:
		return fmt.Errorf("backingimage.longhorn.io %q not found", s.BackingImage)
	case image.Spec.DataEngine != s.DataEngine:
		return fmt.Errorf("volume should have the same data engine as the backing image")
	case s.Size < image.Status.VirtualSize:
		return fmt.Errorf("volume size should be larger than the backing image size")
	}
	return nil
}
