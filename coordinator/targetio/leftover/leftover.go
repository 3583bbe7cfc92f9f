// Package leftover decides what on a target nobody needs any more: backups whose
// transfer never ended, data that no document names, and drafts of points that
// are gone. It is pure; listing, reading and removing are its caller's.
//
// A target is shared. Nothing of a point that another cluster has, or may be
// taking, is ever to be removed, and nothing that Hayloft has not made.
package leftover

import (
	"fmt"
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/names"
)

var backupName = regexp.MustCompile(`^` + names.Prefix + `([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-a[0-9]+-.+$`)

// PointOf is the point that a Longhorn backup was made for, "" for one that
// Hayloft has not made.
func PointOf(backup string) types.UID {
	if m := backupName.FindStringSubmatch(backup); m != nil {
		return types.UID(m[1])
	}
	return ""
}

// Document is what is known of the document of a point.
type Document struct {
	// Exists, or a Removal in its place.
	Exists bool
	// Read: Cluster is whose it is, and Named the backups that it names.
	Read    bool
	Cluster types.UID
	Named   map[string]bool
}

// Facts are what there is about a point of which something lies on the target.
type Facts struct {
	// Own is this cluster.
	Own types.UID
	// Living: this cluster has a VMBackup of it, which looks after it itself.
	Living bool
	// Document and Draft; Drafter is the cluster of the draft, "" for one that
	// cannot be read.
	Document Document
	Draft    bool
	Drafter  types.UID
	// Age since it was last written.
	Age, MinAge time.Duration
}

// Verdict is what something on a target is.
type Verdict struct {
	// Kind is empty for what is no leftover.
	Kind protocol.LeftoverKind
	// Keep is why it is not to be removed; empty: it may be.
	Keep string
}

// Backup judges a backup that no VMBackup of this cluster names.
func Backup(f Facts, backup string, inProgress bool) Verdict {
	kind := protocol.LeftNoDocument
	if inProgress {
		kind = protocol.LeftInProgress
	}
	switch {
	case f.Living:
		return Verdict{}
	case PointOf(backup) == "" && !inProgress:
		return Verdict{} // a backup of Longhorn's own is nobody's leftover
	case PointOf(backup) == "":
		return Verdict{kind, "Hayloft has not made it: see Longhorn's own list of backups"}
	case f.Document.Exists && !f.Document.Read:
		return Verdict{} // it is being removed, or cannot be read, and is told of as such
	case f.Document.Exists && f.Document.Named[backup]:
		return Verdict{}
	case f.Document.Exists && f.Document.Cluster != f.Own:
		return Verdict{kind, "it is of a point of cluster " + string(f.Document.Cluster)}
	case f.Draft && f.Drafter != f.Own:
		return Verdict{kind, drafted(f)}
	}
	return Verdict{kind, young(f)}
}

// Draft judges the draft of a point.
func Draft(f Facts) Verdict {
	switch {
	case f.Living || f.Age < f.MinAge:
		return Verdict{}
	case f.Drafter != f.Own:
		return Verdict{protocol.LeftDraft, drafted(f)}
	}
	return Verdict{Kind: protocol.LeftDraft}
}

func drafted(f Facts) string {
	if f.Drafter == "" {
		return "its draft cannot be read, so nobody knows whose it is"
	}
	return "cluster " + string(f.Drafter) + " may be taking this point"
}

func young(f Facts) string {
	if f.Age < f.MinAge {
		return fmt.Sprintf("it was written less than %s ago: somebody may be writing it", f.MinAge)
	}
	return ""
}
