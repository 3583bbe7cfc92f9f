package document

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Harvester keeps a file beside Longhorn's backups for each VirtualMachineBackup
// of type backup (harvester v1.4 to v1.6, pkg/controller/master/backup,
// backup_metadata.go). They are read here as documents of Hayloft's; nobody but
// Harvester writes them.

// HarvesterDir holds Harvester's files, by namespace.
const HarvesterDir = "harvester/vmbackups"

var harvesterPattern = regexp.MustCompile(`^harvester/vmbackups/([^/]{1,63})/([^/]{1,63})\.cfg$`)

// harvesterSpace is the namespace of the UIDs that Harvester's backups get here:
// their files hold none.
var harvesterSpace = uuid.MustParse("8b1ad1c3-5a4e-4a34-9d0f-6f4c3a7a51de")

// ByHarvester tells whether a path is that of one of Harvester's files.
func ByHarvester(path string) bool { return strings.HasPrefix(path, HarvesterDir+"/") }

func parseHarvesterPath(path string) (Point, error) {
	m := harvesterPattern.FindStringSubmatch(path)
	if m == nil {
		return Point{}, fmt.Errorf("%s is not the path of a backup of Harvester's", shown(path))
	}
	p := Point{Namespace: m[1], Name: m[2], UID: types.UID(uuid.NewSHA1(harvesterSpace, []byte(path)).String())}
	return p, checkPoint(p.Namespace, p.Name, p.UID)
}

// harvesterBackup is what is used of a file of Harvester's; it may hold more.
type harvesterBackup struct {
	Name       string `json:"name"`
	Namespace  string `json:"namespace"`
	BackupSpec struct {
		Type   string `json:"type"`
		Source struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"source"`
	} `json:"backupSpec"`
	VMSourceSpec  *harvesterObject  `json:"vmSourceSpec"`
	VolumeBackups []harvesterVolume `json:"volumeBackups"`
	SecretBackups []struct {
		Name string            `json:"name"`
		Data map[string][]byte `json:"data"`
	} `json:"secretBackups"`
}

type harvesterObject struct {
	Metadata map[string]any  `json:"metadata"`
	Spec     json.RawMessage `json:"spec"`
}

type harvesterVolume struct {
	// VolumeName is the disk's name in the VM's spec.
	VolumeName            string          `json:"volumeName"`
	CreationTime          *time.Time      `json:"creationTime"`
	CSIDriverName         string          `json:"csiDriverName"`
	PersistentVolumeClaim harvesterObject `json:"persistentVolumeClaim"`
	LonghornBackupName    string          `json:"longhornBackupName"`
	VolumeSize            int64           `json:"volumeSize"`
	ReadyToUse            *bool           `json:"readyToUse"`
}

// longhornDriver is the CSI driver whose volumes Longhorn's backups are of; older
// files do not name it.
const longhornDriver = "driver.longhorn.io"

// ParseHarvester reads one of Harvester's files as a document. What only the
// backups themselves tell is missing: the disks' snapshots, their backing images,
// and sizes where the file has none. Its Digest is that of the file as it is.
func ParseHarvester(path string, data []byte) (*Document, error) {
	d, err := parseHarvester(path, data)
	if err != nil {
		return nil, fmt.Errorf("backup of Harvester's: %w", err)
	}
	return d, nil
}

func parseHarvester(path string, data []byte) (*Document, error) {
	point, err := parseHarvesterPath(path)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("it is larger than the %d bytes that are allowed", MaxBytes)
	}
	if _, err := tree(data); err != nil {
		return nil, err
	}
	var h harvesterBackup
	if err := json.Unmarshal(data, &h); err != nil {
		return nil, errors.New("it is not what Harvester writes") // the cause could quote a Secret
	}
	if err := h.check(point); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	d := &Document{
		FormatVersion: FormatVersion, Digest: "sha256:" + hex.EncodeToString(sum[:]),
		Origin:      Origin{Namespace: h.Namespace, VM: h.BackupSpec.Source.Name, MadeBy: v1alpha1.MadeByHarvester},
		Point:       point,
		Consistency: v1alpha1.ConsistencyCrash,
		Notes:       []string{"the backup was made by Harvester, which cuts the disks of a VM one after the other"},
	}
	if uid, ok := h.VMSourceSpec.Metadata["uid"].(string); ok {
		d.Origin.VMUID = types.UID(uid)
	}
	if d.VM, err = h.VMSourceSpec.object("kubevirt.io/v1", "VirtualMachine", d.Origin.VM, h.Namespace); err != nil {
		return nil, err
	}
	for _, s := range h.SecretBackups {
		d.Secrets = append(d.Secrets, Secret{Name: s.Name, Type: corev1.SecretTypeOpaque, Data: s.Data})
	}
	for i := range h.VolumeBackups {
		if err := d.addVolume(&h.VolumeBackups[i]); err != nil {
			return nil, err
		}
	}
	return d, d.checkAdopted()
}

// check refuses what is not a whole backup of a VM.
func (h *harvesterBackup) check(point Point) error {
	switch {
	case h.Name != point.Name || h.Namespace != point.Namespace:
		return fmt.Errorf("it is of %s/%s, not of what its name says", shown(h.Namespace), shown(h.Name))
	case h.BackupSpec.Type != "" && h.BackupSpec.Type != "backup":
		return fmt.Errorf("it is of type %s: only a backup has its data on a target", shown(h.BackupSpec.Type))
	case h.BackupSpec.Source.Kind != "" && h.BackupSpec.Source.Kind != "VirtualMachine":
		return fmt.Errorf("it is a backup of a %s", shown(h.BackupSpec.Source.Kind))
	case h.VMSourceSpec == nil || len(h.VMSourceSpec.Spec) == 0:
		return errors.New("it holds no VM")
	case len(h.VolumeBackups) == 0 || len(h.VolumeBackups) > maxDisks:
		return fmt.Errorf("it has %d volumes; 1 to %d are allowed", len(h.VolumeBackups), maxDisks)
	}
	return nil
}

// addVolume adds a disk and its claim.
func (d *Document) addVolume(v *harvesterVolume) error {
	var spec corev1.PersistentVolumeClaimSpec
	if err := json.Unmarshal(v.PersistentVolumeClaim.Spec, &spec); err != nil {
		return fmt.Errorf("the claim of its volume %s cannot be read", shown(v.VolumeName))
	}
	claim, _ := v.PersistentVolumeClaim.Metadata["name"].(string)
	switch {
	case v.LonghornBackupName == "" || v.ReadyToUse != nil && !*v.ReadyToUse:
		return fmt.Errorf("its volume %s was not backed up", shown(v.VolumeName))
	case v.CSIDriverName != "" && v.CSIDriverName != longhornDriver:
		return fmt.Errorf("its volume %s is of driver %s: only Longhorn's have their data here", shown(v.VolumeName), shown(v.CSIDriverName))
	case v.VolumeSize < 0:
		return fmt.Errorf("its volume %s has %d bytes", shown(v.VolumeName), v.VolumeSize)
	}
	object, err := v.PersistentVolumeClaim.object("v1", "PersistentVolumeClaim", claim, d.Origin.Namespace)
	if err != nil {
		return err
	}
	d.Claims = append(d.Claims, Claim{Name: claim, Object: object})
	disk := Disk{
		Name: v.VolumeName, Claim: claim, Volume: spec.VolumeName, Backup: v.LonghornBackupName, SizeBytes: v.VolumeSize,
		AccessModes: spec.AccessModes, VolumeAccessMode: "rwo",
	}
	if spec.StorageClassName != nil {
		disk.StorageClass = *spec.StorageClassName
	}
	if spec.VolumeMode != nil {
		disk.VolumeMode = *spec.VolumeMode
	}
	for _, m := range spec.AccessModes {
		if m == corev1.ReadWriteMany {
			// So that VMs can be migrated; other volumes of that mode are shares.
			disk.VolumeAccessMode, disk.Migratable = "rwx", disk.VolumeMode == corev1.PersistentVolumeBlock
		}
	}
	d.Disks = append(d.Disks, disk)
	if v.CreationTime != nil && v.CreationTime.After(d.Point.CutAt) {
		d.Point.CutAt = v.CreationTime.UTC()
	}
	return nil
}

// object is a whole object of what Harvester keeps of one.
func (o *harvesterObject) object(apiVersion, kind, name, namespace string) (json.RawMessage, error) {
	metadata := map[string]any{}
	for k, v := range o.Metadata {
		metadata[k] = v
	}
	metadata["name"], metadata["namespace"] = name, namespace
	data, err := json.Marshal(map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata, "spec": o.Spec})
	if err != nil {
		return nil, fmt.Errorf("its %s cannot be written: %w", kind, err)
	}
	return data, nil
}

// checkAdopted holds what was read to the rules for documents, as far as the file
// has what they are about.
func (d *Document) checkAdopted() error {
	if d.Origin.VMUID != "" && !uidPattern.MatchString(string(d.Origin.VMUID)) {
		return fmt.Errorf("%s is not the UID of a VM", shown(d.Origin.VMUID))
	}
	if len(validation.IsDNS1123Subdomain(d.Origin.VM)) > 0 {
		return fmt.Errorf("%s is not a name of a VM", shown(d.Origin.VM))
	}
	if err := d.checkVM(); err != nil {
		return err
	}
	if err := d.checkClaims(); err != nil {
		return err
	}
	if err := d.checkConfig(); err != nil {
		return err
	}
	// What the file does not tell is put in for the check alone.
	c := *d
	c.Disks = append([]Disk{}, d.Disks...)
	for i := range c.Disks {
		c.Disks[i].Snapshot, c.Disks[i].SizeBytes = "unknown", max(1, c.Disks[i].SizeBytes)
	}
	return c.checkDisks()
}
