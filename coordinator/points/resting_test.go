package points

import (
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
)

const (
	uid1 = types.UID("00000003-0000-4000-8000-000000000003")
	uid2 = types.UID("00000004-0000-4000-8000-000000000004")
)

// ready is a point as the API server tells it once all is done.
func ready(t *testing.T, name string, uid types.UID) *v1alpha1.VMBackup {
	t.Helper()
	at := func(s int64) *metav1.Time { return ptr.To(metav1.Unix(1_790_000_000+s, 0)) }
	path, _ := document.PointPath("shop", name, uid) // none for an odd UID
	return &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: uid, ResourceVersion: "7", Generation: 2, CreationTimestamp: *at(0),
			Labels:        map[string]string{v1alpha1.LabelVM: "web", v1alpha1.LabelSchedule: "s"},
			Annotations:   map[string]string{v1alpha1.AnnotationNominalTime: "2026-11-26T10:00:00Z", v1alpha1.AnnotationSchedule: "nightly", "kubectl.example.org/applied": "all of it"},
			Finalizers:    []string{v1alpha1.FinalizerData},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "somebody"}},
		},
		Spec: v1alpha1.VMBackupSpec{
			VM: "web", Type: v1alpha1.TypeBackup, Target: "s3", Pinned: true, Note: "before the upgrade", DeletionPolicy: v1alpha1.DeletionDelete,
			Quiesce: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceBestEffort, DeadlineSeconds: 10},
		},
		Status: v1alpha1.VMBackupStatus{
			ObservedGeneration: 2, Phase: v1alpha1.BackupReady, SourceUID: "vm", Consistency: v1alpha1.ConsistencyFrozen, ReservedBytes: ptr.To(int64(9)),
			ConsistencyMessage: "it went well", CutWindowMilliseconds: ptr.To(int64(3)), ProgressText: "100%",
			StartedAt: at(1), CutAt: ptr.To(metav1.NewMicroTime(time.UnixMicro(1_790_000_002_000_003))), CompletedAt: at(60), Document: path,
			DocumentDigest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			Disks: []v1alpha1.BackupDisk{
				{
					Name: "root", Claim: "web-root", Volume: "pvc-1", SizeBytes: 5, State: v1alpha1.DiskDone, Snapshot: names.Snapshot(uid, 1, "root"),
					Superseded: []string{names.Snapshot(uid2, 3, "root"), names.Snapshot(uid1, 199, "root")}, Attempt: 2, Backup: names.Backup(uid, "root", 2), Incremental: true, UploadedBytes: ptr.To(int64(3)), Message: "done",
					Shape: &v1alpha1.DiskShape{NumberOfReplicas: 3},
				},
				{Name: "data", Claim: "web-data", Volume: "pvc-2", SizeBytes: 6, State: v1alpha1.DiskDone, Listed: true, Attempt: 1, Backup: names.Backup(uid, "data", 1)},
			},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Complete"}},
		},
	}
}

// A record tells all of a point at rest but what the package comment excepts.
func TestAtRest(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.VMBackup){
		"of type Backup": func(*v1alpha1.VMBackup) {},
		"of type Snapshot": func(b *v1alpha1.VMBackup) {
			b.Spec.Type, b.Spec.Target, b.Status.Document = v1alpha1.TypeSnapshot, "", names.PointSecret(b.UID)
			for i := range b.Status.Disks {
				b.Status.Disks[i].Attempt, b.Status.Disks[i].Backup = 0, ""
			}
		},
		"not of a schedule": func(b *v1alpha1.VMBackup) {
			b.Labels, b.Annotations, b.Status.ReservedBytes = map[string]string{v1alpha1.LabelVM: "web"}, map[string]string{}, nil
		},
		"an odd nominal time": func(b *v1alpha1.VMBackup) { b.Annotations[v1alpha1.AnnotationNominalTime] = "soon" },
		"not in UTC": func(b *v1alpha1.VMBackup) {
			b.Annotations[v1alpha1.AnnotationNominalTime] = "2026-11-26T10:00:00+01:00"
		},
		"named by its schedule": func(b *v1alpha1.VMBackup) {
			b.Name = names.Scheduled("s", "web", time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC))
			b.Status.Document, _ = document.PointPath("shop", b.Name, b.UID)
		},
		"moments out of order": func(b *v1alpha1.VMBackup) {
			b.CreationTimestamp, b.Status.StartedAt, b.Status.CompletedAt = metav1.Unix(1_790_000_100, 0), ptr.To(metav1.Unix(1_790_000_050, 0)), ptr.To(metav1.Unix(-5, 0))
		},
		"odd numbers": func(b *v1alpha1.VMBackup) {
			b.Status.ReservedBytes, b.Status.Disks[0].UploadedBytes, b.Status.Disks[1].UploadedBytes = ptr.To(int64(-1)), ptr.To(int64(math.MaxInt64)), ptr.To(int64(0))
			b.ResourceVersion = "18446744073709551615"
		},
		"no disks": func(b *v1alpha1.VMBackup) { b.Status.Disks = nil },
	} {
		t.Run(name, func(t *testing.T) {
			b, want := ready(t, "web-1", uid1), ready(t, "web-1", uid1)
			change(b)
			change(want)
			got, err := NewPacker().Transform(b)
			require.NoError(t, err)
			require.IsType(t, &Resting{}, got)
			known, ok := Of(got)
			require.True(t, ok)
			_, whole := known.Whole()
			require.False(t, whole)

			want.ManagedFields = nil
			delete(want.Annotations, "kubectl.example.org/applied")
			st := &want.Status
			st.Conditions, st.ConsistencyMessage, st.CutWindowMilliseconds, st.ProgressText = nil, "", nil, ""
			for i := range st.Disks {
				st.Disks[i].Message, st.Disks[i].Shape = "", nil
			}
			require.Equal(t, want, known.Point())

			r := got.(*Resting)
			o := client.Object(r)
			require.Equal(t, client.ObjectKeyFromObject(want), client.ObjectKeyFromObject(o))
			accessor, err := meta.Accessor(got)
			require.NoError(t, err)
			require.Equal(t, want.UID, accessor.GetUID())
			require.Equal(t, want.ResourceVersion, accessor.GetResourceVersion())
			require.Equal(t, want.Labels, accessor.GetLabels())
			require.Equal(t, want.Annotations, accessor.GetAnnotations())
			again, err := NewPacker().Transform(got) // client-go may ask twice
			require.NoError(t, err)
			require.Same(t, got, again)
		})
	}
}

// A point that its schedule has named keeps no name, and one without engine snapshots is
// idle, where it is of type Backup.
func TestShort(t *testing.T) {
	p := NewPacker()
	pack := func(change func(*v1alpha1.VMBackup)) *Resting {
		b := ready(t, names.Scheduled("s", "web", time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)), uid1)
		change(b)
		got, err := p.Transform(b)
		require.NoError(t, err)
		return got.(*Resting)
	}
	holds := pack(func(*v1alpha1.VMBackup) {})
	require.Empty(t, holds.own.read().name)
	atRest, idle := AtRest(holds)
	require.True(t, atRest)
	require.False(t, idle)

	none := pack(func(b *v1alpha1.VMBackup) { b.Status.Disks[0].Snapshot = "" })
	_, idle = AtRest(none)
	require.True(t, idle)
	second := pack(func(b *v1alpha1.VMBackup) {
		b.Status.Disks[0].Snapshot, b.Status.Disks[1].Snapshot = "", names.Snapshot(uid1, 2, "data")
	})
	_, idle = AtRest(second)
	require.False(t, idle)
	kept := pack(func(b *v1alpha1.VMBackup) {
		b.Spec.Type, b.Spec.Target, b.Status.Document = v1alpha1.TypeSnapshot, "", names.PointSecret(b.UID)
		for i := range b.Status.Disks {
			b.Status.Disks[i] = v1alpha1.BackupDisk{Name: b.Status.Disks[i].Name}
		}
	})
	atRest, idle = AtRest(kept)
	require.True(t, atRest)
	require.False(t, idle)
	atRest, _ = AtRest(ready(t, "web-1", uid1))
	require.False(t, atRest)
}

// What is not at rest, or what no record could tell, is kept whole.
func TestKeptWhole(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.VMBackup){
		"being made":           func(b *v1alpha1.VMBackup) { b.Status.Phase = v1alpha1.BackupUploading },
		"found":                func(b *v1alpha1.VMBackup) { b.Spec.Found = &v1alpha1.FoundPoint{} },
		"failed":               func(b *v1alpha1.VMBackup) { b.Status.Phase = v1alpha1.BackupFailed },
		"lost":                 func(b *v1alpha1.VMBackup) { b.Status.Phase = v1alpha1.BackupDataLost },
		"missing":              func(b *v1alpha1.VMBackup) { b.Status.Phase = v1alpha1.BackupMissing },
		"being deleted":        func(b *v1alpha1.VMBackup) { b.DeletionTimestamp = ptr.To(metav1.Unix(9, 0)) },
		"owned":                func(b *v1alpha1.VMBackup) { b.OwnerReferences = []metav1.OwnerReference{{Name: "x"}} },
		"another's finalizer":  func(b *v1alpha1.VMBackup) { b.Finalizers = append(b.Finalizers, "example.org/keep") },
		"without finalizer":    func(b *v1alpha1.VMBackup) { b.Finalizers = nil },
		"not said to be Ready": func(b *v1alpha1.VMBackup) { b.Status.Conditions[0].Status = metav1.ConditionFalse },
		"document elsewhere":   func(b *v1alpha1.VMBackup) { b.Status.Document = "hayloft/points/elsewhere/web-1.json" },
		"no digest":            func(b *v1alpha1.VMBackup) { b.Status.DocumentDigest = "" },
		"a short digest":       func(b *v1alpha1.VMBackup) { b.Status.DocumentDigest = "sha256:0123" },
		"an odd UID":           func(b *v1alpha1.VMBackup) { b.UID = "ABCD"; b.Status.Document = "nowhere" },
		"another's backup":     func(b *v1alpha1.VMBackup) { b.Status.Disks[1].Backup = names.Backup(b.UID, "data", 2) },
		"another's snapshot":   func(b *v1alpha1.VMBackup) { b.Status.Disks[0].Snapshot = names.Snapshot(uid2, 1, "root") },
		"an odd snapshot":      func(b *v1alpha1.VMBackup) { b.Status.Disks[0].Snapshot = "by-hand" },
		"superseded elsewhere": func(b *v1alpha1.VMBackup) { b.Status.Disks[0].Superseded = []string{names.Snapshot(uid2, 1, "data")} },
		"an odd version":       func(b *v1alpha1.VMBackup) { b.ResourceVersion = "07" },
		"never cut":            func(b *v1alpha1.VMBackup) { b.Status.CutAt = nil },
	} {
		t.Run(name, func(t *testing.T) {
			b, want := ready(t, "web-1", uid1), ready(t, "web-1", uid1)
			change(b)
			change(want)
			got, err := NewPacker().Transform(b)
			require.NoError(t, err)
			want.ManagedFields = nil
			require.Equal(t, want, got)
			known, ok := Of(got)
			require.True(t, ok)
			whole, is := known.Whole()
			require.True(t, is)
			require.Equal(t, want, whole.Point())
			require.NotSame(t, got, whole.Point(), "whoever has it may change it")
		})
	}
	_, ok := Of(&v1alpha1.VMRestore{})
	require.False(t, ok)
}

// What points have in common is there once, and goes with the last of them.
func TestShared(t *testing.T) {
	p := NewPacker()
	pack := func(name string, uid types.UID, change func(*v1alpha1.VMBackup)) *Resting {
		b := ready(t, name, uid)
		change(b)
		b.Annotations[v1alpha1.AnnotationNominalTime] = "2026-11-27T10:00:00Z"
		b.Status.Document, _ = document.PointPath("shop", name, uid)
		got, err := p.Transform(b)
		require.NoError(t, err)
		return got.(*Resting)
	}
	a := pack("web-1", uid1, func(*v1alpha1.VMBackup) {})
	b := pack("web-2", uid2, func(b *v1alpha1.VMBackup) { b.Status.Disks[0].UploadedBytes = ptr.To(int64(99)) })
	other := pack("web-3", uid2, func(b *v1alpha1.VMBackup) { b.Spec.Pinned = false })
	require.Same(t, a.like, b.like)
	require.NotSame(t, a.like, other.like)
	require.Equal(t, int64(3), *a.tell().Status.Disks[0].UploadedBytes)
	require.Equal(t, int64(99), *b.tell().Status.Disks[0].UploadedBytes)
	require.False(t, other.tell().Spec.Pinned)
	require.Equal(t, 2, p.shared.size())
	runtime.KeepAlive(b)
	runtime.KeepAlive(other)
	b, other = nil, nil
	_, _ = b, other
	require.Eventually(t, func() bool { runtime.GC(); return p.shared.size() == 1 }, time.Minute, time.Millisecond)
	runtime.KeepAlive(a)
}

func (s *shared) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.of)
}
