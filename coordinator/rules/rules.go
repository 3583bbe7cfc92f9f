// Package rules says what is refused of a VMBackup, a VMRestore, a BackupTarget,
// a SnapshotQuota, a VMSchedule or a deletion, and why. Each rule is written once, here: the
// admission webhook asks these functions before an object exists, the planner
// before anything is done, so that a refusal holds where the webhook is off.
//
// It is pure: the facts are values that somebody else has read. Whether a user
// may ask at all is not its business; those rights are policies that the API
// server holds by itself (deploy/policies), as are the rules on single fields
// (deploy/crds).
package rules

import (
	"fmt"
	"strings"
)

// Refusal is one reason against something.
type Refusal struct {
	// Reason is one word for programs, a reason of the condition Ready.
	Reason string
	// Sentence names the field, its value and what to do.
	Sentence string
}

// Reasons of refusals.
const (
	TargetNotFound = "TargetNotFound"
	TargetNotReady = "TargetNotReady"
	TargetInUse    = "TargetInUse"
	// TargetReadOnly and TargetNotAllowed: it takes no points, or none from here.
	TargetReadOnly   = "TargetReadOnly"
	TargetNotAllowed = "TargetNotAllowed"
	SeveralDefaults  = "SeveralDefaults"
	BackupNotFound   = "BackupNotFound"
	BackupNotReady   = "BackupNotReady"
	BackupDeleting   = "BackupDeleting"
	BackupInUse      = "BackupInUse"
	NameTaken        = "NameTaken"
	QuotaExceeded    = "QuotaExceeded"
	// Refused is what has no word of its own.
	Refused = "Refused"
)

func refusal(reason, format string, args ...any) Refusal {
	return Refusal{Reason: reason, Sentence: fmt.Sprintf(format, args...)}
}

// Sentences of refusals, as one text.
func Sentences(list []Refusal) string {
	var out []string
	for _, r := range list {
		out = append(out, r.Sentence)
	}
	return strings.Join(out, "; ")
}

// few names the first of many things for a person.
func few(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
