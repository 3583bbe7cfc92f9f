package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// VMBackup is one point of one virtual machine: its disks as they were at one
// moment, with what is needed to make the VM again. A point of type Backup is on
// a BackupTarget, one of type Snapshot in the cluster, in the VM's own volumes.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=hb
// +kubebuilder:subresource:status
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name must be at most 63 characters"
// +kubebuilder:printcolumn:name="VM",type=string,JSONPath=`.spec.vm`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.target`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Progress",type=string,JSONPath=`.status.progressText`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Progressing")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VMBackup struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   VMBackupSpec   `json:"spec"`
	Status VMBackupStatus `json:"status,omitempty"`
}

// DeletionPolicy says what deleting a VMBackup does to its data on the target.
//
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

// The deletion policies.
const (
	DeletionDelete DeletionPolicy = "Delete"
	DeletionRetain DeletionPolicy = "Retain"
)

// BackupType says where a point is kept.
//
// +kubebuilder:validation:Enum=Backup;Snapshot
type BackupType string

// The types of a point.
const (
	// TypeBackup is a copy on a BackupTarget.
	TypeBackup BackupType = "Backup"
	// TypeSnapshot stays in the VM's own Longhorn volumes and goes with them.
	TypeSnapshot BackupType = "Snapshot"
)

// QuiescePolicy says what is done about the guest while its disks are cut.
//
// +kubebuilder:validation:Enum=BestEffort;Required;Never
type QuiescePolicy string

// The quiesce policies.
const (
	// QuiesceBestEffort freezes the guest if it has an agent; a freeze that
	// fails is recorded and the point goes on.
	QuiesceBestEffort QuiescePolicy = "BestEffort"
	// QuiesceRequired fails the point when a running guest cannot be frozen, or
	// with method Pause cannot be paused.
	QuiesceRequired QuiescePolicy = "Required"
	// QuiesceNever cuts without asking the guest.
	QuiesceNever QuiescePolicy = "Never"
)

// QuiesceMethod says by what means a guest is brought to rest.
//
// +kubebuilder:validation:Enum=Auto;Freeze;Pause
type QuiesceMethod string

// The quiesce methods.
const (
	// QuiesceAuto, or none: the guest is frozen if it has an agent. If it has none,
	// its container is paused where the administrator has enabled that, unless the
	// policy is Required.
	QuiesceAuto QuiesceMethod = "Auto"
	// QuiesceFreeze only freezes.
	QuiesceFreeze QuiesceMethod = "Freeze"
	// QuiescePause pauses the container in which the VM runs, also where there is
	// a guest agent. The disks are of one moment then, but nothing was flushed.
	QuiescePause QuiesceMethod = "Pause"
)

// Quiesce says how a running guest is brought to rest while its disks are cut.
type Quiesce struct {
	// +kubebuilder:default=BestEffort
	Policy QuiescePolicy `json:"policy,omitempty"`
	// Method is how; Auto if it is not given.
	// +optional
	Method QuiesceMethod `json:"method,omitempty"`
	// DeadlineSeconds is how long the guest may stay frozen or paused: it goes on
	// by itself then, whatever became of who had frozen it. For a pause the node's
	// pauser may have a shorter limit.
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=60
	DeadlineSeconds int32 `json:"deadlineSeconds,omitempty"`
}

// VMBackupSpec says which VM is taken, and where its data goes.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'Snapshot' || has(self.target)",message="spec.target is required for type Backup: name a BackupTarget, or have one be the default (its spec.default)"
// +kubebuilder:validation:XValidation:rule="self.type != 'Snapshot' || !has(self.target)",message="spec.target does not belong to type Snapshot, which stays in the cluster: remove it"
// +kubebuilder:validation:XValidation:rule="self.type != 'Snapshot' || self.deletionPolicy == 'Delete'",message="spec.deletionPolicy Retain does not belong to type Snapshot: an engine snapshot without its point could never be restored"
// +kubebuilder:validation:XValidation:rule="self.type == oldSelf.type",message="spec.type is immutable: create another VMBackup"
// +kubebuilder:validation:XValidation:rule="has(self.target) == has(oldSelf.target) && (!has(self.target) || self.target == oldSelf.target)",message="spec.target is immutable: create another VMBackup"
// +kubebuilder:validation:XValidation:rule="has(self.includeDisks) == has(oldSelf.includeDisks) && (!has(self.includeDisks) || self.includeDisks == oldSelf.includeDisks) && has(self.excludeDisks) == has(oldSelf.excludeDisks) && (!has(self.excludeDisks) || self.excludeDisks == oldSelf.excludeDisks)",message="spec.includeDisks and spec.excludeDisks are immutable: create another VMBackup"
// +kubebuilder:validation:XValidation:rule="!(has(self.includeDisks) && has(self.excludeDisks))",message="spec.includeDisks and spec.excludeDisks exclude each other: set one of them"
// +kubebuilder:validation:XValidation:rule="has(self.found) == has(oldSelf.found) && (!has(self.found) || self.found == oldSelf.found)",message="spec.found is immutable: Hayloft sets it on a point that it found on the target"
// +kubebuilder:validation:XValidation:rule="!has(self.found) || self.type == 'Backup' && (self.deletionPolicy == 'Retain' || has(self.claimed) && self.claimed)",message="spec.deletionPolicy of a point that was found on the target (spec.found) is Retain: its data is another cluster's, unless it is claimed (spec.claimed)"
// +kubebuilder:validation:XValidation:rule="!has(self.claimed) || !self.claimed || has(self.found)",message="spec.claimed is for points that were found on the target: this one is this cluster's own"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.claimed) || !oldSelf.claimed || (has(self.claimed) && self.claimed)",message="spec.claimed cannot be taken back: set spec.deletionPolicy to Retain to keep the data"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",message="spec.cancel cannot be taken back: create another VMBackup"
type VMBackupSpec struct {
	// VM is the name of a VirtualMachine in the same namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec.vm is immutable: create another VMBackup"
	VM string `json:"vm"`
	// Type: Backup copies the disks to the target, Snapshot keeps them in the
	// cluster.
	// +kubebuilder:default=Backup
	Type BackupType `json:"type,omitempty"`
	// Target is the name of a BackupTarget; of type Backup only. Where it is left
	// out, it becomes that of the default target when the object is created.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Target string `json:"target,omitempty"`
	// IncludeDisks are the only disks to take, by their names in the VM's
	// spec.template.spec.volumes. A restored VM lacks the others.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	IncludeDisks []string `json:"includeDisks,omitempty"`
	// ExcludeDisks are not taken.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	ExcludeDisks []string `json:"excludeDisks,omitempty"`
	// Quiesce says how the guest is brought to rest.
	// +kubebuilder:default={policy: "BestEffort", deadlineSeconds: 10}
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec.quiesce is immutable: create another VMBackup"
	Quiesce Quiesce `json:"quiesce,omitempty"`
	// DeletionPolicy: Delete removes the data with the object, Retain keeps it. It
	// can be changed while a deletion waits for the target. What is deleted with
	// its namespace keeps its data on the target in any case.
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
	// Note is for people.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Note string `json:"note,omitempty"`
	// Pinned keeps retention from removing this point.
	// +optional
	Pinned bool `json:"pinned,omitempty"`
	// Cancel ends a point that is not Ready yet as Failed, with nothing left of
	// it. A transfer that an engine has begun cannot be stopped, so the clean-up
	// waits for its end.
	// +optional
	Cancel bool `json:"cancel,omitempty"`
	// Found is set by Hayloft on a point that it found on the target: one that
	// another cluster has taken, or this one before it lost its VMBackup. Nothing
	// is backed up for it, and its data is not deleted from here unless it is claimed.
	// +optional
	Found *FoundPoint `json:"found,omitempty"`
	// Claimed says of a found point that this cluster may delete its data, with
	// spec.deletionPolicy Delete, since the cluster that took it is gone or gives it
	// up. Setting it needs the verb "claim" on the BackupTarget.
	// +optional
	Claimed bool `json:"claimed,omitempty"`
}

// FoundPoint tells where a point that was found on a target comes from.
type FoundPoint struct {
	// ClusterUID is the UID of the namespace kube-system of the cluster that took
	// the point; empty when it was made by another program, which does not say.
	ClusterUID types.UID `json:"clusterUID"`
	// UID that the point's VMBackup had there; its document is named by it.
	UID types.UID `json:"uid"`
	// MadeBy is the program that made the point; empty: Hayloft.
	// +optional
	MadeBy Maker `json:"madeBy,omitempty"`
}

// Maker is a program other than Hayloft whose backups are offered as points.
//
// +kubebuilder:validation:Enum=Harvester
type Maker string

// MadeByHarvester is a VirtualMachineBackup of Harvester's. Its files are never
// changed; claiming and deleting it deletes them.
const MadeByHarvester Maker = "Harvester"

// BackupPhase is where a point is in its life.
//
// +kubebuilder:validation:Enum=Pending;Cutting;Uploading;Verifying;Ready;Failed;DataLost;Missing;Deleting
type BackupPhase string

// The phases of a VMBackup, in order. Ready and Failed are final; a Ready
// Snapshot can become DataLost, and a Ready Backup Missing until its document is
// seen again.
const (
	BackupPending   BackupPhase = "Pending"   // accepted or waiting, nothing done yet
	BackupCutting   BackupPhase = "Cutting"   // engine snapshots of all disks are being cut
	BackupUploading BackupPhase = "Uploading" // at least one disk is not on the target yet
	BackupVerifying BackupPhase = "Verifying" // the target worker inspects the disks and writes the document
	BackupReady     BackupPhase = "Ready"
	BackupFailed    BackupPhase = "Failed"
	BackupDataLost  BackupPhase = "DataLost" // a volume or engine snapshot of it was removed by somebody else
	BackupMissing   BackupPhase = "Missing"  // its document is not on the target any more
	BackupDeleting  BackupPhase = "Deleting"
)

// Consistency tells how a point's disks were brought to rest when they were cut.
//
// +kubebuilder:validation:Enum=Frozen;Offline;Paused;CrashConsistent;NoGuestAgent;QuiesceFailed
type Consistency string

// What was reached. All but Frozen and Offline are what the guest would find
// after a power cut: its disks are of one moment, but nothing was flushed.
const (
	// ConsistencyFrozen: the guest's file systems were frozen from before the
	// first disk was cut until after the last one.
	ConsistencyFrozen Consistency = "Frozen"
	// ConsistencyOffline: the VM did not run.
	ConsistencyOffline Consistency = "Offline"
	// ConsistencyPaused: the container in which the VM runs stood still from before
	// the first disk was cut until after the last one. So no disk is ahead of
	// another, but nothing was flushed.
	ConsistencyPaused Consistency = "Paused"
	// ConsistencyCrash: the guest was not asked to freeze.
	ConsistencyCrash Consistency = "CrashConsistent"
	// ConsistencyNoAgent: the guest has no agent that could freeze it.
	ConsistencyNoAgent Consistency = "NoGuestAgent"
	// ConsistencyQuiesceFailed: freezing or pausing failed, or did not last until
	// the last disk was cut.
	ConsistencyQuiesceFailed Consistency = "QuiesceFailed"
)

// HookStatus tells how a hook of the VM ended.
type HookStatus struct {
	// Hook is pre, before the disks were cut, or post, afterwards.
	// +kubebuilder:validation:Enum=pre;post
	Hook string `json:"hook"`
	// Failed: it did not end with exit code 0, or could not be run.
	// +optional
	Failed bool `json:"failed,omitempty"`
	// Message is for people: how it ended.
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`
}

// VMBackupStatus is a summary of a few KiB; the VM itself and its Secrets are
// in the document on the target.
type VMBackupStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	Phase BackupPhase `json:"phase,omitempty"`
	// SourceUID is the VM's UID when the point was taken.
	// +optional
	SourceUID types.UID `json:"sourceUID,omitempty"`
	// +optional
	Consistency Consistency `json:"consistency,omitempty"`
	// ConsistencyMessage says why no better Consistency was reached.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	ConsistencyMessage string `json:"consistencyMessage,omitempty"`
	// CutWindowMilliseconds is the time between the first snapshot asked for
	// and the last one cut.
	// +optional
	CutWindowMilliseconds *int64 `json:"cutWindowMilliseconds,omitempty"`
	// FrozenMilliseconds is how long the guest was frozen, or paused.
	// +optional
	FrozenMilliseconds *int64 `json:"frozenMilliseconds,omitempty"`
	// Hooks of the VM that were run around the cut, by its annotations
	// pre.hook.hayloft.dev/command and post.hook.hayloft.dev/command.
	// +optional
	// +kubebuilder:validation:MaxItems=2
	Hooks []HookStatus `json:"hooks,omitempty"`
	// ReservedBytes is what the point was expected to take of the cluster's
	// storage; SnapshotQuotas count it until Longhorn tells what it takes.
	// +optional
	ReservedBytes *int64 `json:"reservedBytes,omitempty"`
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// CutAt is the moment that the point stands for.
	// +optional
	CutAt *metav1.MicroTime `json:"cutAt,omitempty"`
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
	// Document is the path of the metadata document on the target, or for type
	// Snapshot the name of the Secret that holds it; set when the point is Ready.
	// +optional
	Document string `json:"document,omitempty"`
	// DocumentDigest is the document's own digest, "sha256:<hex>".
	// +optional
	DocumentDigest string `json:"documentDigest,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Disks []BackupDisk `json:"disks,omitempty"`
	// +optional
	Progress *Progress `json:"progress,omitempty"`
	// ProgressText is Progress for people: "41%".
	// +optional
	ProgressText string `json:"progressText,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// DiskState is where one disk of a point or of a restore is.
//
// +kubebuilder:validation:Enum=Pending;Cut;Transferring;Transferred;Done;Failed
type DiskState string

// The states of a disk.
const (
	DiskPending      DiskState = "Pending"
	DiskCut          DiskState = "Cut"          // its snapshot counts
	DiskTransferring DiskState = "Transferring" // a job moves its data
	DiskTransferred  DiskState = "Transferred"  // the engine says it is done; nobody has looked yet
	DiskDone         DiskState = "Done"         // inspected on the target, or restored and recorded
	DiskFailed       DiskState = "Failed"
)

// BackupDisk is one disk of a point.
type BackupDisk struct {
	// Name of the volume in the VM's spec.
	Name string `json:"name"`
	// Claim is the PersistentVolumeClaim.
	Claim string `json:"claim"`
	// Volume is the Longhorn volume.
	Volume string `json:"volume"`
	// SizeBytes is the volume's nominal size.
	SizeBytes int64     `json:"sizeBytes"`
	State     DiskState `json:"state"`
	// Snapshot is the engine snapshot that was cut for this point.
	// +optional
	Snapshot string `json:"snapshot,omitempty"`
	// Listed: Longhorn has shown the engine snapshot of a point of type Snapshot, so
	// if it does not show it any more, it was removed.
	// +optional
	Listed bool `json:"listed,omitempty"`
	// Superseded are engine snapshots of earlier points that were removed from
	// the volume when this disk was backed up.
	// +optional
	// +kubebuilder:validation:MaxItems=250
	Superseded []string `json:"superseded,omitempty"`
	// Attempt counts backups of Snapshot, from 1.
	// +optional
	Attempt int32 `json:"attempt,omitempty"`
	// Backup is the Longhorn backup of the attempt that won or runs.
	// +optional
	Backup string `json:"backup,omitempty"`
	// Incremental is true when the engine found a base for this backup.
	// +optional
	Incremental bool `json:"incremental,omitempty"`
	// UploadedBytes is what was newly written to the target, compressed.
	// +optional
	UploadedBytes *int64 `json:"uploadedBytes,omitempty"`
	// +optional
	Progress *Progress `json:"progress,omitempty"`
	// +optional
	BackingImage *BackingImage `json:"backingImage,omitempty"`
	// Shape is what a restored disk has to be like.
	// +optional
	Shape *DiskShape `json:"shape,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
}

// DiskShape is what a disk's volume and claim were like when its point was
// begun. It is recorded then, since both may be gone before the document is
// written.
type DiskShape struct {
	// NumberOfReplicas, VolumeAccessMode ("rwo", "rwx") and Migratable are those of
	// the Longhorn volume.
	// +optional
	NumberOfReplicas int `json:"numberOfReplicas,omitempty"`
	// +optional
	VolumeAccessMode string `json:"volumeAccessMode,omitempty"`
	// +optional
	Migratable bool `json:"migratable,omitempty"`
	// StorageClass, VolumeMode and AccessModes are those of the claim.
	// +optional
	StorageClass string `json:"storageClass,omitempty"`
	// +optional
	VolumeMode corev1.PersistentVolumeMode `json:"volumeMode,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=8
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
}

// VMBackupList is a list of VMBackups.
//
// +kubebuilder:object:root=true
type VMBackupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VMBackup `json:"items"`
}
