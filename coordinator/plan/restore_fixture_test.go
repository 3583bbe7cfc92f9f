package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// want is a view of a fresh VMRestore of a Ready point with disks root and
// data, with which nothing is wrong.
func want(changes ...func(*RestoreView)) RestoreView {
	v := RestoreView{
		Now: now, Config: testConfig(), Work: Works{}, Volumes: map[string]VolumeFact{}, Replicas: map[string][]string{},
		Made: Made{Volumes: map[string]ObjectFact{}, Claims: map[string]ObjectFact{}},
		Restore: &v1alpha1.VMRestore{
			ObjectMeta: metav1.ObjectMeta{Name: "r1", Namespace: "ns", UID: uid, CreationTimestamp: *ago(time.Second)},
			Spec:       v1alpha1.VMRestoreSpec{Backup: "p1", NewVM: "web2"},
		},
		Backup: &v1alpha1.VMBackup{
			ObjectMeta: metav1.ObjectMeta{Name: "p1", Namespace: "ns", UID: "point"},
			Spec:       v1alpha1.VMBackupSpec{Target: "s3"}, Status: v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupReady},
		},
		Target: &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "s3"}},
	}
	for _, change := range changes {
		change(&v)
	}
	return v
}

func ok(v *RestoreView, op Op) { v.Work[Work{Op: op}] = WorkState{Tries: 1, Ended: now} }

func hasRead(v *RestoreView) {
	v.Restore.Status = Restore(want()).Status
	v.Restore.Finalizers = []string{v1alpha1.FinalizerRestore}
	ok(v, OpReadDocument)
	v.Origin = &Origin{Notes: []string{"a note"}, Disks: []OriginDisk{
		{Name: "root", Claim: "web2-root", SourceVolume: "v-root", Backup: "b-root", SizeBytes: 100, Replicas: 2, AccessMode: "rwx", Migratable: true},
		{Name: "data", Claim: "web2-data", SourceVolume: "v-data", Backup: "b-data", SizeBytes: 200, BackingImage: &v1alpha1.BackingImage{Name: "img", Checksum: "c"}},
	}}
}

func inspected(v *RestoreView) {
	hasRead(v)
	ok(v, OpInspectBackups)
	v.Inspected = map[string]int64{"root": 100, "data": 300}
}

// restoringNow has volumes of the first attempts and jobs that run.
func restoringNow(v *RestoreView) {
	inspected(v)
	v.Restore.Status = Restore(*v).Status
	for _, d := range v.Restore.Status.Disks {
		v.Volumes[d.Volume] = VolumeFact{UID: types.UID("uid-of-" + d.Volume), Owned: true, Created: now.Add(-time.Second)}
	}
	v.Restore.Status = Restore(*v).Status
	v.Jobs = nil
	rjob("root", 1, running)(v)
	rjob("data", 1, running)(v)
}

func rjob(disk string, attempt int32, change func(*v1alpha1.NodeJobStatus)) func(*RestoreView) {
	return func(v *RestoreView) {
		owner := v1alpha1.ObjectReference{Kind: "VMRestore", Namespace: "ns", Name: "r1", UID: uid}
		j := newJob(kindRestore, owner, disk, attempt, time.Minute)
		j.Spec.NodeName = "n1"
		change(&j.Status)
		for i := range v.Jobs {
			if v.Jobs[i].Name == j.Name {
				v.Jobs[i] = *j
				return
			}
		}
		v.Jobs = append(v.Jobs, *j)
	}
}

// whole ends a disk's restore with a record that is right, but for change.
func whole(disk string, change func(*v1alpha1.RestoreRecord)) func(*RestoreView) {
	return func(v *RestoreView) {
		volume := names.Volume(uid, disk, 1)
		v.Replicas[volume] = []string{"r1", "r0"}
		rec := &v1alpha1.RestoreRecord{
			Attempt: 1, VolumeUID: types.UID("uid-of-" + volume), Backup: "b-" + disk,
			Replicas: []v1alpha1.ReplicaRecord{{Name: "r0", LastRestored: "b-" + disk}, {Name: "r1", LastRestored: "b-" + disk}},
		}
		change(rec)
		rjob(disk, 1, func(s *v1alpha1.NodeJobStatus) { succeeded(s); s.Record = rec })(v)
	}
}

func right(*v1alpha1.RestoreRecord) {}

// built has every disk restored.
func built(v *RestoreView) {
	restoringNow(v)
	whole("root", right)(v)
	whole("data", right)(v)
	v.Origin.Rebuilt = &vmspec.Result{
		VM:   &unstructured.Unstructured{Object: map[string]any{"kind": "VirtualMachine", "metadata": map[string]any{"name": "web2"}}},
		PVCs: []*corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "web2-root"}}, {ObjectMeta: metav1.ObjectMeta{Name: "web2-data"}}},
	}
	v.Restore.Status = Restore(*v).Status
}

func bound(v *RestoreView) {
	built(v)
	for _, d := range v.Restore.Status.Disks {
		v.Made.Volumes[d.Volume] = ObjectFact{Owned: true}
		v.Made.Claims[d.Claim] = ObjectFact{Owned: true, Bound: true}
	}
}

func withSecrets(v *RestoreView) { v.Origin.Rebuilt.Secrets = map[string]string{"s": "web2-s"} }

func badRestore(v *RestoreView) {
	restoringNow(v)
	rjob("root", 1, failedJob("TargetError", false, 0))(v)
	v.Restore.Status = Restore(*v).Status
}

// marked has the point marked as being read, and nothing done yet.
func marked(v *RestoreView) {
	v.Restore.Status = Restore(*v).Status
}

func toldRestore(in RestoreIntent) []string {
	out := told(in.Actions)
	for _, o := range in.Create {
		kind := o.GetObjectKind().GroupVersionKind().Kind
		switch o.(type) {
		case *corev1.PersistentVolume:
			kind = "PersistentVolume"
		case *corev1.PersistentVolumeClaim:
			kind = "Claim"
		}
		out = append(out, "make "+kind)
	}
	for range in.TouchClaims {
		out = append(out, "touch claim")
	}
	for range in.DeleteVolumes {
		out = append(out, "delete volume")
	}
	if in.Clean {
		out = append(out, "clean")
	}
	return out
}
