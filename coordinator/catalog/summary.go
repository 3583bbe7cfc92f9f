package catalog

import (
	"maps"
	"slices"
	"strings"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// Names under which a found point's VMBackup is made: the first that is free, or
// is this very point's. The first is the name that it had where it was taken.
func Names(d protocol.FoundDocument) [2]string {
	const most = 63
	suffix := "-" + names.Short(string(d.Point.UID))
	name := d.Point.Name
	if len(name) > most-len(suffix) {
		name = strings.TrimRight(name[:most-len(suffix)], ".-")
	}
	return [2]string{d.Point.Name, name + suffix}
}

// Limits of what a target's status names; the API's are the same.
const (
	maxFaults  = 20
	maxWaiting = 20
)

// Summary tells what is on the target after a listing, for its status, when what
// the intent asked for was done.
func (x *Index) Summary(r protocol.RefreshResult, in Intent) (*v1alpha1.RefreshedDocuments, []v1alpha1.DocumentFault, []v1alpha1.WaitingNamespace) {
	n := &v1alpha1.RefreshedDocuments{
		Total: int64(r.Listed), Unread: int64(r.Unread), Unchanged: int64(r.Unchanged), Gone: int64(len(r.Gone)),
		New: int64(in.New), Changed: int64(in.Changed), Faulty: int64(r.Strange),
	}
	var faults []v1alpha1.DocumentFault
	for _, d := range r.Faults {
		if d.Version == "" {
			faults = append(faults, v1alpha1.DocumentFault{Path: d.Path, Message: d.Message})
			if d.Reason != protocol.Damaged {
				n.Faulty++ // one that could not be read; the strange are counted
			}
		}
	}
	waiting := map[string]v1alpha1.WaitingNamespace{}
	for path, e := range x.entries {
		if e.missed > 0 {
			continue
		}
		switch e.State {
		case Known:
			n.Points++
		case Forgotten:
			n.Forgotten++
		case Waiting:
			n.Waiting++
			name, _ := split(path)
			w := waiting[name]
			waiting[name] = v1alpha1.WaitingNamespace{Namespace: name, Points: w.Points + 1, Message: e.Why}
		case Faulty, Removing:
			n.Faulty++
			faults = append(faults, v1alpha1.DocumentFault{Path: path, Message: e.Why})
		}
	}
	slices.SortFunc(faults, func(a, b v1alpha1.DocumentFault) int { return strings.Compare(a.Path, b.Path) })
	var namespaces []v1alpha1.WaitingNamespace
	for _, name := range slices.Sorted(maps.Keys(waiting)) {
		namespaces = append(namespaces, waiting[name])
	}
	return n, faults[:min(len(faults), maxFaults)], namespaces[:min(len(namespaces), maxWaiting)]
}
