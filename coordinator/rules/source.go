package rules

import (
	"fmt"
	"slices"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Driver is Longhorn's CSI driver.
const Driver = "driver.longhorn.io"

// Source is what was found of a VM that is to be backed up.
type Source struct {
	VMUID types.UID
	Disks []SourceDisk
	// Refusals are reasons not to back this VM up, each a sentence.
	Refusals []string
	// Wait is something that will pass, such as a live migration.
	Wait string
	// Warnings are sentences about what a backup will not hold.
	Warnings []string
}

// SourceDisk is one disk of a VM and the Longhorn volume under it.
type SourceDisk struct {
	Name, Claim, Volume string
	SizeBytes           int64
	BackingImage        *v1alpha1.BackingImage
	Shape               v1alpha1.DiskShape
}

// Storage is what the cluster says about a VM's claims. Missing entries mean
// that the object does not exist.
type Storage struct {
	Claims  map[string]*corev1.PersistentVolumeClaim // claim -> object
	Volumes map[string]*corev1.PersistentVolume      // PersistentVolume -> object
	// Longhorn maps a Longhorn volume -> object.
	Longhorn map[string]*longhorn.Volume
	Images   map[string]*longhorn.BackingImage // image -> object
	// Displayed maps an image -> the display name of Harvester's VirtualMachineImage,
	// where there is one.
	Displayed map[string]string
}

// Resolve follows each disk from its claim to its Longhorn volume and refuses
// what could not be restored. Every disk is looked at, so that a person learns
// of all reasons at once.
func Resolve(vmUID types.UID, contents vmspec.Contents, refusals []vmspec.Refusal, s Storage) Source {
	out := Source{VMUID: vmUID, Warnings: contents.Warnings}
	for _, r := range refusals {
		out.Refusals = append(out.Refusals, r.Sentence)
	}
	for _, d := range contents.Disks {
		disk, wait, refusal := resolveDisk(d, s)
		switch {
		case refusal != "":
			out.Refusals = append(out.Refusals, refusal)
		case wait != "":
			out.Wait = wait
		}
		out.Disks = append(out.Disks, disk)
	}
	return out
}

func resolveDisk(d vmspec.Disk, s Storage) (disk SourceDisk, wait, refusal string) {
	disk = SourceDisk{Name: d.Name, Claim: d.Claim}
	claim := s.Claims[d.Claim]
	if claim == nil {
		return disk, "", fmt.Sprintf("disk %s: PersistentVolumeClaim %s does not exist: make it, or remove the disk from the VM", d.Name, d.Claim)
	}
	if !claim.DeletionTimestamp.IsZero() {
		return disk, "", fmt.Sprintf("disk %s: PersistentVolumeClaim %s is being deleted: remove the disk from the VM, or put it on another claim", d.Name, d.Claim)
	}
	if claim.Spec.VolumeName == "" || claim.Status.Phase == corev1.ClaimLost {
		return disk, "", fmt.Sprintf("disk %s: PersistentVolumeClaim %s is not bound to a volume: wait until it is Bound", d.Name, d.Claim)
	}
	pv := s.Volumes[claim.Spec.VolumeName]
	if pv == nil {
		return disk, "", fmt.Sprintf("disk %s: PersistentVolume %s of claim %s does not exist: remove the disk from the VM, or put it on another claim", d.Name, claim.Spec.VolumeName, d.Claim)
	}
	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != Driver {
		return disk, "", fmt.Sprintf("disk %s (claim %s) is on %s, not on Longhorn: move it to a Longhorn volume, or remove it from the VM; nothing was backed up", d.Name, d.Claim, storageOf(pv))
	}
	disk.Volume = pv.Spec.CSI.VolumeHandle
	vol := s.Longhorn[disk.Volume]
	if vol == nil {
		return disk, "", fmt.Sprintf("disk %s: Longhorn volume %s of claim %s does not exist: remove the disk from the VM, or put it on another claim", d.Name, disk.Volume, d.Claim)
	}
	disk.SizeBytes, disk.Shape = vol.Spec.Size, shape(claim, vol)
	if refusal = refuseVolume(d, vol); refusal != "" {
		return disk, "", refusal
	}
	if name := vol.Spec.BackingImage; name != "" {
		image := s.Images[name]
		if image == nil || image.Status.Checksum == "" {
			return disk, "", fmt.Sprintf("disk %s: backing image %s of volume %s does not exist or has no checksum yet; a backup holds only the difference to it, so it could never be restored safely: import the image, or wait until its checksum is known", d.Name, name, disk.Volume)
		}
		disk.BackingImage = &v1alpha1.BackingImage{Name: name, Checksum: image.Status.Checksum, Source: ImageSource(image, s.Displayed[name])}
	}
	if vol.Spec.MigrationNodeID != "" || vol.Status.CurrentMigrationNodeID != "" {
		wait = fmt.Sprintf("volume %s of disk %s is being live-migrated", disk.Volume, d.Name)
	}
	return disk, wait, ""
}

// shape is what a new volume and claim for a disk would have to be like.
func shape(claim *corev1.PersistentVolumeClaim, vol *longhorn.Volume) v1alpha1.DiskShape {
	out := v1alpha1.DiskShape{
		NumberOfReplicas: vol.Spec.NumberOfReplicas, Migratable: vol.Spec.Migratable,
		VolumeAccessMode: string(vol.Spec.AccessMode), AccessModes: slices.Clone(claim.Spec.AccessModes),
	}
	if claim.Spec.StorageClassName != nil {
		out.StorageClass = *claim.Spec.StorageClassName
	}
	if claim.Spec.VolumeMode != nil {
		out.VolumeMode = *claim.Spec.VolumeMode
	}
	return out
}

func refuseVolume(d vmspec.Disk, vol *longhorn.Volume) string {
	switch {
	case !vol.DeletionTimestamp.IsZero():
		return fmt.Sprintf("disk %s: Longhorn volume %s is being deleted: remove the disk from the VM, or put it on another claim", d.Name, vol.Name)
	case vol.Spec.DataEngine == longhorn.DataEngineTypeV2:
		return fmt.Sprintf("disk %s: Longhorn volume %s has spec.dataEngine v2, of which Hayloft can back up nothing: move the disk to a volume with data engine v1", d.Name, vol.Name)
	case vol.Spec.Encrypted:
		return fmt.Sprintf("disk %s: Longhorn volume %s is encrypted (spec.encrypted): its LUKS key would not be in the backup, so it could not be opened after a restore; encrypted disks cannot be backed up yet, so back up its data inside the guest", d.Name, vol.Name)
	case vol.Status.Robustness == longhorn.VolumeRobustnessFaulted:
		return fmt.Sprintf("disk %s: Longhorn volume %s is faulted, no replica of it can be read: repair or salvage it in Longhorn first", d.Name, vol.Name)
	}
	return ""
}

// storageOf names other storage for a person.
func storageOf(pv *corev1.PersistentVolume) string {
	switch {
	case pv.Spec.CSI != nil:
		return "CSI driver " + pv.Spec.CSI.Driver
	case pv.Spec.NFS != nil:
		return "NFS"
	case pv.Spec.Local != nil || pv.Spec.HostPath != nil:
		return "a disk of one node"
	}
	return "other storage"
}
