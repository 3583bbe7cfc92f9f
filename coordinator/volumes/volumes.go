// Package volumes is what a coordinator keeps in memory of Longhorn's volumes, of their
// snapshots and of the PersistentVolumes over them.
//
// There may be thousands of volumes and tens of thousands of snapshots, and the objects
// take up to some kilobytes each, most of it fields that nobody here looks at. So the
// caches have short records of them, and Reader tells these as the objects that they are
// of, with what is known: whoever reads one from the caches sees no difference.
//
// What is told of them may not be written: it lacks the rest.
package volumes

import (
	"strconv"
	"strings"
	"time"
	"unique"

	"github.com/google/uuid"
	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/record"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// named is what says which object a record is of.
type named struct {
	record.Plain
	namespace, name string
	uid             uuid.UUID
	version         uint64
	deleting        *metav1.Time
}

// nameOf an object; false: there is more to it than a record tells.
func nameOf(o metav1.Object) (named, bool) {
	uid, ok1 := record.UID(o.GetUID())
	version, ok2 := record.Version(o.GetResourceVersion())
	return named{
		namespace: one(o.GetNamespace()), name: strings.Clone(o.GetName()), uid: uid, version: version, deleting: o.GetDeletionTimestamp(),
	}, ok1 && ok2
}

func (n *named) GetNamespace() string               { return n.namespace }
func (n *named) GetName() string                    { return n.name }
func (n *named) GetUID() types.UID                  { return types.UID(n.uid.String()) }
func (n *named) GetResourceVersion() string         { return strconv.FormatUint(n.version, 10) }
func (n *named) GetDeletionTimestamp() *metav1.Time { return n.deleting }
func (*named) GetGeneration() int64                 { return 0 }
func (*named) GetAnnotations() map[string]string    { return nil }
func (*named) GetFinalizers() []string              { return nil }

func (n *named) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: n.namespace, Name: n.name, UID: n.GetUID(), ResourceVersion: n.GetResourceVersion(), DeletionTimestamp: n.deleting.DeepCopy(),
	}
}

// Volume is the record of a Longhorn volume. It is never changed.
type Volume struct {
	named
	like         unique.Handle[likeVolume]
	created      int64 // Unix seconds
	size, actual int64
	// restore is the UID of the VMRestore that has made it, "" if none has.
	restore string
	// unscheduled is why a replica has no place, nil when all have one.
	unscheduled *longhorn.Condition
}

// likeVolume is what many volumes have the same of.
type likeVolume struct {
	replicas              int
	migratable, encrypted bool
	access                longhorn.AccessMode
	engine                longhorn.DataEngineType
	image                 string
	state                 longhorn.VolumeState
	robustness            longhorn.VolumeRobustness
	node                  string
	migration             [2]string // to which node it is to migrate, and does
}

// KeepVolume returns what the cache of volumes keeps of one.
func KeepVolume(o any) (any, error) {
	v, ok := o.(*longhorn.Volume)
	if !ok {
		return o, nil
	}
	n, ok := nameOf(v)
	if !ok {
		v.ManagedFields = nil
		return v, nil
	}
	st := &v.Status
	out := &Volume{
		named: n, created: v.CreationTimestamp.Unix(), size: v.Spec.Size, actual: st.ActualSize, restore: strings.Clone(v.Labels[v1alpha1.LabelRestore]),
		like: unique.Make(likeVolume{
			replicas: v.Spec.NumberOfReplicas, migratable: v.Spec.Migratable, encrypted: v.Spec.Encrypted, access: v.Spec.AccessMode,
			engine: v.Spec.DataEngine, image: v.Spec.BackingImage, state: st.State, robustness: st.Robustness, node: st.CurrentNodeID,
			migration: [2]string{v.Spec.MigrationNodeID, st.CurrentMigrationNodeID},
		}),
	}
	for i := range st.Conditions {
		c := &st.Conditions[i]
		if c.Type == longhorn.VolumeConditionTypeScheduled && c.Status == longhorn.ConditionStatusFalse {
			out.unscheduled = &longhorn.Condition{Type: one(c.Type), Status: c.Status, Reason: one(c.Reason), Message: one(c.Message)}
		}
	}
	return out, nil
}

// DeepCopyObject returns the record itself: it is never changed.
func (v *Volume) DeepCopyObject() runtime.Object { return v }

func (v *Volume) GetCreationTimestamp() metav1.Time { return metav1.NewTime(time.Unix(v.created, 0)) }

// GetLabels returns the only one that anybody looks for.
func (v *Volume) GetLabels() map[string]string {
	if v.restore == "" {
		return nil
	}
	return map[string]string{v1alpha1.LabelRestore: v.restore}
}

// Node is where the volume is attached, "" when it is not.
func (v *Volume) Node() string { return v.like.Value().node }

func (v *Volume) tell(to *longhorn.Volume) {
	l := v.like.Value()
	*to = longhorn.Volume{ObjectMeta: v.meta()}
	to.CreationTimestamp, to.Labels = v.GetCreationTimestamp(), v.GetLabels()
	to.Spec.Size, to.Spec.NumberOfReplicas, to.Spec.Migratable, to.Spec.Encrypted = v.size, l.replicas, l.migratable, l.encrypted
	to.Spec.AccessMode, to.Spec.DataEngine, to.Spec.BackingImage = l.access, l.engine, l.image
	to.Spec.MigrationNodeID, to.Status.CurrentMigrationNodeID = l.migration[0], l.migration[1]
	to.Status.State, to.Status.Robustness, to.Status.CurrentNodeID, to.Status.ActualSize = l.state, l.robustness, l.node, v.actual
	if v.unscheduled != nil {
		to.Status.Conditions = []longhorn.Condition{*v.unscheduled}
	}
}

// Snapshot is the record of a Longhorn snapshot. It is never changed.
type Snapshot struct {
	named
	volume  string
	size    int64
	removed bool // Longhorn was told to remove it
}

// KeepSnapshot returns what the cache of snapshots keeps of one.
func KeepSnapshot(o any) (any, error) {
	s, ok := o.(*longhorn.Snapshot)
	if !ok {
		return o, nil
	}
	n, ok := nameOf(s)
	if !ok {
		s.ManagedFields, s.Annotations, s.Labels = nil, nil, nil
		return s, nil
	}
	out := &Snapshot{named: n, volume: one(s.Spec.Volume), size: s.Status.Size}
	if _, ours := names.SnapshotPoint(s.Name); !ours {
		out.deleting = nil // nobody here looks whether others' stay
		return out, nil
	}
	out.removed = s.Status.MarkRemoved
	return out, nil
}

// DeepCopyObject returns the record itself: it is never changed.
func (s *Snapshot) DeepCopyObject() runtime.Object { return s }

func (*Snapshot) GetCreationTimestamp() metav1.Time { return metav1.Time{} }
func (*Snapshot) GetLabels() map[string]string      { return nil }

func (s *Snapshot) tell(to *longhorn.Snapshot) {
	*to = longhorn.Snapshot{ObjectMeta: s.meta()}
	to.Spec.Volume, to.Status.Size, to.Status.MarkRemoved = s.volume, s.size, s.removed
}

// one is a string equal to s that all share who ask for it.
func one(s string) string {
	if s == "" {
		return ""
	}
	return unique.Make(s).Value()
}
