package catalog

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

const (
	// missingAfter is how many whole listings in a row must lack a document until
	// its point counts as missing. The first may come from a stale cache, as
	// network file systems have them.
	missingAfter = 2
	// goneAfter is how many must lack it until its point goes, if the target also
	// says of that very document that it does not have it.
	goneAfter = 4
)

// Prepare tells what need not be read again, and which documents are to be asked
// for by themselves if they are not listed. The facts must be those that Apply
// will be given.
func (x *Index) Prepare(f Facts) (known, confirm []string) {
	for path := range f.Points {
		known = append(known, protocol.Known(path, x.versionOf(path)))
	}
	for path, e := range x.entries {
		if _, point := f.Points[path]; point || !x.settled(path, e, f) {
			continue
		}
		known = append(known, protocol.Known(path, e.Version))
	}
	slices.Sort(known)
	for path, e := range x.entries {
		if e.missed >= goneAfter-1 {
			confirm = append(confirm, path)
		}
	}
	slices.Sort(confirm)
	return known, confirm[:min(len(confirm), protocol.MaxConfirmed)]
}

// versionOf is the version in which a point's document is known. One that was
// never listed is taken as it is: its digest is in the point's status.
func (x *Index) versionOf(path string) string {
	if e, ok := x.entries[path]; ok && e.Version != "" {
		return e.Version
	}
	return protocol.AnyVersion
}

// settled: nothing has changed here since the document was looked at, so that
// the same would come of it.
func (x *Index) settled(path string, e Entry, f Facts) bool {
	namespace, uid := split(path)
	switch e.State {
	case Faulty:
		return !x.doubted[path]
	case Removing:
		return true
	case Waiting:
		return f.Namespaces != nil && refuses(f, namespace) != ""
	}
	return f.Forgotten[uid]
}

// HasWaiting tells whether it matters which namespaces exist.
func (x *Index) HasWaiting() bool {
	for _, e := range x.entries {
		if e.State == Waiting {
			return true
		}
	}
	return false
}

// split takes a document's path apart; its form was checked before.
func split(path string) (namespace string, uid types.UID) {
	if document.ByHarvester(path) {
		p, err := document.ParsePath(path)
		if err != nil {
			return "", ""
		}
		return p.Namespace, p.UID
	}
	parts := strings.Split(path, "/")
	const uidLength = 36
	name := strings.TrimSuffix(parts[len(parts)-1], ".json")
	if len(parts) < 4 || len(name) < uidLength {
		return "", ""
	}
	return parts[2], types.UID(name[len(name)-uidLength:])
}

// refuses says why no point is made in a namespace, "" if one is.
func refuses(f Facts, namespace string) string {
	switch {
	case slices.Contains(f.Reserved, namespace), slices.ContainsFunc(systems, func(s string) bool { return strings.HasPrefix(namespace, s) }):
		return "it is a namespace of the system: no points are made in it"
	case !f.Namespaces[namespace]:
		return v1alpha1.NoSuchNamespace
	case f.Barred[namespace] != "":
		return f.Barred[namespace]
	}
	return ""
}

// systems are the beginnings of namespaces that belong to Kubernetes, Harvester
// and Rancher themselves.
var systems = []string{"kube-", "cattle-", "fleet-", "harvester-system", "longhorn-system"}
