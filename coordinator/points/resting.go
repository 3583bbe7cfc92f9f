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
	snapshot   string
	superseded []string
	uploaded   int64 // none: it does not say
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
	id, err := uuid.Parse(string(b.UID))
	if err != nil || id.String() != string(b.UID) {
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
		own := disk{snapshot: strings.Clone(d.Snapshot), uploaded: none, superseded: slices.Clone(d.Superseded)}
		if d.UploadedBytes != nil {
			own.uploaded = *d.UploadedBytes
		}
		r.disks = append(r.disks, own)
	}
	r.disks = slices.Clip(r.disks)
	r.like = p.shared.like(template(b, r.nominal != none))
	return r
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
	}
	return b
}

// outline writes into b what is known, but for UID, annotations, document and the
// names of its backups. It uses what b had pointed to again, so that looking at all
// points takes no memory.
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
		d.Snapshot, d.Superseded = own.snapshot, own.superseded
		if own.uploaded != none {
			d.UploadedBytes = &own.uploaded
		}
		st.Disks = append(st.Disks, d)
	}
}
