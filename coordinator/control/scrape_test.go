package control

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/points"
	"hayloft.dev/coordinator/volumes"
	"hayloft.dev/metrics"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
	"hayloft.dev/pkg/names"
)

// BenchmarkScrape is what a scrape of 5,000 VMs, 10,000 schedules and 80,000 points costs
// the leader, from reading its caches to the last byte of the answer: to prepare the
// first one, that one, another, one after a point of each of 1,000 VMs has changed, and
// one in the protobuf format.
// CPU time counts the garbage collector's, too, with as much garbage as a coordinator
// at rest allows.
func BenchmarkScrape(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	const vms, times = 5000, 20
	const protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	f := newFleet(b, vms)
	for _, run := range []struct {
		name          string
		before, times int // scrapes
		changed       int
		accept        string
	}{{"prepare", 0, 0, 0, ""}, {"first", 0, 1, 0, ""}, {"again", 1, times, 0, ""}, {"1000changed", 1, times, 1000, ""}, {"protobuf", 1, times, 0, protobuf}} {
		b.Run(run.name, func(b *testing.B) {
			spent, bytes := time.Duration(0), 0
			count := func(what func()) {
				before := cpuTime(b)
				what()
				spent += cpuTime(b) - before
			}
			for b.Loop() {
				g := f.gatherer()
				goruntime.GC() // of what is there, not of what made it
				if run.times == 0 {
					count(g.Prepare)
					continue
				}
				g.Prepare()
				for range run.before {
					scrape(g, run.accept)
				}
				for range run.times {
					f.change(run.changed)
					count(func() { bytes += scrape(g, run.accept) })
				}
			}
			n := float64(b.N * max(1, run.times))
			b.ReportMetric(spent.Seconds()*1000/n, "cpu-ms/scrape")
			b.ReportMetric(float64(bytes)/n, "bytes/scrape")
		})
	}
}

func (f *fleet) gatherer() *metrics.Gatherer {
	return &metrics.Gatherer{
		Counted: []prometheus.Gatherer{prometheus.NewRegistry()}, Leading: func() bool { return true }, Since: time.Now,
		Objects: metrics.Collectors(f.objects, metrics.Limits{JobsPerNode: func() int { return 8 }}),
		Failed:  func(collector string, err error) { f.b.Errorf("collector %s: %v", collector, err) },
	}
}

// scrape tells how many bytes the answer had, which nobody reads.
func scrape(g *metrics.Gatherer, accept string) int {
	answer, request := &discard{header: http.Header{}}, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	request.Header.Set("Accept", accept)
	g.Handler().ServeHTTP(answer, request)
	return answer.bytes
}

// fleet are caches as a leader has them, without the API server that fills them.
type fleet struct {
	b       *testing.B
	objects *Objects
	points  toolscache.Indexer
	packer  *points.Packer
	newest  []*v1alpha1.VMBackup // of each VM
}

func newFleet(b *testing.B, vms int) *fleet {
	b.Helper()
	informer := func(like runtime.Object) toolscache.SharedIndexInformer {
		return toolscache.NewSharedIndexInformer(&toolscache.ListWatch{}, like, 0, toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
	}
	of := informer(&v1alpha1.VMBackup{})
	index, err := points.NewIndex(of)
	require.NoError(b, err)
	f := &fleet{b: b, points: of.GetIndexer(), packer: points.NewPacker(), objects: &Objects{
		c: &Controller{cache: &volumes.Reader{Reader: empty{}}, points: index, sessions: lease.NewObserver()}, attached: &attached{node: map[string]string{}},
		vms: informer(virtualMachines()).GetStore(), restores: informer(&v1alpha1.VMRestore{}).GetStore(), targets: informer(&v1alpha1.BackupTarget{}).GetStore(),
		quotas: informer(&v1alpha1.SnapshotQuota{}).GetStore(), schedules: informer(&v1alpha1.VMSchedule{}).GetStore(),
	}}
	for i := range vms {
		f.fill(i)
	}
	return f
}

// fill adds a VM with a schedule of each type that runs once a day, and their points.
func (f *fleet) fill(i int) {
	f.b.Helper()
	vm := virtualMachines()
	vm.Namespace, vm.Name, vm.UID = fmt.Sprintf("tenant-%03d", i/50), fmt.Sprintf("vm-%05d", i), types.UID(uuid.NewString())
	require.NoError(f.b, f.objects.vms.Add(vm))
	at := time.Date(2026, 11, 27, 0, i%600, 0, 0, time.UTC)
	for kind, kept := range map[v1alpha1.BackupType]int{v1alpha1.TypeBackup: 12, v1alpha1.TypeSnapshot: 4} {
		s := &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: vm.Namespace, Name: vm.Name + "-" + string(kind), UID: types.UID(uuid.NewString())}}
		s.Spec.VM, s.Spec.Type, s.Spec.Cron = vm.Name, kind, fmt.Sprintf("%d %d * * *", at.Minute(), at.Hour())
		require.NoError(f.b, f.objects.schedules.Add(s))
		for day := range kept {
			b := newPoint(vm, s, at.AddDate(0, 0, -day))
			if day == 0 && kind == v1alpha1.TypeBackup {
				f.newest = append(f.newest, b.DeepCopy())
			}
			f.put(b)
		}
		at = at.Add(11 * time.Hour)
	}
}

// newPoint is one at rest.
func newPoint(vm *metav1.PartialObjectMetadata, s *v1alpha1.VMSchedule, nominal time.Time) *v1alpha1.VMBackup {
	uid, at, cut := types.UID(uuid.NewString()), metav1.NewTime(nominal), metav1.NewMicroTime(nominal.Add(1234567*time.Microsecond))
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{
		Namespace: vm.Namespace, Name: names.Scheduled(s.UID, vm.Name, nominal), UID: uid, ResourceVersion: "1", CreationTimestamp: at, Finalizers: []string{v1alpha1.FinalizerData},
		Labels: map[string]string{v1alpha1.LabelSchedule: string(s.UID), v1alpha1.LabelVM: vm.Name},
	}}
	disk := v1alpha1.BackupDisk{Name: "root", Claim: vm.Name + "-root", Volume: "pvc-" + vm.Name, SizeBytes: 10 << 30, State: v1alpha1.DiskDone}
	b.Spec.VM, b.Spec.Type = vm.Name, s.Spec.Type
	b.Status = v1alpha1.VMBackupStatus{
		Phase: v1alpha1.BackupReady, SourceUID: vm.UID, Consistency: v1alpha1.ConsistencyOffline, StartedAt: &at, CutAt: &cut,
		CompletedAt: &metav1.Time{Time: nominal.Add(time.Minute)}, Document: names.PointSecret(uid), DocumentDigest: fmt.Sprintf("sha256:%064d", nominal.Unix()),
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready"}},
	}
	if b.Spec.Type == v1alpha1.TypeBackup {
		b.Spec.Target, disk.Attempt, disk.Backup, disk.UploadedBytes = "store", 1, names.Backup(uid, disk.Name, 1), ptr.To(int64(64<<20))
		b.Status.Document = fmt.Sprintf("hayloft/points/%s/%s-%s.json", b.Namespace, b.Name, uid)
	}
	b.Status.Disks = []v1alpha1.BackupDisk{disk}
	return b
}

func (f *fleet) put(b *v1alpha1.VMBackup) {
	f.b.Helper()
	o, err := f.packer.Transform(b)
	require.NoError(f.b, err)
	require.IsType(f.b, &points.Resting{}, o)
	require.NoError(f.b, f.points.Update(o))
}

// change changes a point of each of the first so many VMs.
func (f *fleet) change(vms int) {
	f.b.Helper()
	for _, b := range f.newest[:vms] {
		b.Generation++
		f.put(b.DeepCopy())
	}
}

// empty is a cache without any jobs and leases.
type empty struct{ client.Reader }

func (empty) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// discard is an answer that nobody reads.
type discard struct {
	header http.Header
	bytes  int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	d.bytes += len(p)
	return len(p), nil
}
