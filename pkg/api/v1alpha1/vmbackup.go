package v1alpha1

import (
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
	// policy is Required. In the same case whatever else has its disks mounted is
	// paused, whether it has an agent or not, and also when it does not run.
	QuiesceAuto QuiesceMethod = "Auto"
	// QuiesceFreeze only freezes.
	QuiesceFreeze QuiesceMethod = "Freeze"
	// QuiescePause pauses the container in which the VM runs, also where there is
	// a guest agent, and whatever else has its disks mounted. The disks are of one moment then, but nothing was flushed.
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

// VMBackupList is a list of VMBackups.
//
// +kubebuilder:object:root=true
type VMBackupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VMBackup `json:"items"`
}
