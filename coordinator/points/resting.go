package points

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/record"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
)

// Resting is a point at rest: what it has in common with others of its schedule,
// and what is its own. It is never changed.
type Resting struct {
	record.Plain
	like *like
	own  packed
}

const digestPrefix = "sha256:"

// Packer makes records of points at rest, which share what they have in common.
type Packer struct{ shared shared }

// NewPacker makes one.
func NewPacker() *Packer { return &Packer{} }

// Transform returns what the cache of VMBackups keeps of an object.
func (p *Packer) Transform(o any) (any, error) {
	b, ok := o.(*v1alpha1.VMBackup)
	if !ok {
		return o, nil
	}
	b.ManagedFields = nil
	if r := p.rest(b); r != nil {
		return r, nil
	}
	return b, nil
}

// rest is the record of a point at rest; nil: it is not, or there is something
// about it that no record tells.
func (p *Packer) rest(b *v1alpha1.VMBackup) *Resting {
	if !atRest(b) {
		return nil
	}
	st := &b.Status
	id, ok := record.UID(b.UID)
	version, plain := record.Version(b.ResourceVersion)
	if !ok || !plain {
		return nil
	}
	o := &own{
		name: b.Name, version: version, uid: id,
		created: b.CreationTimestamp.Unix(), started: st.StartedAt.Unix(), cut: st.CutAt.UnixMicro(), ended: st.CompletedAt.Unix(),
		nominal: none, reserved: none,
	}
	digest, err := hex.DecodeString(strings.TrimPrefix(st.DocumentDigest, digestPrefix))
	if err != nil || copy(o.digest[:], digest) != len(o.digest) || st.DocumentDigest != digestText(o.digest) {
		return nil
	}
	if st.ReservedBytes != nil {
		o.reserved = *st.ReservedBytes
	}
	text := b.Annotations[v1alpha1.AnnotationNominalTime]
	if at, err := time.Parse(v1alpha1.NominalTimeLayout, text); err == nil && nominalText(at.Unix()) == text {
		o.nominal = at.Unix()
	}
	if o.nominal != none && scheduledName(b.Labels[v1alpha1.LabelSchedule], b.Spec.VM, o.nominal) == b.Name {
		o.name = ""
	}
	var disks []byte
	for i := range st.Disks {
		if disks, ok = packDisk(disks, b.UID, &st.Disks[i]); !ok {
			return nil
		}
	}
	return &Resting{like: p.shared.like(template(b, o.nominal != none)), own: pack(o, disks)}
}

// packDisk appends what a disk has of its own; false: there is more to it.
func packDisk(to []byte, point types.UID, d *v1alpha1.BackupDisk) ([]byte, bool) {
	own := disk{uploaded: none, superseded: len(d.Superseded)}
	if d.UploadedBytes != nil {
		own.uploaded = *d.UploadedBytes
	}
	if d.Snapshot != "" {
		of, cut, ok := names.SnapshotCut(d.Snapshot, d.Name)
		if !ok || of != point {
			return nil, false
		}
		own.cut = cut
	}
	to = appendDisk(to, own)
	for _, name := range d.Superseded {
		of, cut, ok := names.SnapshotCut(name, d.Name)
		id, short := record.UID(of)
		if !ok || !short {
			return nil, false
		}
		to = appendSnapshot(to, snapshot{id, cut})
	}
	return to, true
}

// atRest: a point that this cluster has taken, that is whole and of which nobody
// wants anything.
func atRest(b *v1alpha1.VMBackup) bool {
	st := &b.Status
	return st.Phase == v1alpha1.BackupReady && meta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionReady) &&
		b.Spec.Found == nil && b.DeletionTimestamp.IsZero() && len(b.OwnerReferences) == 0 && slices.Equal(b.Finalizers, finalizers) &&
		st.StartedAt != nil && st.CutAt != nil && st.CompletedAt != nil && st.Document == documentOf(b) &&
		!slices.ContainsFunc(st.Disks, func(d v1alpha1.BackupDisk) bool { return d.Backup != backupOf(b, &d) }) &&
		!ask.Verification(b).Open
}

// backupOf names the Longhorn backup of a disk whose transfers, if any were made,
// ended with a good one.
func backupOf(b *v1alpha1.VMBackup, d *v1alpha1.BackupDisk) string {
	if d.Attempt == 0 {
		return ""
	}
	return names.Backup(b.UID, d.Name, d.Attempt)
}

// documentOf is where the document of a point that this cluster has taken lies.
func documentOf(b *v1alpha1.VMBackup) string {
	if b.Spec.Type == v1alpha1.TypeSnapshot {
		return names.PointSecret(b.UID)
	}
	path, err := document.PointPath(b.Namespace, b.Name, b.UID)
	if err != nil {
		return "nowhere"
	}
	return path
}

func nominalText(unix int64) string {
	return time.Unix(unix, 0).UTC().Format(v1alpha1.NominalTimeLayout)
}

func digestText(digest [32]byte) string { return digestPrefix + hex.EncodeToString(digest[:]) }

// tell is the point as far as it is known.
func (r *Resting) tell() *v1alpha1.VMBackup {
	var into sketch
	b, own := r.outline(&into)
	b.Name, b.UID, b.Annotations = r.nameOf(&own), types.UID(own.uid.String()), r.annotations(&own)
	b.ResourceVersion = strconv.FormatUint(own.version, 10)
	b.Status.Document = documentOf(b)
	b.Status.DocumentDigest = digestText(own.digest)
	rest := packed(own.rest)
	for i := range b.Status.Disks {
		d := &b.Status.Disks[i]
		d.Backup = backupOf(b, d)
		own := rest.disk()
		if own.cut > 0 {
			d.Snapshot = names.Snapshot(b.UID, own.cut, d.Name)
		}
		for range own.superseded {
			s := rest.snapshot()
			d.Superseded = append(d.Superseded, names.Snapshot(types.UID(s.point.String()), s.cut, d.Name))
		}
	}
	return b
}

func (r *Resting) holdsSnapshots() bool {
	rest := packed(r.own.read().rest)
	for range r.like.disks {
		own := rest.disk()
		if own.cut > 0 {
			return true
		}
		for range own.superseded {
			rest.snapshot()
		}
	}
	return false
}

// sketch is a point with all that it points to, so that looking at one point after the
// other takes no memory.
type sketch struct {
	point          v1alpha1.VMBackup
	started, ended metav1.Time
	cut            metav1.MicroTime
	reserved       int64
	uploaded       []int64
	disks          []v1alpha1.BackupDisk
}

// outline writes into a sketch what is known, but for name, UID, version, annotations,
// document and the names of backups and engine snapshots.
func (r *Resting) outline(into *sketch) (*v1alpha1.VMBackup, own) {
	l, own, b := r.like, r.own.read(), &into.point
	into.started.Time, into.cut.Time, into.ended.Time = time.Unix(own.started, 0), time.UnixMicro(own.cut), time.Unix(own.ended, 0)
	*b = v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: l.namespace, Generation: l.generation, CreationTimestamp: metav1.Unix(own.created, 0), Labels: l.labels, Finalizers: finalizers,
		},
		Spec: l.spec,
		Status: v1alpha1.VMBackupStatus{
			ObservedGeneration: l.observed, Phase: v1alpha1.BackupReady, SourceUID: l.source, Consistency: l.consistency,
			StartedAt: &into.started, CutAt: &into.cut, CompletedAt: &into.ended,
		},
	}
	if own.reserved != none {
		into.reserved = own.reserved
		b.Status.ReservedBytes = &into.reserved
	}
	if len(l.disks) == 0 {
		return b, own
	}
	if len(into.uploaded) < len(l.disks) {
		into.uploaded = make([]int64, len(l.disks))
	}
	into.disks = into.disks[:0]
	rest := packed(own.rest)
	for i := range l.disks {
		d, own := l.disks[i].outline(), rest.disk()
		if own.uploaded != none {
			into.uploaded[i] = own.uploaded
			d.UploadedBytes = &into.uploaded[i]
		}
		for range own.superseded {
			rest.snapshot()
		}
		into.disks = append(into.disks, d)
	}
	b.Status.Disks = into.disks
	return b, own
}
