package document

import (
	"fmt"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"hayloft.dev/pkg/names"
)

const (
	// maxDisks is the CRD's limit of a VMBackup's disks.
	maxDisks = 256
	// maxReplicas is far above Longhorn's own limit of 20.
	maxReplicas = 100
	// maxSize is far above what a Longhorn volume can hold: 1 PiB.
	maxSize = 1 << 50
)

// engineName is a name on Longhorn's engines and targets, where it becomes
// part of a path: a letter or digit first and no separator.
var engineName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,219}$`)

// hexDigits is a checksum; Longhorn's are sha512.
var hexDigits = regexp.MustCompile(`^[0-9a-f]{1,128}$`)

// CheckEngineName refuses what is not a name of a volume, snapshot or backup.
func CheckEngineName(kind, name string) error {
	if !engineName.MatchString(name) {
		return fmt.Errorf("%s is not a name of a %s", shown(name), kind)
	}
	return nil
}

// checkDisks checks the disks alone and against each other and the claims.
func (d *Document) checkDisks() error {
	if len(d.Disks) == 0 || len(d.Disks) > maxDisks {
		return fmt.Errorf("it has %d disks; 1 to %d are allowed", len(d.Disks), maxDisks)
	}
	claims := map[string]bool{}
	for _, c := range d.Claims {
		claims[c.Name] = true
	}
	names, used, volumes := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range d.Disks {
		disk := &d.Disks[i]
		if err := disk.Check(); err != nil {
			return err
		}
		if (disk.Backup == "") != (d.Disks[0].Backup == "") {
			return fmt.Errorf("its disks %s and %s are not both backups or both snapshots", d.Disks[0].Name, disk.Name)
		}
		if names[disk.Name] || used[disk.Claim] || volumes[disk.Volume] {
			return fmt.Errorf("its disk %s is there twice, by name, claim or volume", disk.Name)
		}
		names[disk.Name], used[disk.Claim], volumes[disk.Volume] = true, true, true
		if !claims[disk.Claim] {
			return fmt.Errorf("its disk %s is on claim %s, which it does not hold", disk.Name, disk.Claim)
		}
	}
	return nil
}

// Check refuses a disk whose fields are not what they are meant to be.
func (d *Disk) Check() error {
	if len(validation.IsDNS1123Label(d.Name)) > 0 {
		return fmt.Errorf("%s is not a name of a disk", shown(d.Name))
	}
	engine := [][2]string{{"volume", d.Volume}, {"snapshot", d.Snapshot}}
	if d.Backup != "" {
		engine = append(engine, [2]string{"backup", d.Backup})
	}
	for _, n := range engine {
		if err := CheckEngineName(n[0], n[1]); err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
	}
	if err := dnsName("claim", d.Claim); err != nil {
		return fmt.Errorf("disk %s: %w", d.Name, err)
	}
	if d.SizeBytes <= 0 || d.SizeBytes > maxSize {
		return fmt.Errorf("disk %s: its size is %d bytes", d.Name, d.SizeBytes)
	}
	if d.StorageClass != "" {
		if err := dnsName("storage class", d.StorageClass); err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
	}
	if b := d.BackingImage; b != nil {
		if err := checkImage(b); err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
	}
	if d.NumberOfReplicas < 0 || d.NumberOfReplicas > maxReplicas {
		return fmt.Errorf("disk %s: it has %d replicas", d.Name, d.NumberOfReplicas)
	}
	if err := checkMode(d.VolumeMode); err != nil {
		return fmt.Errorf("disk %s: %w", d.Name, err)
	}
	if err := checkModes(d.AccessModes); err != nil {
		return fmt.Errorf("disk %s: %w", d.Name, err)
	}
	switch d.VolumeAccessMode {
	case "", "rwo", "rwop", "rwx":
	default:
		return fmt.Errorf("disk %s: %s is not an access mode of Longhorn", d.Name, shown(d.VolumeAccessMode))
	}
	return nil
}

func checkMode(m corev1.PersistentVolumeMode) error {
	switch m {
	case "", corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem:
		return nil
	}
	return fmt.Errorf("%s is not a volume mode", shown(m))
}

func checkModes(modes []corev1.PersistentVolumeAccessMode) error {
	for _, m := range modes {
		switch m {
		case corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOncePod:
		default:
			return fmt.Errorf("%s is not an access mode", shown(m))
		}
	}
	return nil
}

// checkOwn refuses backups and snapshots of another point's: whoever may write a
// document could else name those of others, to have them restored where he may read
// them, or deleted.
func (d *Document) checkOwn() error {
	for _, disk := range d.Disks {
		if of, ok := names.SnapshotPoint(disk.Snapshot); !ok || of != d.Point.UID {
			return fmt.Errorf("its disk %s: snapshot %s was not cut for this point", disk.Name, shown(disk.Snapshot))
		}
		if of, ok := names.BackupPoint(disk.Backup); disk.Backup != "" && (!ok || of != d.Point.UID) {
			return fmt.Errorf("its disk %s: backup %s was not made for this point", disk.Name, shown(disk.Backup))
		}
	}
	return nil
}
