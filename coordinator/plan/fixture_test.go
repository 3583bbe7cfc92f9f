package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

const uid = types.UID("7f0c85aa-f56c-4f35-bc78-eeadbf790605")

var now = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

func ago(d time.Duration) *metav1.Time { t := metav1.NewTime(now.Add(-d)); return &t }

func testConfig() Config {
	c := DefaultConfig()
	c.RetryAfter, c.RetryMax = 5*time.Second, time.Minute
	c.WorkRetry, c.WorkRetryMax = time.Second, 8*time.Second
	return c
}

// look is a view of a fresh VMBackup of VM web with disks root and data, with
// which nothing is wrong.
func look(changes ...func(*BackupView)) BackupView {
	v := BackupView{
		Now: now, Config: testConfig(), Gone: map[string]bool{}, Work: Works{},
		Backup: &v1alpha1.VMBackup{
			ObjectMeta: metav1.ObjectMeta{Name: "p1", Namespace: "ns", UID: uid, Generation: 1, CreationTimestamp: *ago(time.Second)},
			Spec:       v1alpha1.VMBackupSpec{VM: "web", Target: "s3", DeletionPolicy: v1alpha1.DeletionDelete},
		},
		Target: &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "s3"}},
		Probe:  Probe{Known: true},
		Source: &rules.Source{VMUID: "vm-uid", Disks: []rules.SourceDisk{
			{Name: "root", Claim: "c-root", Volume: "v-root", SizeBytes: 100}, {Name: "data", Claim: "c-data", Volume: "v-data", SizeBytes: 200},
		}},
	}
	for _, change := range changes {
		change(&v)
	}
	return v
}

// wasStarted takes a view to where its status says Cutting.
func wasStarted(v *BackupView) {
	v.Backup.Status = Backup(look()).Status
	v.Backup.Finalizers = []string{v1alpha1.FinalizerData}
	v.Work[Work{Op: OpCapture}] = WorkState{Tries: 1, Ended: now}
}

// job puts a job into the view, as its plan would make it.
func job(kind, disk string, attempt int32, change func(*v1alpha1.NodeJobStatus)) func(*BackupView) {
	return func(v *BackupView) {
		owner := v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: "ns", Name: "p1", UID: uid}
		j := newJob(kind, owner, disk, attempt, time.Minute)
		j.Spec.NodeName = "n1"
		if kind == kindRemove {
			j.Spec.RemoveSnapshots = &v1alpha1.RemoveSnapshotsJob{}
		}
		change(&j.Status)
		v.Jobs = append(v.Jobs, *j)
	}
}

func running(s *v1alpha1.NodeJobStatus) {
	s.State, s.ClaimedAt, s.Session = v1alpha1.JobRunning, ago(time.Second), "n1-00000000"
}
func unclaimed(*v1alpha1.NodeJobStatus) {}
func succeeded(s *v1alpha1.NodeJobStatus) {
	running(s)
	s.State, s.CompletedAt = v1alpha1.JobSucceeded, ago(0)
}

func cutDone(s *v1alpha1.NodeJobStatus) {
	succeeded(s)
	at := metav1.NewMicroTime(now)
	s.Cut = &v1alpha1.CutStatus{Number: 2, StartedAt: &at, WindowMicroseconds: 1001, Snapshots: map[string]string{
		"root": names.Snapshot(uid, 2, "root"), "data": names.Snapshot(uid, 2, "data"),
	}, Hooks: []v1alpha1.HookStatus{{Hook: "pre", Message: "ended well after 1s"}}}
}

func failedJob(reason string, retryable bool, since time.Duration) func(*v1alpha1.NodeJobStatus) {
	return func(s *v1alpha1.NodeJobStatus) {
		running(s)
		s.State, s.Reason, s.Message, s.Retryable, s.CompletedAt = v1alpha1.JobFailed, reason, "words of the agent", retryable, ago(since)
	}
}

func cancelled(v *BackupView) { v.Backup.Spec.Cancel = true }

// cut takes a view to where the disks are cut and being uploaded.
func cut(v *BackupView) {
	wasStarted(v)
	job(kindCut, "", 1, cutDone)(v)
	v.Backup.Status = Backup(*v).Status
}

// isReady takes a view to a Ready point without jobs.
func isReady(v *BackupView) {
	cut(v)
	job(kindBackup, "root", 1, succeeded)(v)
	job(kindBackup, "data", 1, succeeded)(v)
	finalized(v)
	v.Backup.Status = Backup(*v).Status
	v.Jobs, v.Work, v.Finalized = nil, Works{}, nil
}

func finalized(v *BackupView) {
	v.Finalized = &Finalized{Path: "hayloft/points/ns/p1.json", Digest: "sha256:1", Disks: map[string]FinalizedDisk{"root": {UploadedBytes: 7, Incremental: true}}}
	v.Work[Work{Op: OpFinalize, Arg: "true," + names.Backup(uid, "root", 1) + "," + names.Backup(uid, "data", 1)}] = WorkState{Tries: 1, Ended: now}
}

func work(op Op, arg string, s WorkState) func(*BackupView) {
	return func(v *BackupView) { v.Work[Work{Op: op, Arg: arg}] = s }
}

// looked is how the look for an attempt on the target ended; reason "" is that
// it is whole.
func looked(disk string, attempt int32, reason string) func(*BackupView) {
	s := WorkState{Tries: 1, Ended: now}
	if reason != "" {
		s.FirstFailed, s.Err = now, &WorkError{Reason: reason, Message: disk + " is not whole"}
	}
	return work(OpInspectAttempt, names.Backup(uid, disk, attempt), s)
}

// volumesGone: these Longhorn volumes do not exist any more.
func volumesGone(volumes ...string) func(*BackupView) {
	return func(v *BackupView) {
		for _, name := range volumes {
			v.Gone[name] = true
		}
	}
}

func bad(transient bool, since time.Duration) WorkState {
	return WorkState{Tries: 1, Ended: now, FirstFailed: now.Add(-since), Err: &WorkError{Reason: "Unreachable", Message: "connection refused", Transient: transient}}
}

func deleting(v *BackupView) { v.Backup.DeletionTimestamp = ago(0) }

// failing takes a point that was cut to where its cause is recorded.
func isFailing(v *BackupView) {
	cut(v)
	job(kindBackup, "root", 1, failedJob("SnapshotMissing", false, 0))(v)
	v.Backup.Status = Backup(*v).Status
}

// told puts an intent into one line per kind of action, for comparison.
func told(a Actions) []string {
	var out []string
	for _, j := range a.CreateJobs {
		out = append(out, "create "+shortName(j.Name))
	}
	for _, name := range a.DeleteJobs {
		out = append(out, "delete "+shortName(name))
	}
	if a.DropJobs {
		out = append(out, "drop jobs")
	}
	for _, o := range a.Start {
		line := "start " + string(o.Op)
		if o.Op == OpDropAttempt || o.Op == OpInspectAttempt {
			line += " " + strings.TrimPrefix(o.Arg, "hl-"+string(uid)+"-")
		}
		if o.Op == OpDeletePoint {
			line += fmt.Sprintf(" %d", len(o.Backups))
		}
		out = append(out, line)
	}
	if a.Probe {
		out = append(out, "probe")
	}
	if a.AddFinalizer {
		out = append(out, "hold")
	}
	if a.DropFinalizer {
		out = append(out, "let go")
	}
	slices.Sort(out)
	return out
}

// shortName is a job's name without the owner's UID, its disk readable.
func shortName(name string) string {
	name = strings.Replace(name, "-"+string(uid), "", 1)
	for _, disk := range []string{"root", "data"} {
		name = strings.Replace(name, names.Short(disk), disk, 1)
	}
	return name
}

func reason(conditions []metav1.Condition, kind string) string {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason
}

func message(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return c.Message
	}
	return ""
}
