package points

import (
	"crypto/sha256"
	"encoding/json"
	"runtime"
	"strings"
	"sync"
	"unique"
	"weak"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
)

// like is what the points of one VM and schedule have in common, mostly.
type like struct {
	namespace            string
	labels               map[string]string
	notes                []text // Hayloft's annotations, but for the nominal time
	generation, observed int64
	spec                 v1alpha1.VMBackupSpec
	source               types.UID
	consistency          v1alpha1.Consistency
	disks                []likeDisk
}

// text is an annotation. They are asked for seldom, and a map would take several times as
// much.
type text struct{ key, value string }

func textsOf(from map[string]string) []text {
	out := make([]text, 0, len(from))
	for k, v := range from {
		out = append(out, text{one(k), v})
	}
	return out
}

// schedule is the UID of the VMSchedule that made the points, "" when none did.
func (l *like) schedule() string { return l.labels[v1alpha1.LabelSchedule] }

type likeDisk struct {
	name, claim, volume string
	size                int64
	state               v1alpha1.DiskState
	attempt             int32
	listed, incremental bool
}

func (d *likeDisk) outline() v1alpha1.BackupDisk {
	return v1alpha1.BackupDisk{
		Name: d.name, Claim: d.claim, Volume: d.volume, SizeBytes: d.size, State: d.state, Attempt: d.attempt, Listed: d.listed, Incremental: d.incremental,
	}
}

// template is what is kept of a point in like, as a point. A nominal time that is
// kept apart is left out.
func template(b *v1alpha1.VMBackup, nominal bool) *v1alpha1.VMBackup {
	notes := map[string]string{}
	for k, v := range b.Annotations {
		if strings.HasPrefix(k, v1alpha1.GroupVersion.Group+"/") && !(nominal && k == v1alpha1.AnnotationNominalTime) {
			notes[k] = v
		}
	}
	out := &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.Namespace, Generation: b.Generation, Labels: b.Labels, Annotations: notes},
		Spec:       b.Spec,
	}
	st, from := &out.Status, &b.Status
	st.ObservedGeneration, st.SourceUID, st.Consistency = from.ObservedGeneration, from.SourceUID, from.Consistency
	for i := range from.Disks {
		d := &from.Disks[i]
		st.Disks = append(st.Disks, v1alpha1.BackupDisk{
			Name: d.Name, Claim: d.Claim, Volume: d.Volume, SizeBytes: d.SizeBytes, State: d.State, Attempt: d.Attempt, Listed: d.Listed, Incremental: d.Incremental,
		})
	}
	return out
}

// shared are likes for as long as a point has them.
type shared struct {
	mu sync.Mutex
	of map[[sha256.Size]byte]weak.Pointer[like] // digest of the template -> like
}

// like is the one of a template.
func (s *shared) like(t *v1alpha1.VMBackup) *like {
	raw, err := json.Marshal(t)
	if err != nil {
		return newLike(t)
	}
	key := sha256.Sum256(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.of[key].Value(); known != nil {
		return known
	}
	if s.of == nil {
		s.of = map[[sha256.Size]byte]weak.Pointer[like]{}
	}
	l := newLike(t)
	s.of[key] = weak.Make(l)
	runtime.AddCleanup(l, s.forget, key)
	return l
}

// forget is called when nothing has a like any more.
func (s *shared) forget(key [sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[key].Value() == nil { // another one may have come since
		delete(s.of, key)
	}
}

func newLike(t *v1alpha1.VMBackup) *like {
	l := &like{
		namespace: one(t.Namespace), labels: make(map[string]string, len(t.Labels)), notes: textsOf(t.Annotations), generation: t.Generation, observed: t.Status.ObservedGeneration,
		spec: t.Spec, source: t.Status.SourceUID, consistency: v1alpha1.Consistency(one(string(t.Status.Consistency))),
	}
	for k, v := range t.Labels {
		l.labels[one(k)] = v
	}
	sp := &l.spec
	sp.Target, sp.Type, sp.DeletionPolicy = one(sp.Target), v1alpha1.BackupType(one(string(sp.Type))), v1alpha1.DeletionPolicy(one(string(sp.DeletionPolicy)))
	sp.Quiesce.Policy, sp.Quiesce.Method = v1alpha1.QuiescePolicy(one(string(sp.Quiesce.Policy))), v1alpha1.QuiesceMethod(one(string(sp.Quiesce.Method)))
	l.disks = make([]likeDisk, 0, len(t.Status.Disks))
	for _, d := range t.Status.Disks {
		l.disks = append(l.disks, likeDisk{
			name: one(d.Name), claim: d.Claim, volume: d.Volume, size: d.SizeBytes, state: v1alpha1.DiskState(one(string(d.State))),
			attempt: d.Attempt, listed: d.Listed, incremental: d.Incremental,
		})
	}
	return l
}

// one is a string equal to s that all share who ask for it.
func one(s string) string {
	if s == "" {
		return ""
	}
	return unique.Make(s).Value()
}
