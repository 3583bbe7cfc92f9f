package points

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
)

// BenchmarkRecords tells what the records of 12 points of each of many schedules
// hold of memory, and what it costs to look at all of them.
func BenchmarkRecords(b *testing.B) {
	const schedules, each = 1000, 12
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	p, all := NewPacker(), make([]*Resting, 0, schedules*each)
	before := heap()
	for i := range schedules * each {
		o := benchPoint(i/each, i)
		r, err := p.Transform(o)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, r.(*Resting))
	}
	held := float64(heap()-before) / float64(len(all))
	var again sketch
	b.ReportAllocs()
	for b.Loop() {
		for _, r := range all {
			r.outline(&again)
		}
	}
	b.ReportMetric(held, "B/point")
	runtime.KeepAlive(p)
}

// benchPoint is a point of a schedule, every part of it a copy of its own, as
// when it was decoded.
func benchPoint(schedule, n int) *v1alpha1.VMBackup {
	vm, uid := fmt.Sprintf("vm-%05d", schedule), types.UID(uuid.NewString())
	o := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{
		Namespace: "tenant-001", Name: fmt.Sprintf("%s-20261126-%d", vm, n), UID: uid, ResourceVersion: fmt.Sprint(100000 + n), CreationTimestamp: metav1.Unix(int64(n), 0),
		Labels: map[string]string{v1alpha1.LabelSchedule: fmt.Sprint("schedule-", schedule), v1alpha1.LabelVM: vm}, Finalizers: []string{v1alpha1.FinalizerData},
		Annotations: map[string]string{v1alpha1.AnnotationSchedule: vm + "-backups", v1alpha1.AnnotationNominalTime: nominalText(int64(n) * 60)},
	}}
	o.Spec.VM, o.Spec.Type, o.Spec.Target = vm, v1alpha1.TypeBackup, "store"
	at, cut, wrote := metav1.Unix(int64(n), 0), metav1.NewMicroTime(metav1.Unix(int64(n), 0).Time), int64(n)
	o.Status = v1alpha1.VMBackupStatus{
		Phase: v1alpha1.BackupReady, SourceUID: types.UID("vm-" + vm), Consistency: v1alpha1.ConsistencyOffline, StartedAt: &at, CutAt: &cut, CompletedAt: &at,
		DocumentDigest: digestText([32]byte{byte(n)}),
		Disks: []v1alpha1.BackupDisk{{
			Name: "root", Claim: vm + "-root", Volume: "pvc-" + vm, SizeBytes: 1 << 30, State: v1alpha1.DiskDone, Attempt: 1, Incremental: true, UploadedBytes: &wrote,
			Backup: names.Backup(uid, "root", 1), Superseded: []string{names.Snapshot(types.UID(uuid.NewString()), 1, "root")},
		}},
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Complete"}},
	}
	o.Status.Document, _ = document.PointPath(o.Namespace, o.Name, uid)
	return o
}
