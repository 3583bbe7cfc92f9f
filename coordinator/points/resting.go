package points

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
)

// Resting is a point at rest: what it has in common with others of its schedule,
// and what is its own. It is never changed.
type Resting struct {
	immutable
	like          *like
	name, version string
	uid           uuid.UUID
	digest        [32]byte
	// Moments in Unix seconds, cut in microseconds. nominal and reserved are none if
	// the point has no such thing.
	created, started, cut, ended int64
	nominal, reserved            int64
	disks                        []disk
}

// disk is what a disk of a point at rest has of its own.
type disk struct {
	cut        int32 // whose engine snapshot it has; 0: it has none
	superseded []snapshot
	uploaded   int64 // none: it does not say
}

// snapshot is an engine snapshot of a disk of another point, of the same name.
type snapshot struct {
	point uuid.UUID
	cut   int32
}

// none stands for a moment or a number that is not set.
const none = -1 << 63

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
	id, ok := binary(b.UID)
	if !ok {
		return nil
	}
	r := &Resting{
		name: strings.Clone(b.Name), version: strings.Clone(b.ResourceVersion), uid: id,
		created: b.CreationTimestamp.Unix(), started: st.StartedAt.Unix(), cut: st.CutAt.UnixMicro(), ended: st.CompletedAt.Unix(),
		nominal: none, reserved: none,
	}
	digest, err := hex.DecodeString(strings.TrimPrefix(st.DocumentDigest, digestPrefix))
	if err != nil || copy(r.digest[:], digest) != len(r.digest) || st.DocumentDigest != digestText(r.digest) {
		return nil
	}
	if st.ReservedBytes != nil {
		r.reserved = *st.ReservedBytes
	}
	text := b.Annotations[v1alpha1.AnnotationNominalTime]
	if at, err := time.Parse(v1alpha1.NominalTimeLayout, text); err == nil && nominalText(at.Unix()) == text {
		r.nominal = at.Unix()
	}
	for i := range st.Disks {
		d := &st.Disks[i]
		own, ok := packed(b.UID, d)
		if !ok {
			return nil
		}
		if d.UploadedBytes != nil {
			own.uploaded = *d.UploadedBytes
		}
		r.disks = append(r.disks, own)
	}
	r.disks = slices.Clip(r.disks)
	r.like = p.shared.like(template(b, r.nominal != none))
	return r
}

// binary is a UID in the short form that it nearly always has.
func binary(uid types.UID) (uuid.UUID, bool) {
	id, err := uuid.Parse(string(uid))
	return id, err == nil && id.String() == string(uid)
}

// packed is what a disk has of its own; false: there is more to it.
func packed(point types.UID, d *v1alpha1.BackupDisk) (own disk, ok bool) {
	own.uploaded = none
	if d.Snapshot != "" {
		of, cut, ok := names.SnapshotCut(d.Snapshot, d.Name)
		if !ok || of != point {
			return own, false
		}
		own.cut = cut
	}
	if len(d.Superseded) > 0 {
		own.superseded = make([]snapshot, 0, len(d.Superseded))
	}
	for _, name := range d.Superseded {
		of, cut, ok := names.SnapshotCut(name, d.Name)
		id, short := binary(of)
		if !ok || !short {
			return own, false
		}
		own.superseded = append(own.superseded, snapshot{id, cut})
	}
	return own, true
}

// atRest: a point that this cluster has taken, that is whole and of which nobody
// wants anything.
func atRest(b *v1alpha1.VMBackup) bool {
	st := &b.Status
	return st.Phase == v1alpha1.BackupReady && meta.IsStatusConditionTrue(st.Conditions, v1alpha1.ConditionReady) &&
		b.Spec.Found == nil && b.DeletionTimestamp.IsZero() && len(b.OwnerReferences) == 0 && slices.Equal(b.Finalizers, finalizers) &&
		st.StartedAt != nil && st.CutAt != nil && st.CompletedAt != nil && st.Document == documentOf(b) &&
		!slices.ContainsFunc(st.Disks, func(d v1alpha1.BackupDisk) bool { return d.Backup != backupOf(b, &d) })
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
	b := &v1alpha1.VMBackup{}
	r.outline(b)
	b.UID = types.UID(r.uid.String())
	b.Annotations = r.GetAnnotations()
	b.Status.Document = documentOf(b)
	b.Status.DocumentDigest = digestText(r.digest)
	for i := range b.Status.Disks {
		d := &b.Status.Disks[i]
		d.Backup = backupOf(b, d)
		own := &r.disks[i]
		if own.cut > 0 {
			d.Snapshot = names.Snapshot(b.UID, own.cut, d.Name)
		}
		for _, s := range own.superseded {
			d.Superseded = append(d.Superseded, names.Snapshot(types.UID(s.point.String()), s.cut, d.Name))
		}
	}
	return b
}

// outline writes into b what is known, but for UID, annotations, document and the
// names of backups and engine snapshots. It uses what b had pointed to again, so that
// looking at all points takes no memory.
func (r *Resting) outline(b *v1alpha1.VMBackup) {
	former := b.Status
	if former.StartedAt == nil || former.CutAt == nil || former.CompletedAt == nil {
		former.StartedAt, former.CutAt, former.CompletedAt = &metav1.Time{}, &metav1.MicroTime{}, &metav1.Time{}
	}
	*b = v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.like.namespace, Name: r.name, ResourceVersion: r.version, Generation: r.like.generation,
			CreationTimestamp: metav1.Unix(r.created, 0), Labels: r.like.labels, Finalizers: finalizers,
		},
		Spec: r.like.spec,
		Status: v1alpha1.VMBackupStatus{
			ObservedGeneration: r.like.observed, Phase: v1alpha1.BackupReady, SourceUID: r.like.source, Consistency: r.like.consistency,
			StartedAt: former.StartedAt, CutAt: former.CutAt, CompletedAt: former.CompletedAt, Disks: former.Disks[:0],
		},
	}
	st := &b.Status
	st.StartedAt.Time, st.CutAt.Time, st.CompletedAt.Time = time.Unix(r.started, 0), time.UnixMicro(r.cut), time.Unix(r.ended, 0)
	if r.reserved != none {
		st.ReservedBytes = &r.reserved
	}
	for i := range r.disks {
		own := &r.disks[i]
		d := r.like.disks[i].outline()
		if own.uploaded != none {
			d.UploadedBytes = &own.uploaded
		}
		st.Disks = append(st.Disks, d)
	}
}
