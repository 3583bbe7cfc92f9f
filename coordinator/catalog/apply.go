package catalog

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Intent is what a whole listing means for the cluster.
type Intent struct {
	// Make are documents of which there is no VMBackup. When one was made, the
	// document is to be Set as Known with its version.
	Make []protocol.FoundDocument
	// Missing are points whose documents were not on the target, and why they
	// count as missing.
	Missing []MissingPoint
	// Back are points that were missing and whose documents are there.
	Back []Point
	// Remove are points that may go: several listings lacked them, the target
	// said of the very document that it has none, and they are not this cluster's.
	Remove []Point
	// Unbury are forgotten points that are gone from the target: nothing can come
	// back.
	Unbury []types.UID
	// Changed and New documents since the last listing.
	New, Changed int
}

// MissingPoint is a point and why it is missing.
type MissingPoint struct {
	Point
	Why string
}

// consistencies that a VMBackup can have.
var consistencies = []v1alpha1.Consistency{
	v1alpha1.ConsistencyFrozen, v1alpha1.ConsistencyOffline, v1alpha1.ConsistencyPaused, v1alpha1.ConsistencyCrash,
	v1alpha1.ConsistencyNoAgent, v1alpha1.ConsistencyQuiesceFailed,
}

// vmName is the longest name that a VMBackup can say of its VM.
const vmName = 63

// Apply decides what a listing means, and notes in the index what needs nothing
// to be done. The facts are those of Prepare; Namespaces may be newer.
func (x *Index) Apply(f Facts, r protocol.RefreshResult) Intent {
	in := Intent{}
	x.recall(f)
	for _, k := range r.Seen {
		path, version := protocol.ParseKnown(k)
		x.Set(path, Entry{Version: version, State: Known})
	}
	for _, d := range r.Read {
		in.count(d.Changed)
		x.read(f, d, &in)
	}
	for _, d := range r.Faults {
		x.fault(f, d, &in)
	}
	x.gone(f, r, &in)
	x.back(f, &in)
	return in
}

func (in *Intent) count(changed bool) {
	if changed {
		in.Changed++
	} else {
		in.New++
	}
}

// recall brings the states of documents up to what the cluster has now.
func (x *Index) recall(f Facts) {
	for path, e := range x.entries {
		_, uid := split(path)
		_, point := f.Points[path]
		switch {
		case point && (e.State == Forgotten || e.State == Waiting):
			e.State, e.Why = Known, ""
			x.Set(path, e)
		case !point && !x.settled(path, e, f):
			x.Drop(path)
		case !point && e.State == Known && f.Forgotten[uid]:
			e.State = Forgotten
			x.Set(path, e)
		}
	}
}

func (x *Index) read(f Facts, d protocol.FoundDocument, in *Intent) {
	point, have := f.Points[d.Path]
	e := Entry{Version: d.Version}
	switch {
	case have && point.Found && !point.Deleting && point.Digest != d.Digest && d.Origin.MadeBy != "":
		// Harvester writes its files anew, which have no digest of their own.
		in.Make = append(in.Make, d)
		return
	case have && point.Digest != "" && point.Digest != d.Digest:
		e.State, e.Why = Faulty, fmt.Sprintf("it was exchanged: its digest is %s, and VMBackup %s/%s recorded %s", d.Digest, point.Namespace, point.Name, point.Digest)
	case have:
		e.State = Known
	case f.Forgotten[d.Point.UID]:
		e.State = Forgotten
	case len(d.Origin.VM) > vmName:
		e.State, e.Why = Faulty, fmt.Sprintf("the name of its VM has %d characters, more than the %d that a VMBackup can name", len(d.Origin.VM), vmName)
	case !slices.Contains(consistencies, d.Consistency):
		e.State, e.Why = Faulty, fmt.Sprintf("its consistency %.80q is none that this version knows", d.Consistency)
	case len(validation.IsValidLabelValue(d.Origin.VM)) > 0:
		e.State, e.Why = Faulty, "the name of its VM is not one"
	default:
		if why := refuses(f, d.Point.Namespace); why != "" {
			e.State, e.Why = Waiting, why
			break
		}
		in.Make = append(in.Make, d)
		return
	}
	x.Set(d.Path, e)
}

func (x *Index) fault(f Facts, d protocol.FaultyDocument, in *Intent) {
	if d.Version == "" {
		return // it is looked at again
	}
	in.count(d.Changed)
	state := Faulty
	if d.Reason == protocol.Removing {
		state = Removing
		if p, ok := f.Points[d.Path]; ok && canMiss(p) && p.Phase != v1alpha1.BackupMissing {
			in.Missing = append(in.Missing, MissingPoint{p, "its deletion has begun on the target: it cannot be restored any more"})
		}
	}
	x.Set(d.Path, Entry{Version: d.Version, State: state, Why: d.Message})
}

// gone looks at what was known and was not listed.
func (x *Index) gone(f Facts, r protocol.RefreshResult, in *Intent) {
	missing := map[string]bool{}
	for _, path := range r.Gone {
		missing[path] = true
		e := x.entries[path]
		if e.missed++; r.Listed == 0 {
			// A bucket that was made anew looks like that, and a mount that is not
			// there: nothing goes because of it.
			e.missed = min(e.missed, goneAfter-1)
		}
		p, have := f.Points[path]
		absent := slices.Contains(r.Absent, path)
		switch {
		case !have && e.missed < goneAfter && e.State != Waiting && e.State != Faulty:
			x.entries[path] = e
		case !have:
			if e.State == Forgotten && absent {
				_, uid := split(path)
				in.Unbury = append(in.Unbury, uid)
			}
			x.Drop(path)
		case canMiss(p):
			if e.Version == "" {
				e.State = Known
			}
			x.entries[path] = e
			x.missed(p, path, e, absent, in)
		}
	}
	for path, e := range x.entries {
		if e.missed > 0 && !missing[path] {
			e.missed = 0
			x.entries[path] = e
		}
	}
}

func (x *Index) missed(p Point, path string, e Entry, absent bool, in *Intent) {
	switch {
	case p.Found && e.missed >= goneAfter && absent:
		in.Remove = append(in.Remove, p)
		x.Drop(path)
	case p.Phase == v1alpha1.BackupMissing:
	case e.missed >= missingAfter:
		in.Missing = append(in.Missing, MissingPoint{p, "its document is not on the target any more: somebody else removed it, or the target was exchanged"})
	}
}

// back finds missing points whose documents are there again.
func (x *Index) back(f Facts, in *Intent) {
	for path, p := range f.Points {
		e, ok := x.entries[path]
		if p.Phase == v1alpha1.BackupMissing && !p.Deleting && ok && e.missed == 0 && e.State == Known {
			in.Back = append(in.Back, p)
		}
	}
}

// canMiss: the point's document has to be on the target.
func canMiss(p Point) bool {
	return !p.Deleting && (p.Phase == v1alpha1.BackupReady || p.Phase == v1alpha1.BackupMissing)
}
