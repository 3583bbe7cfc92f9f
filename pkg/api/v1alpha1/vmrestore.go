package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// VMRestore makes a virtual machine from a VMBackup: a new one, or one in place
// of a VM that exists; or it makes one disk of it a claim of its own.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=hr
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Backup",type=string,JSONPath=`.spec.backup`
// +kubebuilder:printcolumn:name="New VM",type=string,JSONPath=`.spec.newVM`
// +kubebuilder:printcolumn:name="Replaces",type=string,JSONPath=`.spec.replace.vm`
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

// VolumePolicy says what becomes of a replaced VM's former volumes.
//
// +kubebuilder:validation:Enum=Retain;Delete
type VolumePolicy string

// The volume policies.
const (
	VolumesRetain VolumePolicy = "Retain" // their claims stay, used by nobody
	VolumesDelete VolumePolicy = "Delete" // their claims are deleted once the restored VM is ready
)

// Replace names a VM whose disks and definition are replaced.
type Replace struct {
	// VM is the name of a stopped VM in the restore's namespace, the one that
	// the point was taken of.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	VM string `json:"vm"`
	// Volumes: what becomes of the volumes that the VM has now.
	// +kubebuilder:default=Retain
	Volumes VolumePolicy `json:"volumes,omitempty"`
	// DeleteSnapshots are VMBackups of type Snapshot that live in the volumes
	// which Volumes: Delete removes, and may go with them. Any other Snapshot
	// in them is a refusal.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=63
	DeleteSnapshots []string `json:"deleteSnapshots,omitempty"`
}

// DiskClaim asks for one disk of a point as a claim of its own.
type DiskClaim struct {
	// Disk is its name in the point.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Disk string `json:"disk"`
	// Claim is the name of the PersistentVolumeClaim to make; it must be free.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Claim string `json:"claim"`
}

// Allowance is something that a VM has beyond itself.
//
// +kubebuilder:validation:Enum=HostDevices;ServiceAccounts;PodSettings
type Allowance string

// What the VM of a found point can be allowed to keep.
const (
	// AllowHostDevices: devices of a node, GPUs and resource claims.
	AllowHostDevices Allowance = "HostDevices"
	// AllowServiceAccounts: volumes with a ServiceAccount's token.
	AllowServiceAccounts Allowance = "ServiceAccounts"
	// AllowPodSettings: annotations of the VM's pod that others than KubeVirt and
	// Harvester read, hook sidecars among them, and priority classes of the system.
	AllowPodSettings Allowance = "PodSettings"
)

// ImagePolicy says what is done about a missing image.
//
// +kubebuilder:validation:Enum=Recreate;Fetch;Require
type ImagePolicy string

// What is done about a missing image.
const (
	// ImagesRecreate: it is made again from Longhorn's backup of it, or from the URL
	// that this cluster once had it from.
	ImagesRecreate ImagePolicy = "Recreate"
	// ImagesFetch: also from a URL that stands in a document which was found on a
	// target, and may be anybody's.
	ImagesFetch   ImagePolicy = "Fetch"
	ImagesRequire ImagePolicy = "Require"
)

// VMRestoreSpec says which point becomes what.
//
// +kubebuilder:validation:XValidation:rule="[has(self.newVM), has(self.replace), has(self.diskClaim)].filter(x, x).size() == 1",message="exactly one of spec.newVM, spec.replace and spec.diskClaim must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.replace) || !has(self.keepMACAddresses) || !self.keepMACAddresses",message="spec.keepMACAddresses does not belong to spec.replace: a replaced VM keeps the MAC addresses that it has"
// +kubebuilder:validation:XValidation:rule="!has(self.replace) || self.replace.volumes == 'Delete' || !has(self.replace.deleteSnapshots)",message="spec.replace.deleteSnapshots only goes with spec.replace.volumes Delete"
// +kubebuilder:validation:XValidation:rule="!has(self.diskClaim) || (!has(self.keepMACAddresses) && !has(self.haltAfterRestore) && !has(self.networks) && !has(self.withoutSecrets) && !has(self.allow))",message="spec.keepMACAddresses, spec.haltAfterRestore, spec.networks, spec.withoutSecrets and spec.allow do not belong to spec.diskClaim, which makes no VM"
// +kubebuilder:validation:XValidation:rule="self.backup == oldSelf.backup && has(self.backupNamespace) == has(oldSelf.backupNamespace) && (!has(self.backupNamespace) || self.backupNamespace == oldSelf.backupNamespace) && has(self.newVM) == has(oldSelf.newVM) && (!has(self.newVM) || self.newVM == oldSelf.newVM) && has(self.replace) == has(oldSelf.replace) && (!has(self.replace) || self.replace == oldSelf.replace) && has(self.diskClaim) == has(oldSelf.diskClaim) && (!has(self.diskClaim) || self.diskClaim == oldSelf.diskClaim) && has(self.keepMACAddresses) == has(oldSelf.keepMACAddresses) && (!has(self.keepMACAddresses) || self.keepMACAddresses == oldSelf.keepMACAddresses) && has(self.haltAfterRestore) == has(oldSelf.haltAfterRestore) && (!has(self.haltAfterRestore) || self.haltAfterRestore == oldSelf.haltAfterRestore) && has(self.storageClasses) == has(oldSelf.storageClasses) && (!has(self.storageClasses) || self.storageClasses == oldSelf.storageClasses) && has(self.networks) == has(oldSelf.networks) && (!has(self.networks) || self.networks == oldSelf.networks) && has(self.withoutSecrets) == has(oldSelf.withoutSecrets) && (!has(self.withoutSecrets) || self.withoutSecrets == oldSelf.withoutSecrets) && has(self.allow) == has(oldSelf.allow) && (!has(self.allow) || self.allow == oldSelf.allow) && has(self.images) == has(oldSelf.images) && (!has(self.images) || self.images == oldSelf.images)",message="spec is immutable but for spec.cancel: create another VMRestore"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",message="spec.cancel cannot be taken back: create another VMRestore"
type VMRestoreSpec struct {
	// Backup is the name of a VMBackup.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Backup string `json:"backup"`
	// BackupNamespace is the VMBackup's namespace; empty: the restore's own.
	// Who asks needs the right to "restore" that VMBackup there.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	BackupNamespace string `json:"backupNamespace,omitempty"`
	// NewVM is the name of the VM to make, a DNS label; it must be free.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	NewVM string `json:"newVM,omitempty"`
	// Replace names the VM to replace.
	// +optional
	Replace *Replace `json:"replace,omitempty"`
	// DiskClaim asks for a claim instead of a VM.
	// +optional
	DiskClaim *DiskClaim `json:"diskClaim,omitempty"`
	// KeepMACAddresses gives the new VM the source's MAC addresses. Refused
	// while the source VM exists, since two VMs would answer to one address.
	// +optional
	KeepMACAddresses bool `json:"keepMACAddresses,omitempty"`
	// WithoutSecrets restores the VM without the Secrets that the point holds, for
	// when they are encrypted and their identity is lost: the VM refers to Secrets
	// that somebody has to make, and status.notes names them.
	// +optional
	WithoutSecrets bool `json:"withoutSecrets,omitempty"`
	// Allow keeps in the VM of a point that was found on a target what is left out of
	// such a VM otherwise, since its document may have been written by anybody who may
	// write there.
	// +optional
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	Allow []Allowance `json:"allow,omitempty"`
	// Images says what is done where an image that a disk was made from is missing:
	// Recreate makes Harvester's VirtualMachineImage again in the restore's namespace,
	// which whoever asks must have the right to create; Fetch does so too where the
	// only source is a URL in the document of a point that was found on a target, and
	// so may be anybody's; Require, and none, refuses.
	// The webhook fills in Recreate for whoever has that right, and never Fetch.
	// +optional
	Images ImagePolicy `json:"images,omitempty"`
	// HaltAfterRestore leaves the VM stopped; otherwise it gets the run
	// strategy that the source had.
	// +optional
	HaltAfterRestore bool `json:"haltAfterRestore,omitempty"`
	// StorageClasses maps a StorageClass of the point -> the one to use here.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	StorageClasses map[string]string `json:"storageClasses,omitempty"`
	// Networks maps a network of the point, "<namespace>/<name>" of its
	// NetworkAttachmentDefinition -> the one to use here.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Networks map[string]string `json:"networks,omitempty"`
	// Cancel ends a restore that is not Ready yet as Failed and removes what it
	// made. It comes too late once the VM is being replaced.
	// +optional
	Cancel bool `json:"cancel,omitempty"`
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
	// VMUID is the UID of the VM that was made, or that is replaced.
	// +optional
	VMUID types.UID `json:"vmUID,omitempty"`
	// ReplacedAt is when a replaced VM was given the restored disks, in one
	// write. From then on the restore cannot be cancelled.
	// +optional
	ReplacedAt *metav1.Time `json:"replacedAt,omitempty"`
	// RunStrategy is what a replaced VM gets once everything is in its place;
	// until then it is halted.
	// +optional
	RunStrategy string `json:"runStrategy,omitempty"`
	// Former are the claims that a replaced VM had and has not any more,
	// recorded before it is replaced.
	// +optional
	// +listType=map
	// +listMapKey=disk
	// +kubebuilder:validation:MaxItems=256
	Former []FormerClaim `json:"former,omitempty"`
	// FormerRestore is the UID of the restore that last made or replaced the VM
	// which is replaced. The Secrets and ConfigMaps that it made for it go, once the
	// VM is ready.
	// +optional
	FormerRestore types.UID `json:"formerRestore,omitempty"`
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
	// +optional
	Backup string `json:"backup,omitempty"`
	// Snapshot is the engine snapshot of SourceVolume that it is cloned from,
	// in place of Backup.
	// +optional
	Snapshot string `json:"snapshot,omitempty"`
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

// FormerState is what became of a replaced VM's former claim.
//
// +kubebuilder:validation:Enum=Retained;Deleted
type FormerState string

// The states of a former claim; an empty one is still the VM's.
const (
	FormerRetained FormerState = "Retained" // nothing refers to it; the label hayloft.dev/former-vm says whose it was
	FormerDeleted  FormerState = "Deleted"
)

// FormerClaim is a claim that a replaced VM had.
type FormerClaim struct {
	// Disk is the volume's name in the VM's former spec.
	Disk string `json:"disk"`
	// Claim is the PersistentVolumeClaim, with its UID.
	Claim string    `json:"claim"`
	UID   types.UID `json:"uid"`
	// Volume is the Longhorn volume under it; empty: it was not bound.
	// +optional
	Volume string `json:"volume,omitempty"`
	// +optional
	State FormerState `json:"state,omitempty"`
}

// VMRestoreList is a list of VMRestores.
//
// +kubebuilder:object:root=true
type VMRestoreList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VMRestore `json:"items"`
}
