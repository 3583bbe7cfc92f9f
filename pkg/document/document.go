// Package document is the metadata document of a point: everything besides the
// disks' data that is needed to make a VM again, in one JSON file on the
// target, or in the cluster for a point of type Snapshot. Its presence at
// PointPath means a whole point, until a Removal takes its place.
//
// What comes from a target is hostile until Parse accepted it: Parse bounds
// size, depth and counts, refuses names that are not names, and checks the
// document's own digest. The digest finds damage; it proves no authorship,
// which is why a point's status records it too. A document names no backups but
// those that were made for its own point.
//
// The package reads and writes no target and no cluster, and does not encrypt
// (package seal does): in format 1 the Secrets in a document are as readable as
// the target is.
package document

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
)

// The formats that this package writes and reads.
const (
	// FormatVersion is that of a document whose Secrets are not encrypted, or that
	// has none.
	FormatVersion = 1
	// FormatSealed is that of a document whose Secrets' values are in Sealed. It
	// has a number of its own, so that a program which knows nothing of that says
	// so, instead of restoring empty Secrets.
	FormatSealed = 2
)

// Document is one point as it lies on a target or in the cluster. A draft is the same without
// disks: what was read from the cluster when the point was taken.
type Document struct {
	FormatVersion int `json:"formatVersion"`
	// Digest is "sha256:<hex>" over the canonical JSON of the document
	// without this field.
	Digest      string               `json:"digest,omitempty"`
	Origin      Origin               `json:"origin"`
	Point       Point                `json:"point"`
	Consistency v1alpha1.Consistency `json:"consistency,omitempty"`
	// SecretsEncrypted is false in format 1 and true in format 2.
	SecretsEncrypted bool `json:"secretsEncrypted"`
	// VM is the VirtualMachine as the API server gave it, without status and
	// managedFields.
	VM     json.RawMessage `json:"vm"`
	Claims []Claim         `json:"claims,omitempty"`
	// Secrets have no data in format 2: see Sealed.
	Secrets    []Secret    `json:"secrets,omitempty"`
	ConfigMaps []ConfigMap `json:"configMaps,omitempty"`
	// Sealed is an age file: what Plain has made, encrypted to Recipients, which
	// are age public keys.
	Sealed     []byte   `json:"sealed,omitempty"`
	Recipients []string `json:"recipients,omitempty"`
	Disks      []Disk   `json:"disks,omitempty"`
	// Notes are sentences about what the point does not hold.
	Notes []string `json:"notes,omitempty"`
}

// Type says where the disks' data is; empty for a draft.
func (d *Document) Type() v1alpha1.BackupType {
	switch {
	case len(d.Disks) == 0:
		return ""
	case d.Disks[0].Backup == "":
		return v1alpha1.TypeSnapshot
	}
	return v1alpha1.TypeBackup
}

// Origin is where a point comes from.
type Origin struct {
	// ClusterUID is the UID of the namespace kube-system, which is a
	// cluster's identity by convention.
	ClusterUID types.UID `json:"clusterUID"`
	Namespace  string    `json:"namespace"`
	VM         string    `json:"vm"`
	VMUID      types.UID `json:"vmUID"`
	// MadeBy is who made the point, when that was not Hayloft: then it has no
	// ClusterUID, and perhaps no VMUID.
	MadeBy v1alpha1.Maker `json:"madeBy,omitempty"`
}

// Point is the VMBackup that a document belongs to.
type Point struct {
	UID       types.UID `json:"uid"`
	Name      string    `json:"name"`
	Namespace string    `json:"namespace"`
	// CutAt is the moment that the disks stand for; a draft may lack it.
	CutAt time.Time `json:"cutAt,omitzero"`
	// CreatedAt is the VMBackup's creation.
	CreatedAt time.Time `json:"createdAt,omitzero"`
}

// Claim is one PersistentVolumeClaim of the VM.
type Claim struct {
	Name string `json:"name"`
	// Object is the claim without status and managedFields.
	Object json.RawMessage `json:"object"`
}

// Secret is one Secret that the VM refers to.
type Secret struct {
	Name string            `json:"name"`
	Type corev1.SecretType `json:"type,omitempty"`
	Data map[string][]byte `json:"data,omitempty"`
}

// ConfigMap is one ConfigMap that the VM refers to.
type ConfigMap struct {
	Name       string            `json:"name"`
	Data       map[string]string `json:"data,omitempty"`
	BinaryData map[string][]byte `json:"binaryData,omitempty"`
}

// Disk is one disk of the VM and what holds its data: a Longhorn backup, or
// where it names none the engine snapshot in the volume itself. The disks of one
// document are all of one kind.
type Disk struct {
	// Name of the volume in the VM's spec.
	Name string `json:"name"`
	// Claim is one of the document's claims.
	Claim string `json:"claim"`
	// Volume is the Longhorn volume that was cut.
	Volume   string `json:"volume"`
	Snapshot string `json:"snapshot"`
	Backup   string `json:"backup,omitempty"`
	// SizeBytes is the volume's nominal size when it was cut.
	SizeBytes    int64                               `json:"sizeBytes"`
	BackingImage *v1alpha1.BackingImage              `json:"backingImage,omitempty"`
	StorageClass string                              `json:"storageClass,omitempty"`
	VolumeMode   corev1.PersistentVolumeMode         `json:"volumeMode,omitempty"`
	AccessModes  []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
	// NumberOfReplicas that the source volume had.
	NumberOfReplicas int `json:"numberOfReplicas,omitempty"`
	// Migratable and Longhorn's access mode ("rwo", "rwx") of the source.
	Migratable       bool   `json:"migratable,omitempty"`
	VolumeAccessMode string `json:"volumeAccessMode,omitempty"`
}
