// Package status reads what a VMBackup or VMRestore says about itself into one
// form, for everything that shows it. It is pure.
package status

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Status of one backup or restore.
type Status struct {
	Phase string
	// Why says in a sentence what is being done or waited for, "" when the
	// coordinator has not said.
	Why   string
	Disks []Disk
	// Done and Total are bytes over all disks.
	Done, Total int64
	// Ended is true in a final phase; Failed tells which one, and Cause is then
	// a sentence.
	Ended, Failed bool
	Cause         string
}

// Disk of a backup or restore.
type Disk struct {
	Name  string
	State v1alpha1.DiskState
	// Done and Total are bytes; Total is 0 until it is known.
	Done, Total int64
	Attempt     int32
	Message     string
}

// OfBackup reads a VMBackup.
func OfBackup(b *v1alpha1.VMBackup) Status {
	s := Status{Phase: string(b.Status.Phase)}
	for _, d := range b.Status.Disks {
		s.Disks = append(s.Disks, disk(d.Name, d.State, d.Progress, d.Attempt, d.Message))
	}
	switch b.Status.Phase {
	case v1alpha1.BackupFailed, v1alpha1.BackupDataLost, v1alpha1.BackupMissing, v1alpha1.BackupDamaged:
		s.Failed = true
	}
	s.Ended = s.Failed || b.Status.Phase == v1alpha1.BackupReady
	return s.finish(b.Status.Conditions, b.Status.Progress)
}

// OfRestore reads a VMRestore.
func OfRestore(r *v1alpha1.VMRestore) Status {
	s := Status{Phase: string(r.Status.Phase)}
	for _, d := range r.Status.Disks {
		s.Disks = append(s.Disks, disk(d.Name, d.State, d.Progress, d.Attempt, d.Message))
	}
	s.Ended = r.Status.Phase == v1alpha1.RestoreReady || r.Status.Phase == v1alpha1.RestoreFailed
	s.Failed = r.Status.Phase == v1alpha1.RestoreFailed
	return s.finish(r.Status.Conditions, r.Status.Progress)
}

func disk(name string, state v1alpha1.DiskState, p *v1alpha1.Progress, attempt int32, message string) Disk {
	d := Disk{Name: name, State: state, Attempt: attempt, Message: message}
	if p != nil {
		d.Done, d.Total = p.BytesDone, p.BytesTotal
	}
	if state == v1alpha1.DiskDone {
		d.Done = d.Total
	}
	return d
}

func (s Status) finish(conditions []metav1.Condition, p *v1alpha1.Progress) Status {
	if p != nil {
		s.Done, s.Total = p.BytesDone, p.BytesTotal
	} else {
		for _, d := range s.Disks {
			s.Done += d.Done
			s.Total += d.Total
		}
	}
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionProgressing); c != nil && !s.Ended {
		s.Why = c.Message
	}
	if s.Failed {
		s.Cause = cause(conditions, s.Disks)
	}
	return s
}

// cause is the reason of a failure in words: the coordinator's own, else what
// the disks say.
func cause(conditions []metav1.Condition, disks []Disk) string {
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil && c.Message != "" {
		if c.Reason == "" {
			return c.Message
		}
		return fmt.Sprintf("%s (%s)", c.Message, c.Reason)
	}
	var said []string
	for _, d := range disks {
		if d.Message != "" {
			said = append(said, fmt.Sprintf("disk %s: %s", d.Name, d.Message))
		}
	}
	if len(said) > 0 {
		return strings.Join(said, "; ")
	}
	return "no cause was given"
}
