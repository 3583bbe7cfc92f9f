package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NodeJob is one piece of work for one agent. The coordinator makes, assigns
// and deletes it; the agent of its node writes its status. It holds references
// only, never a secret.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=hj
// +kubebuilder:subresource:status
// +kubebuilder:selectablefield:JSONPath=`.spec.nodeName`
// +kubebuilder:printcolumn:name="For",type=string,JSONPath=`.spec.owner.name`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.nodeName`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   NodeJobSpec   `json:"spec"`
	Status NodeJobStatus `json:"status,omitempty"`
}

// NodeJobSpec is the work. Only nodeName ever changes: it is empty until the
// job is assigned, and names another node when the former agent is gone.
//
// +kubebuilder:validation:XValidation:rule="[has(self.cut), has(self.backup), has(self.restore), has(self.clone), has(self.removeSnapshots)].filter(x, x).size() == 1",message="exactly one of spec.cut, spec.backup, spec.restore, spec.clone and spec.removeSnapshots must be set"
// +kubebuilder:validation:XValidation:rule="self.owner == oldSelf.owner && self.deadlineSeconds == oldSelf.deadlineSeconds && has(self.vm) == has(oldSelf.vm) && (!has(self.vm) || self.vm == oldSelf.vm) && has(self.cut) == has(oldSelf.cut) && (!has(self.cut) || self.cut == oldSelf.cut) && has(self.backup) == has(oldSelf.backup) && (!has(self.backup) || self.backup == oldSelf.backup) && has(self.restore) == has(oldSelf.restore) && (!has(self.restore) || self.restore == oldSelf.restore) && has(self.clone) == has(oldSelf.clone) && (!has(self.clone) || self.clone == oldSelf.clone) && has(self.removeSnapshots) == has(oldSelf.removeSnapshots) && (!has(self.removeSnapshots) || self.removeSnapshots == oldSelf.removeSnapshots)",message="a job's work is immutable; only spec.nodeName may change"
type NodeJobSpec struct {
	// NodeName is the node whose agent is to do the work; empty: not assigned.
	// +kubebuilder:default=""
	NodeName string          `json:"nodeName"`
	Owner    ObjectReference `json:"owner"`
	// VM is the VirtualMachine in the owner's namespace whose disks are worked
	// on: when it starts, it gets them at once. Empty: those of no VM.
	// +optional
	VM string `json:"vm,omitempty"`
	// DeadlineSeconds bounds the work of one agent, counted from its claim on
	// its own monotonic clock.
	// +kubebuilder:validation:Minimum=1
	DeadlineSeconds int64 `json:"deadlineSeconds"`

	// +optional
	Cut *CutJob `json:"cut,omitempty"`
	// +optional
	Backup *BackupJob `json:"backup,omitempty"`
	// +optional
	Restore *RestoreJob `json:"restore,omitempty"`
	// +optional
	Clone *CloneJob `json:"clone,omitempty"`
	// +optional
	RemoveSnapshots *RemoveSnapshotsJob `json:"removeSnapshots,omitempty"`
}

// CutJob cuts one engine snapshot of every disk of a VM in one window.
type CutJob struct {
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Disks []CutDisk `json:"disks"`
	// WindowMilliseconds is the longest time between the first snapshot asked
	// for and the last one cut that still counts as one moment.
	// +kubebuilder:validation:Minimum=1
	WindowMilliseconds int64 `json:"windowMilliseconds"`
	// Guest is the running VM to freeze or pause around the cut; nil: none is.
	// +optional
	Guest *CutGuest `json:"guest,omitempty"`
}

// CutGuest is the guest of the VM whose disks are cut.
type CutGuest struct {
	Namespace string `json:"namespace"`
	// VM is the name of the VirtualMachine and of its instance.
	VM string `json:"vm"`
	// VMUID is the VirtualMachine's UID: an instance of another VM of that name
	// is not frozen.
	VMUID  types.UID     `json:"vmUID"`
	Policy QuiescePolicy `json:"policy"`
	// Method as in Quiesce.
	// +optional
	Method QuiesceMethod `json:"method,omitempty"`
	// DeadlineSeconds as in Quiesce.
	// +kubebuilder:validation:Minimum=1
	DeadlineSeconds int32 `json:"deadlineSeconds"`
}

// CutDisk is one disk to cut.
type CutDisk struct {
	// Name of the volume in the VM's spec.
	Name string `json:"name"`
	// Volume is the Longhorn volume.
	Volume string `json:"volume"`
}

// BackupJob moves one snapshot to a target.
type BackupJob struct {
	Disk     string `json:"disk"`
	Volume   string `json:"volume"`
	Snapshot string `json:"snapshot"`
	// Backup is this attempt's name, used once.
	Backup string `json:"backup"`
	Target string `json:"target"`
	// +optional
	BackingImage *BackingImage `json:"backingImage,omitempty"`
	// Labels are stored with the backup on the target.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Superseded are engine snapshots of earlier points of this volume that no
	// incremental needs any more. They are removed along with the backup; that
	// this could not be done does not fail it.
	// +optional
	// +kubebuilder:validation:MaxItems=250
	Superseded []string `json:"superseded,omitempty"`
	// Elsewhere are backups of the volume to other targets, or to this one before it
	// was changed, that a replica may still be at work on: it would go on with this
	// target's credentials.
	// +optional
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	Elsewhere []string `json:"elsewhere,omitempty"`
}

// RestoreJob fills one fresh volume, made for this attempt, from a backup.
type RestoreJob struct {
	Disk      string    `json:"disk"`
	Volume    string    `json:"volume"`
	VolumeUID types.UID `json:"volumeUID"`
	SizeBytes int64     `json:"sizeBytes"`
	Attempt   int32     `json:"attempt"`
	Target    string    `json:"target"`
	// SourceVolume and Backup name the Longhorn backup on the target.
	SourceVolume string `json:"sourceVolume"`
	Backup       string `json:"backup"`
}

// CloneJob fills one fresh volume, made for this attempt, from an engine
// snapshot of another volume in the cluster.
type CloneJob struct {
	Disk      string    `json:"disk"`
	Volume    string    `json:"volume"`
	VolumeUID types.UID `json:"volumeUID"`
	SizeBytes int64     `json:"sizeBytes"`
	Attempt   int32     `json:"attempt"`
	// SourceVolume and Snapshot are what is cloned; the source may be detached.
	SourceVolume string `json:"sourceVolume"`
	Snapshot     string `json:"snapshot"`
}

// RemoveSnapshotsJob removes engine snapshots of one volume and purges them.
type RemoveSnapshotsJob struct {
	Volume string `json:"volume"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=250
	Snapshots []string `json:"snapshots"`
}

// JobState is where a NodeJob is.
//
// +kubebuilder:validation:Enum="";Running;Succeeded;Failed
type JobState string

// The states of a NodeJob. The empty state means: not claimed.
const (
	JobPending   JobState = ""
	JobRunning   JobState = "Running"
	JobSucceeded JobState = "Succeeded"
	JobFailed    JobState = "Failed"
)

// Reasons of a failed job. Retryable ones are tried again by the coordinator,
// under a new attempt name.
const (
	ReasonDeadlineExceeded   = "DeadlineExceeded"   // the job's deadline passed
	ReasonStalled            = "Stalled"            // no progress for the stall limit
	ReasonEngineError        = "EngineError"        // the engine or replica said no; message holds its words
	ReasonTargetError        = "TargetError"        // the engine could not work with the target
	ReasonEngineUnavailable  = "EngineUnavailable"  // volume not attached, no engine, no RW replica
	ReasonTransferLost       = "TransferLost"       // the process that moved the data is gone
	ReasonCutWindowExceeded  = "CutWindowExceeded"  // the disks could not be cut in one window
	ReasonSnapshotMissing    = "SnapshotMissing"    // the snapshot to back up is not on the replica
	ReasonVolumeNotFresh     = "VolumeNotFresh"     // a restore target already holds something, or is not the attempt's volume
	ReasonReplicasDiffer     = "ReplicasDiffer"     // after a restore not every replica holds the same backup
	ReasonFrontendDown       = "FrontendDown"       // a snapshot asked of an engine without front end would crash it
	ReasonVolumeNotSupported = "VolumeNotSupported" // data engine v2
	ReasonVolumeWanted       = "VolumeWanted"       // a workload wants the volume, took it elsewhere or let go of it: our attachment gave way, or the engine ended; however often, it is no failed attempt
	ReasonSnapshotLimit      = "SnapshotLimit"      // the volume has as many snapshots as Longhorn allows
	ReasonQuiesceFailed      = "QuiesceFailed"      // the guest could not be frozen, and the point requires it
	ReasonHookFailed         = "HookFailed"         // a hook of the VM failed, and the VM says that a point fails with it
	ReasonVolumeGone         = "VolumeGone"         // the volume does not exist any more
	ReasonInvalidJob         = "InvalidJob"         // the job names something that does not exist or makes no sense
)

// NodeJobStatus is what the agent reports.
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.epochs) || (has(self.epochs) && oldSelf.epochs.all(v, v in self.epochs && self.epochs[v] >= oldSelf.epochs[v]))",message="status with an older lease epoch than the stored one is refused: the volume has another owner"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.state) || !(oldSelf.state in ['Succeeded', 'Failed']) || self.state == oldSelf.state",message="a finished job stays finished"
type NodeJobStatus struct {
	// +optional
	State JobState `json:"state,omitempty"`
	// Session is the agent session that works on it.
	// +optional
	Session string `json:"session,omitempty"`
	// Epochs are the lease epochs under which this status was written,
	// volume -> epoch. They never go down.
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	Epochs map[string]int64 `json:"epochs,omitempty"`
	// ClaimedAt is when the first agent took the job.
	// +optional
	ClaimedAt *metav1.Time `json:"claimedAt,omitempty"`
	// +optional
	CompletedAt *metav1.Time `json:"completedAt,omitempty"`
	// Reason is one of the Reason constants when the job failed.
	// +optional
	Reason string `json:"reason,omitempty"`
	// Message is for people: what is waited for, or what failed and why.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Message string `json:"message,omitempty"`
	// Retryable: a new attempt may succeed.
	// +optional
	Retryable bool `json:"retryable,omitempty"`

	// +optional
	Cut *CutStatus `json:"cut,omitempty"`
	// +optional
	Transfer *TransferStatus `json:"transfer,omitempty"`
	// +optional
	Record *RestoreRecord `json:"record,omitempty"`
}

// CutStatus is the progress and result of a CutJob.
type CutStatus struct {
	// Number of the current cut, from 1. It is written before the first
	// snapshot is asked for, so that no number is used twice.
	Number int32 `json:"number"`
	// StartedAt is when the first snapshot of the cut that counts was asked for.
	// +optional
	StartedAt *metav1.MicroTime `json:"startedAt,omitempty"`
	// WindowMicroseconds is the time from there to the last snapshot cut.
	// +optional
	WindowMicroseconds int64 `json:"windowMicroseconds,omitempty"`
	// Consistency that was reached, with ConsistencyMessage on why no better and on
	// what else was paused.
	// +optional
	Consistency Consistency `json:"consistency,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	ConsistencyMessage string `json:"consistencyMessage,omitempty"`
	// FrozenMicroseconds is how long the guest was frozen, or paused, or what else has
	// the disks of a VM that does not run.
	// +optional
	FrozenMicroseconds int64 `json:"frozenMicroseconds,omitempty"`
	// GuestNode is where the VM runs, or what has the disks of one that does not,
	// while the agent there alone can bring that to the rest that is required, or run
	// its hooks, and another agent has the job.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	GuestNode string `json:"guestNode,omitempty"`
	// Hooks of the VM that were run around the cuts.
	// +optional
	// +kubebuilder:validation:MaxItems=2
	Hooks []HookStatus `json:"hooks,omitempty"`
	// Snapshots of the cut that counts, disk name -> engine snapshot name;
	// set only when the job succeeded.
	// +optional
	Snapshots map[string]string `json:"snapshots,omitempty"`
}

// TransferStatus is the progress of a backup, restore or clone.
type TransferStatus struct {
	// Replica is the address of the replica that moves a backup's data, or of
	// the source's replica that a clone is copied from.
	// +optional
	Replica string `json:"replica,omitempty"`
	// Started is written before the engine is asked to move anything, so that
	// the next owner knows that this attempt's names may be in use.
	// +optional
	Started bool `json:"started,omitempty"`
	// EngineAddress is where the engine stood when a restore or clone was
	// started; an engine at another address since then was restarted.
	// +optional
	EngineAddress string `json:"engineAddress,omitempty"`
	// SnapshotCreated is when the snapshot that is cloned was cut, as the
	// source's replica says it. It tells that the source still has just that.
	// +optional
	SnapshotCreated string `json:"snapshotCreated,omitempty"`
	// Incremental is true when the engine found a base.
	// +optional
	Incremental bool `json:"incremental,omitempty"`
	// SupersededRemoved: every snapshot of a BackupJob's superseded is removed
	// and its blocks are merged.
	// +optional
	SupersededRemoved bool `json:"supersededRemoved,omitempty"`
	// +optional
	Progress *Progress `json:"progress,omitempty"`
}

// RestoreRecord is what the agent saw of a finished restore or clone, on which
// alone a volume is given to a PV or a VM. Every replica of the volume must be in
// it.
//
// +kubebuilder:validation:XValidation:rule="has(self.backup) != has(self.snapshot)",message="a record is of a backup or of a snapshot"
type RestoreRecord struct {
	Attempt   int32     `json:"attempt"`
	VolumeUID types.UID `json:"volumeUID"`
	// Engine is the Longhorn Engine object's name; EngineUID its UID.
	Engine    string    `json:"engine"`
	EngineUID types.UID `json:"engineUID"`
	// EngineAddress is the gRPC address at which the engine stood from before
	// the restore began until it was recorded.
	EngineAddress string `json:"engineAddress"`
	// Backup that was restored.
	// +optional
	Backup string `json:"backup,omitempty"`
	// Snapshot that was cloned. The source still had it, as it was cut at
	// SnapshotCreated, when the clone had ended.
	// +optional
	Snapshot string `json:"snapshot,omitempty"`
	// +optional
	SnapshotCreated string `json:"snapshotCreated,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Replicas []ReplicaRecord `json:"replicas"`
	// RecordedAt is the last moment, before detaching, at which all of this
	// was read from the replicas.
	RecordedAt metav1.Time `json:"recordedAt"`
}

// ReplicaRecord is one replica's own word on what it restored or cloned.
type ReplicaRecord struct {
	// Name of the Longhorn Replica object.
	Name    string `json:"name"`
	Address string `json:"address"`
	// LastRestored is the backup name that the replica itself reports.
	// +optional
	LastRestored string `json:"lastRestored,omitempty"`
	// Cloned is the snapshot that the replica itself reports as cloned without
	// an error, and that is all it holds below an empty head.
	// +optional
	Cloned string `json:"cloned,omitempty"`
}

// NodeJobList is a list of NodeJobs.
//
// +kubebuilder:object:root=true
type NodeJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeJob `json:"items"`
}
