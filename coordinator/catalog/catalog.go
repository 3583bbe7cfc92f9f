// Package catalog keeps what is known of the documents on a backup target, and
// decides what a look through it means for the cluster: which points appear,
// which are missing, which may go, and which stay forgotten.
//
// It is pure: it reads no target and writes no object. A listing that failed
// never gets here; one that is empty makes nothing go.
package catalog

import (
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
)

// State is what this cluster makes of a document.
type State string

// The states of a document.
const (
	Known     State = "Known"     // there is a VMBackup of it
	Forgotten State = "Forgotten" // its VMBackup was deleted, and it was to be kept
	Waiting   State = "Waiting"   // its namespace is not here, or not for points
	Faulty    State = "Faulty"    // it is not a whole document
	Removing  State = "Removing"  // its point is being deleted, here or by another cluster
)

// Entry is what is known of one document.
type Entry struct {
	// Version of the document that was looked at.
	Version string `json:"v"`
	State   State  `json:"s"`
	// Why it is Waiting or Faulty.
	Why string `json:"w,omitempty"`

	// missed listings in a row that were whole and lacked it. It is not kept
	// beyond the process, which only makes things stay for longer.
	missed int
}

// Index is what is known of the documents of one target.
type Index struct {
	entries map[string]Entry // path -> entry
	// dirty shards differ from what was stored.
	dirty map[int]bool
	// doubted entries are Faulty by the word of another release.
	doubted map[string]bool
}

// NewIndex is an index that knows nothing.
func NewIndex() *Index {
	return &Index{entries: map[string]Entry{}, dirty: map[int]bool{}, doubted: map[string]bool{}}
}

// Len is how many documents are known.
func (x *Index) Len() int { return len(x.entries) }

// Get returns what is known of a document.
func (x *Index) Get(path string) (Entry, bool) {
	e, ok := x.entries[path]
	return e, ok
}

// Set notes what a document is. Only what was carried out may be noted: what is
// known is not read again. An entry without a state notes nothing.
func (x *Index) Set(path string, e Entry) {
	if e.State == "" {
		return
	}
	old, had := x.entries[path]
	x.entries[path] = e
	delete(x.doubted, path)
	if !had || old.Version != e.Version || old.State != e.State || old.Why != e.Why {
		x.dirty[shardOf(path)] = true
	}
}

// Drop forgets a document, so that it is read anew when it is listed.
func (x *Index) Drop(path string) {
	if _, had := x.entries[path]; had {
		delete(x.entries, path)
		delete(x.doubted, path)
		x.dirty[shardOf(path)] = true
	}
}

// Doubt has what was not taken for a document read anew, where there is no VMBackup of
// it: another release may know what it is.
func (x *Index) Doubt() {
	for path, e := range x.entries {
		if e.State == Faulty {
			x.doubted[path] = true
		}
	}
}

// Point is a VMBackup whose data is on the target, as the cluster has it.
type Point struct {
	Namespace, Name string
	UID             types.UID
	// Found: it came from the target.
	Found bool
	Phase v1alpha1.BackupPhase
	// Digest that its document has, empty until the point is whole.
	Digest   string
	Deleting bool
}

// Facts are what the cluster has, all read before the target is listed: a point
// that is deleted while its document is being read must not come back.
type Facts struct {
	// Points by the path of their document.
	Points map[string]Point
	// Forgotten points by their UID.
	Forgotten map[types.UID]bool
	// Namespaces that exist and are not being deleted; nil: not looked for.
	Namespaces map[string]bool
	// Barred are namespaces whose points the target may not have -> why.
	Barred map[string]string
	// Reserved are namespaces in which no point is made, beside those of
	// Kubernetes itself.
	Reserved []string
}
