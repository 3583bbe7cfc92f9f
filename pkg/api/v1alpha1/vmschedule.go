package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VMSchedule makes points of a virtual machine, or of each one that a selector
// picks, at the times of a cron expression, and removes the old ones again. Its
// points are VMBackups of their own: they stay when the schedule is deleted.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=hs
// +kubebuilder:subresource:status
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name must be at most 63 characters"
// +kubebuilder:printcolumn:name="Cron",type=string,JSONPath=`.spec.cron`
// +kubebuilder:printcolumn:name="Zone",type=string,JSONPath=`.spec.timeZone`,priority=1
// +kubebuilder:printcolumn:name="VM",type=string,JSONPath=`.spec.vm`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.target`
// +kubebuilder:printcolumn:name="Suspended",type=boolean,JSONPath=`.spec.suspend`
// +kubebuilder:printcolumn:name="Last good",type=date,JSONPath=`.status.lastSuccessTime`
// +kubebuilder:printcolumn:name="Next",type=string,JSONPath=`.status.nextTime`
// +kubebuilder:printcolumn:name="Failures",type=integer,JSONPath=`.status.consecutiveFailures`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VMSchedule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   VMScheduleSpec   `json:"spec"`
	Status VMScheduleStatus `json:"status,omitempty"`
}

// PointsPolicy says what deleting a VMSchedule does to its points.
//
// +kubebuilder:validation:Enum=Retain;Delete
type PointsPolicy string

// The policies for the points of a deleted schedule.
const (
	PointsRetain PointsPolicy = "Retain" // they stay, and still say where they came from
	PointsDelete PointsPolicy = "Delete" // they are deleted, but for pinned ones
)

// VMScheduleSpec says of which VMs points are made, when, and how long they are
// kept. Everything but the source (VM, selector, type) may be changed at any time.
//
// +kubebuilder:validation:XValidation:rule="has(self.vm) != has(self.selector)",message="exactly one of spec.vm and spec.selector must be set"
// +kubebuilder:validation:XValidation:rule="has(self.vm) == has(oldSelf.vm) && (!has(self.vm) || self.vm == oldSelf.vm)",message="spec.vm is immutable: create another VMSchedule"
// +kubebuilder:validation:XValidation:rule="has(self.selector) == has(oldSelf.selector) && (!has(self.selector) || self.selector == oldSelf.selector)",message="spec.selector is immutable: create another VMSchedule"
// +kubebuilder:validation:XValidation:rule="self.type == oldSelf.type",message="spec.type is immutable: create another VMSchedule"
// +kubebuilder:validation:XValidation:rule="self.type == 'Snapshot' || has(self.target)",message="spec.target is required for type Backup: name a BackupTarget, or have one be the default (its spec.default)"
// +kubebuilder:validation:XValidation:rule="self.type != 'Snapshot' || !has(self.target)",message="spec.target does not belong to type Snapshot, which stays in the cluster: remove it"
// +kubebuilder:validation:XValidation:rule="self.type != 'Snapshot' || self.deletionPolicy == 'Delete'",message="spec.deletionPolicy Retain does not belong to type Snapshot: an engine snapshot without its point could never be restored"
// +kubebuilder:validation:XValidation:rule="self.type != 'Snapshot' || !has(self.resumeAfterTargetReadySeconds)",message="spec.resumeAfterTargetReadySeconds does not belong to type Snapshot, which has no target: remove it"
// +kubebuilder:validation:XValidation:rule="has(self.vm) || !has(self.includeDisks) && !has(self.excludeDisks)",message="spec.includeDisks and spec.excludeDisks only go with spec.vm: the VMs of a selector have disks of different names"
// +kubebuilder:validation:XValidation:rule="!(has(self.includeDisks) && has(self.excludeDisks))",message="spec.includeDisks and spec.excludeDisks exclude each other: set one of them"
// +kubebuilder:validation:XValidation:rule="self.maxFailures < self.retention.keepLast",message="spec.maxFailures must be lower than spec.retention.keepLast"
type VMScheduleSpec struct {
	// Cron is when: five fields (minute, hour, day of month, month, day of
	// week), or @hourly, @daily, @weekly, @monthly, @yearly, or "@every 6h".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Cron string `json:"cron"`
	// TimeZone is the IANA name of the zone that the fields are read in.
	// +kubebuilder:default=UTC
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`

	// VM is the name of a VirtualMachine in the same namespace.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	VM string `json:"vm,omitempty"`
	// Selector picks VirtualMachines of the namespace by their labels, anew for
	// each run; {} is all of them.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// Type of the points.
	// +kubebuilder:default=Backup
	Type BackupType `json:"type,omitempty"`
	// Target is the name of a BackupTarget; of type Backup only. Where it is left
	// out, it becomes that of the default target when the object is created.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Target string `json:"target,omitempty"`
	// IncludeDisks and ExcludeDisks are as in VMBackup.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	IncludeDisks []string `json:"includeDisks,omitempty"`
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	ExcludeDisks []string `json:"excludeDisks,omitempty"`
	// Quiesce is given to the points.
	// +kubebuilder:default={policy: "BestEffort", deadlineSeconds: 10}
	Quiesce Quiesce `json:"quiesce,omitempty"`
	// DeletionPolicy is given to the points. With Retain those that retention
	// removes leave their data on the target.
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Retention says which points are kept, for each VM by itself.
	// +kubebuilder:default={keepLast: 8, minGood: 1}
	Retention Retention `json:"retention,omitempty"`
	// MaxFailures is how many runs may fail one after the other before the
	// schedule is suspended. A run has failed when none of its points is Ready.
	// +kubebuilder:default=4
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=249
	MaxFailures int32 `json:"maxFailures,omitempty"`
	// Suspend keeps runs from beginning; those under way go on. Setting it back
	// to false resumes: the count of failures begins anew, and one run at most
	// is made up for.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
	// StartingDeadlineSeconds is how late a run may begin. One that is later is
	// not made up for but counted as missed; without a deadline the latest
	// missed run always is. With one, runs of less than a minute ago are all
	// made, for schedules that run each few seconds; and a point of a run that has
	// begun, which nobody made for as long after its time, is skipped.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	StartingDeadlineSeconds *int64 `json:"startingDeadlineSeconds,omitempty"`
	// JitterSeconds spreads runs: the point of each VM is made up to so many
	// seconds after the nominal time, by an offset that stays the same.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	JitterSeconds int32 `json:"jitterSeconds,omitempty"`
	// SpacingOverride lets this schedule break the rules on how close runs may
	// be to each other and to those of other schedules.
	// +optional
	SpacingOverride *SpacingOverride `json:"spacingOverride,omitempty"`
	// ResumeAfterTargetReadySeconds has a schedule that was suspended because of
	// failures resumed by itself, when its target failed meanwhile and has been
	// Ready again for so long. Left out: only a person resumes it.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	ResumeAfterTargetReadySeconds *int32 `json:"resumeAfterTargetReadySeconds,omitempty"`
	// PointsOnDelete says what deleting this schedule does to its points.
	// +kubebuilder:default=Retain
	PointsOnDelete PointsPolicy `json:"pointsOnDelete,omitempty"`
}

// SpacingOverride is an exception from the rules on spacing, on record.
type SpacingOverride struct {
	// Reason says why it is needed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason"`
}

// Retention says which points of a VM a schedule keeps. A point is kept when any
// of these wants it, and in any case while it is pinned or in use. Points that
// failed go first.
//
// +kubebuilder:validation:XValidation:rule="self.minGood <= self.keepLast",message="spec.retention.minGood must not be higher than spec.retention.keepLast"
type Retention struct {
	// KeepLast are the newest points. The bounds are Harvester's.
	// +kubebuilder:default=8
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=250
	KeepLast int32 `json:"keepLast,omitempty"`
	// KeepHourly and those below keep the newest point of each of so many hours,
	// days, weeks, months and years that have one, in the schedule's time zone.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	KeepHourly int32 `json:"keepHourly,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	KeepDaily int32 `json:"keepDaily,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	KeepWeekly int32 `json:"keepWeekly,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	KeepMonthly int32 `json:"keepMonthly,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	KeepYearly int32 `json:"keepYearly,omitempty"`
	// MinGood is the number of Ready points below which nothing Ready is removed.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=250
	MinGood int32 `json:"minGood,omitempty"`
}

// VMScheduleStatus is what became of a schedule's runs.
type VMScheduleStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Timetable is the expression in force.
	// +optional
	Timetable *Timetable `json:"timetable,omitempty"`
	// LastNominalTime is the latest nominal time that was dealt with: run,
	// skipped or missed. It is recorded before the first point of that run is
	// made, never goes back, and nothing at or before it is run again. Only a
	// change of cron or timeZone takes one away that is later than the clock shows.
	// +optional
	LastNominalTime *metav1.Time `json:"lastNominalTime,omitempty"`
	// NextTime is the next nominal time; none while the schedule is suspended.
	// +optional
	NextTime *metav1.Time `json:"nextTime,omitempty"`
	// LastSuccessTime is when a run last ended with a Ready point.
	// +optional
	LastSuccessTime *metav1.Time `json:"lastSuccessTime,omitempty"`
	// ConsecutiveFailures counts the runs that failed since one was good or the
	// schedule was resumed.
	// +optional
	ConsecutiveFailures int32 `json:"consecutiveFailures,omitempty"`
	// FailingSince is the nominal time of the first of them.
	// +optional
	FailingSince *metav1.Time `json:"failingSince,omitempty"`
	// SkippedRuns counts runs of one VM that were left out: its earlier one of
	// this schedule was still going, or the schedule was suspended, or the
	// starting deadline passed, before the point was made.
	// +optional
	SkippedRuns int64 `json:"skippedRuns,omitempty"`
	// MissedRuns counts nominal times that passed without a run: while nobody
	// could run it or it was suspended, or beyond the starting deadline.
	// +optional
	MissedRuns int64 `json:"missedRuns,omitempty"`
	// Runs are those that have not ended.
	// +optional
	// +listType=map
	// +listMapKey=nominalTime
	// +kubebuilder:validation:MaxItems=1000
	Runs []ScheduleRun `json:"runs,omitempty"`
	// LastRun is the one that ended last.
	// +optional
	LastRun *ScheduleResult `json:"lastRun,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Timetable is an expression and since when it holds: of the times before that
// none is made up for.
type Timetable struct {
	Cron     string      `json:"cron"`
	TimeZone string      `json:"timeZone"`
	Since    metav1.Time `json:"since"`
}

// ScheduleRun is a run that was begun and has not ended.
type ScheduleRun struct {
	NominalTime metav1.Time `json:"nominalTime"`
	// BeganAt is when it was begun: late where it had been missed.
	BeganAt metav1.Time `json:"beganAt"`
	// SpreadSeconds is the time from BeganAt over which its points are made.
	// +optional
	SpreadSeconds int32 `json:"spreadSeconds,omitempty"`
	// Pending are the VMs whose points are still to be made.
	// +optional
	// +kubebuilder:validation:MaxItems=10000
	Pending []string `json:"pending,omitempty"`
	// Points is the number of points that were made, Refused of those that the
	// API server did not take, for the reason in Message.
	// +optional
	Points int32 `json:"points,omitempty"`
	// +optional
	Refused int32 `json:"refused,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// ScheduleResult is how a run ended.
type ScheduleResult struct {
	NominalTime metav1.Time `json:"nominalTime"`
	EndedAt     metav1.Time `json:"endedAt"`
	// Ready and Failed are numbers of points.
	// +optional
	Ready int32 `json:"ready,omitempty"`
	// +optional
	Failed int32 `json:"failed,omitempty"`
	// Message says why points failed.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// VMScheduleList is a list of VMSchedules.
//
// +kubebuilder:object:root=true
type VMScheduleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VMSchedule `json:"items"`
}
