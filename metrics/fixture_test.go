package metrics

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"hayloft.dev/pkg/api/v1alpha1"
)

// epoch is the moment that fixtures are told relative to.
var epoch = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// world is a cluster's objects, as caches show them.
type world struct {
	vms      []*metav1.PartialObjectMetadata
	points   []*v1alpha1.VMBackup
	restores []*v1alpha1.VMRestore
	targets  []*v1alpha1.BackupTarget
	quotas   []*v1alpha1.SnapshotQuota
	plans    []*v1alpha1.VMSchedule
	jobs     []*v1alpha1.NodeJob
	nodes    map[string]Node
	// looks counts how often a point was told.
	looks int
	// broken fails every listing of jobs.
	broken bool
}

func (w *world) VMs(context.Context) ([]*metav1.PartialObjectMetadata, error) { return w.vms, nil }

// Points tells changes by comparing which points there are: nothing changes a point
// that was told of.
func (w *world) Points() Points { return &feed{of: w, told: map[vmKey][]*v1alpha1.VMBackup{}} }

type feed struct {
	of   *world
	told map[vmKey][]*v1alpha1.VMBackup
}

// Changed tells points in one object, as a cache does that has short records of them.
func (f *feed) Changed(see func(namespace, vm string, all iter.Seq[*v1alpha1.VMBackup])) error {
	now := map[vmKey][]*v1alpha1.VMBackup{}
	for k := range f.told {
		now[k] = nil
	}
	for _, b := range f.of.points {
		k := vmKey{b.Namespace, b.Spec.VM}
		now[k] = append(now[k], b)
	}
	for k, all := range now {
		if slices.Equal(all, f.told[k]) {
			continue
		}
		see(k.namespace, k.name, func(yield func(*v1alpha1.VMBackup) bool) {
			again := &v1alpha1.VMBackup{}
			for _, b := range all {
				f.of.looks++
				*again = *b.DeepCopy()
				if !yield(again) {
					return
				}
			}
		})
	}
	f.told = now
	return nil
}

func (w *world) Restores(context.Context) ([]*v1alpha1.VMRestore, error) { return w.restores, nil }

func (w *world) Targets(context.Context) ([]*v1alpha1.BackupTarget, error) { return w.targets, nil }

func (w *world) Quotas(context.Context) ([]*v1alpha1.SnapshotQuota, error) { return w.quotas, nil }

func (w *world) Schedules(context.Context) ([]*v1alpha1.VMSchedule, error) { return w.plans, nil }
func (w *world) Nodes(context.Context) (map[string]Node, error)            { return w.nodes, nil }

func (w *world) Jobs(context.Context) ([]*v1alpha1.NodeJob, error) {
	if w.broken {
		return nil, errors.New("the cache is not filled")
	}
	return w.jobs, nil
}

func (w *world) vm(name string, labels map[string]string) {
	w.vms = append(w.vms, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: types.UID("uid-" + name), Labels: labels,
	}})
}

// point is a VMBackup of a VM that was cut so long after the epoch.
func (w *world) point(vm string, kind v1alpha1.BackupType, phase v1alpha1.BackupPhase, at time.Duration) *v1alpha1.VMBackup {
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = "shop", fmt.Sprintf("%s-%d", vm, len(w.points))
	b.Spec.VM, b.Spec.Type = vm, kind
	if kind == v1alpha1.TypeBackup {
		b.Spec.Target = "s3"
	}
	cut := epoch.Add(at)
	b.Status.Phase, b.Status.SourceUID = phase, types.UID("uid-"+vm)
	b.Status.StartedAt = ptr.To(metav1.NewTime(cut.Add(-time.Second)))
	b.Status.CompletedAt = ptr.To(metav1.NewTime(cut.Add(time.Minute)))
	reason := "Complete"
	if phase == v1alpha1.BackupFailed {
		reason = "TargetError"
	}
	b.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason}}
	if phase == v1alpha1.BackupReady {
		b.Status.CutAt = ptr.To(metav1.NewMicroTime(cut))
		b.Status.Consistency = v1alpha1.ConsistencyFrozen
		b.Status.Disks = []v1alpha1.BackupDisk{{Name: "root", UploadedBytes: ptr.To(int64(100 << 20))}, {Name: "data", UploadedBytes: ptr.To(int64(1 << 20))}}
	}
	w.points = append(w.points, b)
	return b
}

// schedule is a VMSchedule of one VM, or of all when that is empty.
func (w *world) schedule(name, vm, cron string) *v1alpha1.VMSchedule {
	s := &v1alpha1.VMSchedule{}
	s.Namespace, s.Name, s.UID = "shop", name, types.UID("uid-"+name)
	s.CreationTimestamp = metav1.NewTime(epoch.Add(-24 * time.Hour))
	s.Spec.VM, s.Spec.Type, s.Spec.Cron, s.Spec.TimeZone = vm, v1alpha1.TypeBackup, cron, "UTC"
	w.plans = append(w.plans, s)
	return s
}

// of has a point made by a schedule.
func of(s *v1alpha1.VMSchedule, b *v1alpha1.VMBackup) {
	b.Labels = map[string]string{v1alpha1.LabelSchedule: string(s.UID)}
}

func (w *world) job(change func(*v1alpha1.NodeJob)) {
	j := &v1alpha1.NodeJob{}
	j.Namespace, j.Name = "hayloft-system", fmt.Sprintf("job-%d", len(w.jobs))
	j.CreationTimestamp = metav1.NewTime(epoch.Add(-90 * time.Second))
	change(j)
	w.jobs = append(w.jobs, j)
}

func target(name string, ready bool, reason string) *v1alpha1.BackupTarget {
	t := &v1alpha1.BackupTarget{}
	t.Name, t.Spec.MaxConcurrentJobs = name, 8
	status := metav1.ConditionFalse
	if ready {
		status = metav1.ConditionTrue
	}
	t.Status.LastProbeTime = ptr.To(metav1.NewTime(epoch))
	t.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: reason}}
	if ready {
		t.Spec.Refresh = &v1alpha1.TargetRefresh{Interval: "1h"}
		t.Status.Leftovers = &v1alpha1.TargetLeftovers{Time: ptr.To(metav1.NewTime(epoch)), InProgress: 3, NoDocument: 2, Drafts: 1, Removable: 4}
		t.Status.Refresh = &v1alpha1.TargetRefreshStatus{
			EffectiveInterval: &metav1.Duration{Duration: time.Hour}, SucceededTime: ptr.To(metav1.NewTime(epoch)), SpentCPUMilliseconds: 3600,
			Documents: &v1alpha1.RefreshedDocuments{Total: 12, Points: 7, Forgotten: 1, Waiting: 2, Faulty: 1, Unread: 1},
		}
	}
	return t
}

// someWorld has something of everything that there is to tell of.
func someWorld() *world {
	w := &world{nodes: map[string]Node{
		"node-1": {Alive: true, Leases: 2, Volumes: 4},
		"node-2": {Volumes: 1},
	}}
	w.vm("web", nil)
	w.vm("db", nil)
	w.vm("new", nil)
	w.vm("scratch", map[string]string{v1alpha1.LabelProtection: v1alpha1.ProtectionNone})
	w.point("web", v1alpha1.TypeBackup, v1alpha1.BackupReady, 0)
	nightly := w.schedule("nightly", "web", "0 2 * * *")
	of(nightly, w.point("web", v1alpha1.TypeBackup, v1alpha1.BackupReady, time.Hour))
	workdays := w.schedule("workdays", "db", "0 2 * * 1-5")
	workdays.Spec.Suspend, workdays.Annotations = true, map[string]string{v1alpha1.AnnotationSuspendedBy: v1alpha1.SuspendedByCoordinator}
	workdays.Status.ConsecutiveFailures, workdays.Status.MissedRuns, workdays.Status.SkippedRuns = 4, 2, 1
	w.point("web", v1alpha1.TypeSnapshot, v1alpha1.BackupReady, 2*time.Hour)
	w.point("web", v1alpha1.TypeBackup, v1alpha1.BackupFailed, 3*time.Hour)
	w.point("web", v1alpha1.TypeBackup, v1alpha1.BackupUploading, 4*time.Hour)
	w.point("db", v1alpha1.TypeBackup, v1alpha1.BackupReady, time.Hour)
	w.point("gone", v1alpha1.TypeBackup, v1alpha1.BackupReady, time.Hour)
	w.targets = []*v1alpha1.BackupTarget{target("s3", true, "Probed"), target("nas", false, "Unreachable")}
	restore := &v1alpha1.VMRestore{}
	restore.Status.Phase = v1alpha1.RestoreRestoring
	w.restores = []*v1alpha1.VMRestore{restore, {}}
	q := &v1alpha1.SnapshotQuota{}
	q.Namespace, q.Name = "shop", "quota"
	q.Spec.Limit, q.Spec.VMLimit = ptr.To(resource.MustParse("10Gi")), ptr.To(resource.MustParse("4Gi"))
	q.Status.Used, q.Status.VMs = ptr.To(resource.MustParse("9Gi")), map[string]resource.Quantity{"web": resource.MustParse("3Gi")}
	w.quotas = []*v1alpha1.SnapshotQuota{q}
	w.job(func(j *v1alpha1.NodeJob) { j.Spec.Cut = &v1alpha1.CutJob{} })
	for range 2 {
		w.job(func(j *v1alpha1.NodeJob) {
			j.Spec.NodeName, j.Spec.Backup, j.Status.State = "node-1", &v1alpha1.BackupJob{Target: "s3"}, v1alpha1.JobRunning
		})
	}
	w.job(func(j *v1alpha1.NodeJob) {
		j.Spec.NodeName, j.Spec.Restore, j.Status.State = "node-1", &v1alpha1.RestoreJob{Target: "s3"}, v1alpha1.JobFailed
	})
	return w
}

// someWork has counted something of everything.
func someWork(r prometheus.Registerer) {
	w := NewWork(r)
	w.JobDone("cut", "", time.Second, 200*time.Millisecond)
	w.JobDone("backup", "Stalled", 0, 10*time.Minute)
	w.PointDone(Point{Type: "Backup", Target: "s3", Took: time.Minute, ReadBytes: 3 << 30, UploadedBytes: 1 << 30})
	w.PointDone(Point{Type: "Snapshot", Reason: "QuotaExceeded"})
	w.RestoreDone(Restore{Kind: "newVM", Took: time.Minute, Bytes: 10 << 30})
	w.RestoreDone(Restore{Kind: "replace", Reason: "NameTaken"})
	w.Retried("backup")
	w.Reassigned()
	w.Swept("ticket")
	w.TargetRun("probe", "", 80*time.Millisecond, 30*time.Millisecond)
	w.TargetRun("finalize", "InProgress", time.Second, 100*time.Millisecond)
	w.Answered("VMBackup", "create", nil, 4*time.Millisecond)
	w.Answered("VMBackup", "create", []string{"TargetNotFound", "QuotaExceeded"}, 8*time.Millisecond)

	a := NewAPI(r)
	a.Began()
	a.Answered("/api/v1/namespaces/{namespace}/backups", "POST", 201, 12*time.Millisecond)
	a.Answered("none", "other", 404, time.Millisecond)
	a.Answered("/api/v1/namespaces/{namespace}/points/{name}/progress", "GET", 200, 0)
	a.Limited("caller")
	a.Streaming()
	a.Streaming()()

	f := NewRefreshes(r)
	f.RefreshDone("s3", "", 300*time.Millisecond, 200*time.Millisecond, 13)
	f.RefreshDone("nas", "Timeout", 2*time.Minute, time.Second, 4)
	f.RefreshSkipped("nas", "TargetNotReady")
	f.RefreshClamped("nas")
	f.RefreshLoop("s3")
	f.Interval("setting", 0, true)
	f.Interval("longhorn", 5*time.Minute, false)
	f.Healed()
}

// someAgentWork has counted something of everything.
func someAgentWork(r prometheus.Registerer) {
	a := NewAgent(r)
	a.SessionOpened()
	a.Beat(20*time.Millisecond, nil)
	a.Beat(4*time.Second, errors.New("timeout"))
	a.JobBegun("backup")
	a.JobBegun("cut")()
	a.Leased("cut", 30*time.Millisecond)
	a.JobDone("backup", "", time.Minute)
	a.JobDone("restore", "ReplicasDiffer", time.Second)
	a.TookOver("backup")
	a.Fenced("cut")
	a.Moved("backup", 3<<20)
	a.Cut("Frozen", "freeze", 40*time.Millisecond, 180*time.Millisecond)
	a.Hooked("pre", true, 300*time.Millisecond)
	a.Hooked("post", false, 30*time.Second)
	a.CutDiscarded()
}

// coordinator gathers what one coordinator would tell.
func coordinator(o Objects, leading bool) *Gatherer {
	r := prometheus.NewRegistry()
	someWork(r)
	collectors := Collectors(o, Limits{JobsPerNode: func() int { return 8 }})
	collectors["jobs"].(*jobCollector).now = func() time.Time { return epoch }
	return &Gatherer{
		Counted: []prometheus.Gatherer{r}, Objects: collectors, Failed: func(string, error) {},
		Leading: func() bool { return leading }, Since: func() time.Time { return epoch },
	}
}
