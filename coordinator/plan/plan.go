// Package plan decides what is to be done for a VMBackup, a VMRestore and their
// deletion. Each decision is a function of a view (objects, jobs, results of
// target work, the time) and returns an intent: the new status, and what to
// create, start, delete or tell.
//
// It is pure: it holds no client, reads no clock and remembers nothing. Every
// intent is idempotent, so a leader that takes over in the middle of anything
// plans the same again from what is in the API server.
package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Config are the bounds that plans keep to.
type Config struct {
	// CutWindow is the longest time between the first and the last snapshot
	// of a point.
	CutWindow time.Duration
	// CutDeadline, TransferDeadline and RemoveDeadline bound jobs from their
	// first claim; whether a transfer moves at all is the agent's to watch.
	CutDeadline, TransferDeadline, RemoveDeadline time.Duration
	// JobGrace is added to a job's deadline before it is given up here, for an
	// agent that could not report.
	JobGrace time.Duration
	// PointDeadline bounds a whole backup or restore.
	PointDeadline time.Duration
	// Attempts per disk, and the time before the second one; each further one
	// waits four times longer, up to RetryMax.
	Attempts             int32
	RetryAfter, RetryMax time.Duration
	// WantedPatience is how long a disk is tried again of which nothing could be
	// moved because its VM wanted it. Such attempts count for nothing else.
	WantedPatience time.Duration
	// RemoveAttempts to remove engine snapshots before they are left behind.
	RemoveAttempts int32
	// SupersededRest is how long the engine snapshots of a superseded point
	// wait for the next backup of their volumes, which removes them without a
	// job of their own.
	SupersededRest time.Duration
	// WorkPatience is how long failing target work is tried again before what
	// needs it fails; clean-up work is tried for ever.
	WorkPatience time.Duration
	// WorkRetry is the first pause of work that failed; it doubles up to
	// WorkRetryMax.
	WorkRetry, WorkRetryMax time.Duration
	// ImageRetry is the time between two looks whether an image has been imported.
	ImageRetry time.Duration
	// CleanPatience is how long a failed backup or restore is shown as being
	// cleaned up before it is shown as Failed; the clean-up goes on.
	CleanPatience time.Duration
	// DeletePatience is how long the deletion of a point lets itself be held up by
	// a target or by agents, where it is not for the user to say: of a point that
	// never was whole, and of one that goes with its namespace. It is longer than
	// the 150 s that a dead process's lock on a target stands.
	DeletePatience time.Duration
	// ScheduleGrace is how long Longhorn may take to find room for a new
	// volume's replicas.
	ScheduleGrace time.Duration
	// LossGrace is how long something of a Snapshot point must be seen missing
	// before it counts as lost, and the point's VM before the point goes too: it
	// is several of the 5 s that Longhorn takes between two looks at an engine.
	LossGrace time.Duration
	// LookEvery is the time between two looks at a Snapshot point of which
	// nothing was heard.
	LookEvery time.Duration
	// RunPatience is how long a VM that was replaced may take to run before its
	// former volumes are kept after all.
	RunPatience time.Duration
	// ProbeTries is how often in a row a probe must fail in a way that may
	// pass before a backup is refused.
	ProbeTries int
}

// DefaultConfig is for production.
func DefaultConfig() Config {
	return Config{
		CutWindow:        5 * time.Second,
		CutDeadline:      15 * time.Minute, // a VM that starts or migrates is waited for
		TransferDeadline: 24 * time.Hour,
		RemoveDeadline:   2 * time.Hour,
		JobGrace:         2 * time.Minute,
		PointDeadline:    24 * time.Hour,
		Attempts:         3,
		RetryAfter:       5 * time.Second,
		RetryMax:         5 * time.Minute,
		WantedPatience:   30 * time.Minute,
		RemoveAttempts:   3,
		SupersededRest:   48 * time.Hour,
		WorkPatience:     3 * time.Minute,
		WorkRetry:        time.Second,
		WorkRetryMax:     30 * time.Second,
		ImageRetry:       5 * time.Second,
		CleanPatience:    30 * time.Second,
		DeletePatience:   3 * time.Minute,
		ScheduleGrace:    20 * time.Second,
		LossGrace:        30 * time.Second,
		LookEvery:        10 * time.Minute,
		RunPatience:      10 * time.Minute,
		ProbeTries:       2,
	}
}

// Reasons of the conditions Ready and Progressing besides those of jobs and of
// target work and of refusals.
const (
	ReasonComplete       = "Complete"
	ReasonRefused        = rules.Refused
	ReasonCancelled      = "Cancelled"
	ReasonDeadline       = "DeadlineExceeded"
	ReasonBackupNotFound = rules.BackupNotFound
	ReasonNoSpace        = "NoSpace"
	ReasonNameTaken      = rules.NameTaken
	ReasonVolumeChanged  = "VolumeChanged"
	ReasonWaiting        = "Waiting"
	ReasonWorking        = "Working"
	ReasonCleaningUp     = "CleaningUp"
	ReasonCleanedUp      = "CleanedUp"
	ReasonCleanUpGivenUp = "CleanUpGivenUp"
	ReasonDeletionHeldUp = "DeletionHeldUp"
	ReasonDataLost       = "DataLost"
	ReasonSourceDeleted  = "SourceDeleted" // what the point was to be taken of was deleted meanwhile
	ReasonMissing        = "Missing"
	ReasonFound          = "Found"
)

// Event is what a person would want to be told.
type Event struct {
	Type    string // corev1.EventTypeNormal or corev1.EventTypeWarning
	Reason  string
	Message string
}

// Actions is the part of an intent that both kinds share.
type Actions struct {
	// AddFinalizer comes before everything else, DropFinalizer after it.
	AddFinalizer, DropFinalizer bool
	// Labels to set on the object together with the finalizer.
	Labels map[string]string
	// Cosmetic: the new status only informs and may be written later.
	Cosmetic bool
	// CreateJobs and DeleteJobs come after the status was written, but see
	// RecordsLater. DropJobs deletes every job of the owner.
	CreateJobs []*v1alpha1.NodeJob
	DeleteJobs []string
	DropJobs   bool
	// Start is target work to be started.
	Start []Order
	// Probe asks for a probe of the target.
	Probe  bool
	Events []Event
	// After says when to look again though nothing happened; 0: not at all.
	After time.Duration
}

// again makes sure that the object is looked at within d.
func (a *Actions) again(d time.Duration) {
	d = max(d, 10*time.Millisecond)
	if a.After == 0 || d < a.After {
		a.After = d
	}
}

func (a *Actions) event(kind, reason, message string) {
	a.Events = append(a.Events, Event{Type: kind, Reason: reason, Message: message})
}

func (a *Actions) tell(reason, message string) { a.event(corev1.EventTypeNormal, reason, message) }
func (a *Actions) warn(reason, message string) { a.event(corev1.EventTypeWarning, reason, message) }

// backoff is the pause before try n+1, from 1: first, then factor times longer
// each time.
func backoff(first, most time.Duration, factor int, n int) time.Duration {
	d := first
	for i := 1; i < n && d < most; i++ {
		d *= time.Duration(factor)
	}
	return min(d, most)
}

// remaining is what is left of a pause that began at from. A clock that was
// set, here or where from was written, can only make it shorter than wait.
func remaining(now, from time.Time, wait time.Duration) time.Duration {
	passed := now.Sub(from)
	if passed < 0 {
		passed = 0
	}
	return max(0, wait-passed)
}
