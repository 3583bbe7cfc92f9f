package control_test

// These tests run the controllers against a real API server. The test itself
// plays the agents at the level of NodeJobs and session Leases (it writes the
// status that an agent would write), and the target work is a fake at the
// consumer's interface, which remembers what it was asked.

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/control"
	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// world is one test's part of the API server.
type world struct {
	t      *testing.T
	ctx    context.Context
	config *rest.Config
	client client.Client
	ns     string // the users'
	own    string // Hayloft's
	lh     string // Longhorn's
	fake   *fakeTargets
	opts   control.Options
}

func newWorld(t *testing.T) *world {
	t.Helper()
	config := harness.APIServer(t)
	scheme, err := control.Scheme()
	require.NoError(t, err)
	c, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	w := &world{
		t: t, ctx: t.Context(), config: config, client: c,
		ns: harness.Namespace(t, config), own: harness.Namespace(t, config), lh: harness.Namespace(t, config),
		fake: newFakeTargets(),
	}
	p := plan.DefaultConfig()
	p.RetryAfter, p.WorkRetry = 20*time.Millisecond, 20*time.Millisecond
	p.WorkPatience, p.CleanPatience = 2*time.Second, time.Second
	w.opts = control.Options{
		Namespace: w.own, LonghornNamespace: w.lh, Plan: p, Targets: w.fake, Recorder: nobody{},
		Log: slog.New(slog.NewTextHandler(testLog(), &slog.HandlerOptions{Level: slog.LevelDebug})), ClaimTimeout: 2 * time.Second, StatusEvery: 50 * time.Millisecond,
		SweepEvery: time.Hour, SessionDuration: time.Second,
	}
	t.Cleanup(w.clear)
	return w
}

// clear takes this test's objects away: the next test's coordinator would see
// them.
func (w *world) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var backups v1alpha1.VMBackupList
	var restores v1alpha1.VMRestoreList
	var targets v1alpha1.BackupTargetList
	var all []client.Object
	for _, l := range []client.ObjectList{&backups, &restores, &targets} {
		if err := w.client.List(ctx, l); err != nil {
			w.t.Error(err)
		}
	}
	for i := range backups.Items {
		all = append(all, &backups.Items[i])
	}
	for i := range restores.Items {
		all = append(all, &restores.Items[i])
	}
	for i := range targets.Items {
		all = append(all, &targets.Items[i])
	}
	for _, o := range all {
		o.SetFinalizers(nil)
		if err := w.client.Update(ctx, o); client.IgnoreNotFound(err) != nil {
			w.t.Error(err)
		}
		if err := w.client.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
			w.t.Error(err)
		}
	}
}

func testLog() io.Writer {
	if os.Getenv("HAYLOFT_TEST_LOG") != "" {
		return os.Stderr
	}
	return io.Discard
}

// start runs a coordinator until stop is called or the test ends.
func (w *world) start(identity string) (c *control.Controller, stop func()) {
	w.t.Helper()
	e := control.Election{Identity: identity, Duration: 3 * time.Second, Renew: 2 * time.Second, Retry: 200 * time.Millisecond}
	mgr, err := control.NewManager(w.config, w.opts, e)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	c, err = control.Setup(ctx, mgr, w.opts)
	require.NoError(w.t, err)
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("manager %s: %v", identity, err)
			}
		case <-time.After(20 * time.Second):
			w.t.Errorf("manager %s did not end", identity)
		}
	})
	w.t.Cleanup(stop)
	return c, stop
}

type nobody struct{}

func (nobody) JobDone(string, string, time.Duration) {}
func (nobody) PointDone(int64, int64)                {}
func (nobody) TookOver()                             {}
func (nobody) Swept(string)                          {}

// eventually polls until ok is true.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// holds fails when ok is false at any look within d.
func (w *world) holds(what string, d time.Duration, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !ok() {
			w.t.Fatalf("not any more: %s", what)
		}
	}
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		require.NoError(w.t, w.client.Create(w.ctx, o), "creating %T %s", o, o.GetName())
	}
}

// vm makes a VM with disks "root" and "data" on Longhorn volumes of 64 MiB.
func (w *world) vm(name string) *unstructured.Unstructured {
	w.t.Helper()
	w.class("longhorn-" + w.ns)
	for _, disk := range []string{"root", "data"} {
		w.disk(name+"-"+disk, "vol-"+w.ns+"-"+name+"-"+disk)
	}
	vm := w.vmObject(name, name+"-root", name+"-data")
	w.create(vm)
	return vm
}

func (w *world) class(name string) {
	w.t.Helper()
	policy := corev1.PersistentVolumeReclaimDelete
	err := w.client.Create(w.ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: plan.Driver, ReclaimPolicy: &policy,
	})
	require.NoError(w.t, client.IgnoreAlreadyExists(err))
}

// disk makes a bound claim on a Longhorn volume.
func (w *world) disk(claim, volume string) {
	w.t.Helper()
	w.create(w.volume(volume, nil))
	w.claimOn(claim, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-" + volume},
		Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
			CSI: &corev1.CSIPersistentVolumeSource{Driver: plan.Driver, VolumeHandle: volume},
		}},
	})
}

// volume is a Longhorn volume as its webhook would let it through.
func (w *world) volume(name string, spec map[string]any) *unstructured.Unstructured {
	all := map[string]any{
		"size": "67108864", "numberOfReplicas": int64(2), "dataEngine": "v1", "accessMode": "rwx", "migratable": true, "frontend": "blockdev",
	}
	maps.Copy(all, spec)
	u := &unstructured.Unstructured{Object: map[string]any{"spec": all}}
	u.SetGroupVersionKind(plan.KindVolume)
	u.SetName(name)
	u.SetNamespace(w.lh)
	return u
}

func (w *world) claimOn(claim string, pv *corev1.PersistentVolume) {
	w.t.Helper()
	class := "longhorn-" + w.ns
	mode := corev1.PersistentVolumeBlock
	pv.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("64Mi")}
	pv.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	pv.Spec.StorageClassName, pv.Spec.VolumeMode = class, &mode
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: claim, Namespace: w.ns},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: pv.Spec.AccessModes, StorageClassName: &class, VolumeMode: &mode, VolumeName: pv.Name,
			Resources: corev1.VolumeResourceRequirements{Requests: pv.Spec.Capacity},
		},
	}
	w.create(pv, c)
	w.bind(c)
}

// bind plays kube-controller-manager's volume binder.
func (w *world) bind(c *corev1.PersistentVolumeClaim) {
	w.t.Helper()
	c.Status.Phase = corev1.ClaimBound
	require.NoError(w.t, w.client.Status().Update(w.ctx, c))
}

func (w *world) vmObject(name string, claims ...string) *unstructured.Unstructured {
	var volumes, disks []any
	for i, claim := range claims {
		disk := []string{"root", "data", "third"}[i]
		volumes = append(volumes, map[string]any{"name": disk, "persistentVolumeClaim": map[string]any{"claimName": claim}})
		disks = append(disks, map[string]any{"name": disk, "disk": map[string]any{"bus": "virtio"}})
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
		"metadata": map[string]any{"name": name, "namespace": w.ns},
		"spec": map[string]any{
			"runStrategy": "Halted",
			"template": map[string]any{"spec": map[string]any{
				"domain":  map[string]any{"devices": map[string]any{"disks": disks}},
				"volumes": volumes,
			}},
		},
	}}
}

func (w *world) target(name string) *v1alpha1.BackupTarget {
	w.t.Helper()
	t := &v1alpha1.BackupTarget{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-" + w.ns},
		Spec:       v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: "/backups"}},
	}
	w.create(t)
	return t
}

func (w *world) backup(name, vm, target string) *v1alpha1.VMBackup {
	w.t.Helper()
	b := &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns},
		Spec:       v1alpha1.VMBackupSpec{VM: vm, Target: target},
	}
	w.create(b)
	return b
}

// refresh reads an object again; false: it is gone.
func (w *world) refresh(o client.Object) bool {
	w.t.Helper()
	err := w.client.Get(w.ctx, client.ObjectKeyFromObject(o), o)
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
	return err == nil
}

func (w *world) awaitBackup(b *v1alpha1.VMBackup, phase v1alpha1.BackupPhase) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("VMBackup %s is %s", b.Name, phase), func() bool { return w.refresh(b) && b.Status.Phase == phase })
}

func ready(conditions []metav1.Condition) (reason, message string) {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if c == nil {
		return "", ""
	}
	return c.Reason, c.Message
}

func (w *world) jobs() []v1alpha1.NodeJob {
	w.t.Helper()
	var list v1alpha1.NodeJobList
	require.NoError(w.t, w.client.List(w.ctx, &list, client.InNamespace(w.own)))
	return list.Items
}

// awaitJob waits for the job of a kind ("cut", "backup", ...) for a disk and
// attempt of an owner.
func (w *world) awaitJob(kind string, owner types.UID, disk string, attempt int32) *v1alpha1.NodeJob {
	w.t.Helper()
	j := &v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{Name: names.Job(kind, owner, disk, attempt), Namespace: w.own}}
	w.eventually("job "+j.Name, func() bool { return w.refresh(j) })
	return j
}

// session makes the heartbeat Lease of an agent and beats until stop is called.
func (w *world) session(node string) (id string, stop func()) {
	w.t.Helper()
	id = node + "-0000abcd"
	seconds := int32(1)
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: names.SessionLease(id), Namespace: w.own,
			Labels: map[string]string{v1alpha1.LabelLease: "session", v1alpha1.LabelNode: node},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &id, LeaseDurationSeconds: &seconds},
	}
	w.create(l)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for beat := 0; ; beat++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
			l.Annotations = map[string]string{"beat": fmt.Sprint(beat)}
			_ = w.client.Update(ctx, l)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); done.Wait() })
	w.t.Cleanup(stop)
	return id, stop
}

// report writes a job's status as an agent would.
func (w *world) report(j *v1alpha1.NodeJob, change func(*v1alpha1.NodeJobStatus)) {
	w.t.Helper()
	w.eventually("writing the status of job "+j.Name, func() bool {
		if !w.refresh(j) {
			w.t.Fatalf("job %s is gone", j.Name)
		}
		change(&j.Status)
		return w.client.Status().Update(w.ctx, j) == nil
	})
}

func (w *world) claim(j *v1alpha1.NodeJob, session string) {
	w.t.Helper()
	now := metav1.Now()
	w.report(j, func(s *v1alpha1.NodeJobStatus) { s.State, s.Session, s.ClaimedAt = v1alpha1.JobRunning, session, &now })
}

func (w *world) succeed(j *v1alpha1.NodeJob, change func(*v1alpha1.NodeJobStatus)) {
	w.t.Helper()
	now := metav1.Now()
	w.report(j, func(s *v1alpha1.NodeJobStatus) {
		s.State, s.CompletedAt = v1alpha1.JobSucceeded, &now
		if change != nil {
			change(s)
		}
	})
}

func (w *world) failJob(j *v1alpha1.NodeJob, reason, message string, retryable bool) {
	w.t.Helper()
	now := metav1.Now()
	w.report(j, func(s *v1alpha1.NodeJobStatus) {
		s.State, s.CompletedAt, s.Reason, s.Message, s.Retryable = v1alpha1.JobFailed, &now, reason, message, retryable
	})
}

// cut ends the cut job of a point well.
func (w *world) cut(b *v1alpha1.VMBackup, session string) {
	w.t.Helper()
	j := w.awaitJob("cut", b.UID, "", 1)
	w.claim(j, session)
	at := metav1.NowMicro()
	w.succeed(j, func(s *v1alpha1.NodeJobStatus) {
		s.Cut = &v1alpha1.CutStatus{Number: 1, StartedAt: &at, WindowMicroseconds: 1500, Snapshots: map[string]string{}}
		for _, d := range j.Spec.Cut.Disks {
			s.Cut.Snapshots[d.Name] = names.Snapshot(b.UID, 1, d.Name)
		}
	})
}

func (w *world) upload(b *v1alpha1.VMBackup, disk string, attempt int32, session string) {
	w.t.Helper()
	j := w.awaitJob("backup", b.UID, disk, attempt)
	w.claim(j, session)
	w.succeed(j, func(s *v1alpha1.NodeJobStatus) {
		s.Transfer = &v1alpha1.TransferStatus{Started: true, Progress: &v1alpha1.Progress{BytesDone: 64 << 20, BytesTotal: 64 << 20}}
	})
}

// fakeTargets is target work that remembers what it was asked and fails where
// it is told to.
type fakeTargets struct {
	mu    sync.Mutex
	calls []string
	fails map[string]error // operation -> its error
	docs  map[string]*document.Document
	vm    *unstructured.Unstructured
	claim func(name string) []byte
	draft bool // Finalize needs a capture first
}

// missingDraft has Finalize fail until the VM is captured.
func (f *fakeTargets) missingDraft(missing bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.draft = missing
}

func newFakeTargets() *fakeTargets {
	return &fakeTargets{fails: map[string]error{}, docs: map[string]*document.Document{}}
}

func (f *fakeTargets) do(op, arg string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, op+" "+arg)
	return f.fails[op]
}

// fail has an operation fail from now on; nil heals it.
func (f *fakeTargets) fail(op string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails[op] = err
}

func (f *fakeTargets) called(op string) (args []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if len(c) > len(op) && c[:len(op)+1] == op+" " {
			args = append(args, c[len(op)+1:])
		}
	}
	return args
}

func (f *fakeTargets) Probe(_ context.Context, t v1alpha1.BackupTarget) error {
	return f.do("probe", t.Name)
}

func (f *fakeTargets) Capture(_ context.Context, _ v1alpha1.BackupTarget, r protocol.CaptureRequest) error {
	slices.Sort(r.Claims)
	f.missingDraft(false)
	return f.do("capture", fmt.Sprint(r.VM, r.Claims))
}

func (f *fakeTargets) Finalize(_ context.Context, _ v1alpha1.BackupTarget, r protocol.FinalizeRequest) (protocol.FinalizeResult, error) {
	if err := f.do("finalize", string(r.Point.UID)); err != nil {
		return protocol.FinalizeResult{}, err
	}
	f.mu.Lock()
	missing := f.draft
	f.mu.Unlock()
	if missing {
		return protocol.FinalizeResult{}, &protocol.Error{Reason: protocol.NotFound, Message: "the draft is not on the target"}
	}
	path, err := document.PointPath(r.Point.Namespace, r.Point.Name, r.Point.UID)
	if err != nil {
		return protocol.FinalizeResult{}, err
	}
	out := protocol.FinalizeResult{Path: path, Digest: "sha256:00"}
	for _, d := range r.Disks {
		out.Disks = append(out.Disks, protocol.Inspection{Name: d.Name, SizeBytes: d.SizeBytes, VolumeSizeBytes: d.SizeBytes, UploadedBytes: 1000})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.docs[path] = &document.Document{FormatVersion: 1, Digest: out.Digest, Point: r.Point, Disks: r.Disks, Origin: document.Origin{Namespace: r.Point.Namespace}}
	return out, nil
}

func (f *fakeTargets) ReadDocument(_ context.Context, _ v1alpha1.BackupTarget, path, _ string) (*document.Document, error) {
	if err := f.do("readDocument", path); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.docs[path]
	if d == nil {
		return nil, &protocol.Error{Reason: protocol.NotFound, Message: path + " is not on the target"}
	}
	c := *d
	vm, err := f.vm.MarshalJSON()
	if err != nil {
		return nil, err
	}
	c.VM, c.Claims, c.Origin.VM = vm, nil, f.vm.GetName()
	for _, disk := range c.Disks {
		c.Claims = append(c.Claims, document.Claim{Name: disk.Claim, Object: f.claim(disk.Claim)})
	}
	return &c, nil
}

func (f *fakeTargets) InspectBackups(_ context.Context, _ v1alpha1.BackupTarget, disks []document.Disk) ([]protocol.Inspection, error) {
	if err := f.do("inspectBackups", fmt.Sprint(len(disks))); err != nil {
		return nil, err
	}
	var out []protocol.Inspection
	for _, d := range disks {
		out = append(out, protocol.Inspection{Name: d.Name, SizeBytes: d.SizeBytes, VolumeSizeBytes: d.SizeBytes})
	}
	return out, nil
}

func (f *fakeTargets) MakeSecrets(_ context.Context, _ v1alpha1.BackupTarget, r protocol.MakeSecretsRequest) error {
	return f.do("makeSecrets", r.Namespace)
}

func (f *fakeTargets) DropAttempt(_ context.Context, _ v1alpha1.BackupTarget, _, backup string) error {
	return f.do("dropAttempt", backup)
}

func (f *fakeTargets) DeletePoint(_ context.Context, _ v1alpha1.BackupTarget, r protocol.DeleteRequest) error {
	return f.do("deletePoint", fmt.Sprintf("%s %d", r.DraftUID, len(r.Backups)))
}
