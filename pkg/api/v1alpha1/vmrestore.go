package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// VMRestore makes a new virtual machine from a VMBackup.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=hr
// +kubebuilder:subresource:status
// +kubebuilder:validation:XValidation:rule="self.spec == oldSelf.spec",message="spec is immutable: create another VMRestore"
// +kubebuilder:printcolumn:name="Backup",type=string,JSONPath=`.spec.backup`
// +kubebuilder:printcolumn:name="New VM",type=string,JSONPath=`.spec.newVM`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Progress",type=string,JSONPath=`.status.progressText`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Progressing")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VMRestore struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   VMRestoreSpec   `json:"spec"`
	Status VMRestoreStatus `json:"status,omitempty"`
}

// VMRestoreSpec says which point becomes which VM.
type VMRestoreSpec struct {
	// Backup is the name of a VMBackup in the same namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Backup string `json:"backup"`
	// NewVM is the name of the VM to make, a DNS label; it must be free.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	NewVM string `json:"newVM"`
	// KeepMACAddresses gives the new VM the source's MAC addresses. Refused
	// while the source VM exists, since two VMs would answer to one address.
	// +optional
	KeepMACAddresses bool `json:"keepMACAddresses,omitempty"`
	// HaltAfterRestore leaves the new VM stopped; otherwise it gets the run
	// strategy that the source had.
	// +optional
	HaltAfterRestore bool `json:"haltAfterRestore,omitempty"`
}

// RestorePhase is where a restore is in its life.
//
// +kubebuilder:validation:Enum=Pending;Restoring;Building;Ready;Failed;Deleting
type RestorePhase string

// The phases of a VMRestore, in order. Ready and Failed are final.
const (
	RestorePending   RestorePhase = "Pending"   // accepted; document and cluster are being checked
	RestoreRestoring RestorePhase = "Restoring" // data goes into fresh volumes
	RestoreBuilding  RestorePhase = "Building"  // every volume is recorded good; PVs, PVCs, Secrets and the VM are made
	RestoreReady     RestorePhase = "Ready"
	RestoreFailed    RestorePhase = "Failed"
	RestoreDeleting  RestorePhase = "Deleting"
)

// VMRestoreStatus is a summary of a restore.
type VMRestoreStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	Phase RestorePhase `json:"phase,omitempty"`
	// BackupUID is the UID of the VMBackup that is being restored.
	// +optional
	BackupUID types.UID `json:"backupUID,omitempty"`
	// VMUID is the UID of the VM that was made.
	// +optional
	VMUID types.UID `json:"vmUID,omitempty"`
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Disks []RestoreDisk `json:"disks,omitempty"`
	// Notes are what a person should know of how the new VM differs from its
	// source: what was dropped or renamed, one sentence each.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	Notes []string `json:"notes,omitempty"`
	// +optional
	Progress *Progress `json:"progress,omitempty"`
	// +optional
	ProgressText string `json:"progressText,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// RestoreDisk is one disk of a restore.
type RestoreDisk struct {
	// Name of the volume in the VM's spec.
	Name string `json:"name"`
	// Claim is the PersistentVolumeClaim that the new VM gets.
	Claim string `json:"claim"`
	// Attempt counts volumes made for this disk, from 1; each attempt has a
	// volume of its own, and one that failed is deleted.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
	// Volume is the Longhorn volume of the current attempt.
	// +optional
	Volume string `json:"volume,omitempty"`
	// VolumeUID is the UID of that Volume object.
	// +optional
	VolumeUID types.UID `json:"volumeUID,omitempty"`
	SizeBytes int64     `json:"sizeBytes"`
	State     DiskState `json:"state"`
	// SourceVolume and Backup name the Longhorn backup it comes from.
	SourceVolume string `json:"sourceVolume"`
	Backup       string `json:"backup"`
	// +optional
	BackingImage *BackingImage `json:"backingImage,omitempty"`
	// +optional
	Progress *Progress `json:"progress,omitempty"`
	// Record is the proof on which the volume is given to the VM.
	// +optional
	Record *RestoreRecord `json:"record,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
}

// VMRestoreList is a list of VMRestores.
//
// +kubebuilder:object:root=true
type VMRestoreList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VMRestore `json:"items"`
}
