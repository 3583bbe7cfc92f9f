package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/test/harness"
)

// hold is a finalizer that keeps an object in its deletion.
const hold = "example.com/hold"

// refusal is something to ask for and what it is answered.
type refusal struct {
	object client.Object
	says   string
}

// stage is what the refusals are about: VMs of every kind, targets, points and
// restores, as they could be. Nothing moves on it: its target never answers.
type stage struct {
	*world
	deaf  *v1alpha1.BackupTarget
	other string // another namespace
}

// setStage puts everything there; no coordinator may run yet.
func setStage(w *world) *stage {
	w.t.Helper()
	s := &stage{world: w, other: harness.Namespace(w.t, w.Config)}
	endpoint := deafEndpoint(w.t)
	s.deaf = w.ownTarget("deaf", "id", "key", func(t *v1alpha1.BackupTargetSpec) { t.S3.Endpoint = endpoint })
	s.going(w.ownTarget("going", "id", "key", nil))

	w.claim("vm-root", 16*mib)
	w.refusalVM("vm", []string{"vm-root"}, nil)
	w.runningVM("running", 16*mib)
	w.refusalVM("unbound", []string{"unbound-root"}, nil)
	w.claim("shared-root", 16*mib)
	w.refusalVM("shared", []string{"shared-root"}, func(vm *kubevirt.VirtualMachine) {
		vm.Spec.Template.Spec.Domain.Devices.Disks[0].Shareable = ptr.To(true)
	})
	w.staticClaim("nfs-root", corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "nfs.example.com", Path: "/"}})
	w.refusalVM("nfs", []string{"nfs-root"}, nil)

	volume := w.volumeOf("vm-root")
	ready := s.point(w.ns, "ready", "vm", s.deaf.Name, v1alpha1.BackupReady, volume)
	s.patch(ready, fmt.Sprintf(`{"metadata":{"finalizers":[%q]}}`, v1alpha1.FinalizerData)) // as the planner puts it
	s.point(w.ns, "unready", "vm", s.deaf.Name, "", volume)
	s.point(w.ns, "lost-target", "vm", "nowhere", v1alpha1.BackupReady, volume)
	s.point(w.ns, "of-running", "running", s.deaf.Name, v1alpha1.BackupReady, volume)
	s.point(w.ns, "of-lost", "lost", s.deaf.Name, v1alpha1.BackupReady, volume)
	s.point(w.ns, "snap", "vm", "", v1alpha1.BackupReady, volume)
	s.point(s.other, "snap-there", "vm", "", v1alpha1.BackupReady, volume)
	s.going(s.point(w.ns, "leaving", "vm", s.deaf.Name, v1alpha1.BackupReady, volume))
	yearly := &v1alpha1.VMSchedule{Spec: v1alpha1.VMScheduleSpec{Cron: "0 3 1 1 *", VM: "vm", Target: s.deaf.Name}}
	yearly.Namespace, yearly.Name = w.ns, "yearly"
	w.mustMake(yearly)
	s.patch(s.point(w.ns, "of-yearly", "vm", s.deaf.Name, v1alpha1.BackupReady, volume), fmt.Sprintf(`{"metadata":{"labels":{%q:%q},"annotations":{%q:%q}}}`,
		v1alpha1.LabelSchedule, yearly.UID, v1alpha1.AnnotationSchedule, yearly.Name))
	w.mustMake(s.restoreOf("first", "ready", func(r *v1alpha1.VMRestoreSpec) { r.NewVM = "rival" }))
	return s
}

// point makes a point as if it had come to a phase; of type Snapshot without a
// target.
func (s *stage) point(namespace, name, vm, target string, phase v1alpha1.BackupPhase, volume string) *v1alpha1.VMBackup {
	s.t.Helper()
	b := s.backupOf(name, vm, target)
	b.Namespace = namespace
	s.mustMake(b)
	s.t.Cleanup(func() { s.release(b) })
	if phase != "" {
		b.Status.Phase = phase
		if target != "" {
			// On the deaf target whoever reads it has to wait.
			path, err := document.PointPath(b.Namespace, b.Name, b.UID)
			require.NoError(s.t, err)
			b.Status.Document = path
		}
		b.Status.Disks = []v1alpha1.BackupDisk{{Name: "root", Claim: "vm-root", Volume: volume, SizeBytes: 16 * mib, State: v1alpha1.DiskDone}}
		require.NoError(s.t, s.c.Status().Update(s.ctx, b))
	}
	return b
}

func (s *stage) backupOf(name, vm, target string) *v1alpha1.VMBackup {
	b := &v1alpha1.VMBackup{Spec: v1alpha1.VMBackupSpec{VM: vm, Target: target}}
	b.Namespace, b.Name = s.ns, name
	if target == "" {
		b.Spec.Type = v1alpha1.TypeSnapshot
	}
	return b
}

func (s *stage) restoreOf(name, backup string, change func(*v1alpha1.VMRestoreSpec)) *v1alpha1.VMRestore {
	r := &v1alpha1.VMRestore{Spec: v1alpha1.VMRestoreSpec{Backup: backup}}
	r.Namespace, r.Name = s.ns, name
	change(&r.Spec)
	return r
}

// going has an object be deleted for as long as the test goes on.
func (s *stage) going(o client.Object) {
	s.t.Helper()
	s.patch(o, fmt.Sprintf(`{"metadata":{"finalizers":[%q]}}`, hold))
	require.NoError(s.t, s.c.Delete(s.ctx, o))
	s.t.Cleanup(func() { s.release(o) })
}

// release takes the finalizers of an object away.
func (s *stage) release(o client.Object) {
	err := s.c.Patch(cleanUp(s.t), o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))
	require.NoError(s.t, client.IgnoreNotFound(err))
}

// refusals is the list: what is refused by the webhook, and by the planner where
// there is no webhook.
func (s *stage) refusals() map[string]refusal {
	newVM := func(name string) func(*v1alpha1.VMRestoreSpec) {
		return func(r *v1alpha1.VMRestoreSpec) { r.NewVM = name }
	}
	replace := func(vm string, volumes v1alpha1.VolumePolicy) func(*v1alpha1.VMRestoreSpec) {
		return func(r *v1alpha1.VMRestoreSpec) { r.Replace = &v1alpha1.Replace{VM: vm, Volumes: volumes} }
	}
	return map[string]refusal{
		"backup of no VM":                   {s.backupOf("b-novm", "nobody", s.Target), `there is no VirtualMachine "nobody" in namespace ` + s.ns + " (spec.vm): name one that exists"},
		"backup to no target":               {s.backupOf("b-notarget", "vm", "nowhere"), `there is no BackupTarget "nowhere" (spec.target): create it, or name another in a new VMBackup`},
		"backup to a target that goes":      {s.backupOf("b-going", "vm", s.ns+"-going"), `BackupTarget "` + s.ns + `-going" (spec.target) is being deleted: name another`},
		"backup of a disk without claim":    {s.backupOf("b-unbound", "unbound", s.Target), "disk root: PersistentVolumeClaim unbound-root does not exist: make it, or remove the disk from the VM"},
		"backup of a shareable disk":        {s.backupOf("b-shared", "shared", s.Target), "disk root is shareable: other VMs can write to it"},
		"backup of other storage":           {s.backupOf("b-nfs", "nfs", s.Target), "disk root (claim nfs-root) is on NFS, not on Longhorn: move it to a Longhorn volume, or remove it from the VM"},
		"restore of no point":               {s.restoreOf("r-none", "nothing", newVM("copy")), `there is no VMBackup "nothing" in namespace ` + s.ns + " (spec.backup): name one that exists"},
		"restore of a point that goes":      {s.restoreOf("r-leaving", "leaving", newVM("copy")), "VMBackup leaving (spec.backup) is being deleted: choose another"},
		"restore of an unfinished point":    {s.restoreOf("r-unready", "unready", newVM("copy")), "not Ready: only a whole point can be restored, so choose another or wait for it"},
		"restore of a point without target": {s.restoreOf("r-lost", "lost-target", newVM("copy")), `BackupTarget "nowhere" of VMBackup lost-target (spec.backup) does not exist: create it again`},
		"snapshot in another namespace": {
			s.restoreOf("r-across", "snap-there", func(r *v1alpha1.VMRestoreSpec) { r.BackupNamespace, r.NewVM = s.other, "copy" }),
			"spec.backupNamespace: VMBackup snap-there is of type Snapshot, which can be restored in its own namespace " + s.other + " only",
		},
		"snapshot whose volumes would go":     {s.restoreOf("r-selfless", "snap", replace("vm", v1alpha1.VolumesDelete)), "spec.replace.volumes is Delete, but VMBackup snap is of type Snapshot and lives in those very volumes: use Retain"},
		"snapshots that would go along":       {s.restoreOf("r-along", "ready", replace("vm", v1alpha1.VolumesDelete)), "spec.replace.volumes is Delete, but VMBackups snap of type Snapshot live in those volumes and would go with them: name them in spec.replace.deleteSnapshots, or use Retain"},
		"name of the new VM taken":            {s.restoreOf("r-taken", "ready", newVM("vm")), "VirtualMachine vm exists already in namespace " + s.ns + ": choose another name in spec.newVM"},
		"replaced VM missing":                 {s.restoreOf("r-missing", "of-lost", replace("lost", v1alpha1.VolumesRetain)), `there is no VirtualMachine "lost" in namespace ` + s.ns + " (spec.replace.vm): restore to a new VM with spec.newVM"},
		"replaced VM runs":                    {s.restoreOf("r-running", "of-running", replace("running", v1alpha1.VolumesRetain)), "VirtualMachine running is running (Running): shut it down, or stop it (virtctl stop running), and create the restore again"},
		"replaced VM goes on being backed up": {s.restoreOf("r-yearly", "of-yearly", replace("vm", v1alpha1.VolumesRetain)), "spec.replace.vm: VMSchedule yearly, which made VMBackup of-yearly, goes on taking points of VM vm while that is replaced: suspend it (hayloft schedule suspend yearly) until the restore is done"},
		"another VM's point":                  {s.restoreOf("r-another", "of-lost", replace("vm", v1alpha1.VolumesRetain)), `spec.replace.vm is "vm", but VMBackup of-lost is of VM "lost": name that one, or restore to a new VM with spec.newVM`},
		"restore beside another":              {s.restoreOf("r-rival", "ready", newVM("rival")), "VMRestore first is restoring into VM rival already: wait for its end, or name another in spec.newVM"},
		"MAC addresses of a living VM": {
			s.restoreOf("r-mac", "ready", func(r *v1alpha1.VMRestoreSpec) { r.NewVM, r.KeepMACAddresses = "copy", true }),
			"spec.keepMACAddresses: source VM " + s.ns + "/vm still exists, and two VMs would answer to one address: delete it",
		},
		"class that is not there": {
			s.restoreOf("r-class", "ready", func(r *v1alpha1.VMRestoreSpec) {
				r.NewVM, r.StorageClasses = "copy", map[string]string{"longhorn": "fast"}
			}),
			"spec.storageClasses[longhorn]: there is no StorageClass fast: create it, or name another",
		},
		"network that is not there": {
			s.restoreOf("r-network", "ready", func(r *v1alpha1.VMRestoreSpec) {
				r.NewVM, r.Networks = "copy", map[string]string{"a/lan": "b/lan"}
			}),
			"spec.networks[a/lan]: there is no NetworkAttachmentDefinition b/lan: create it, or name another",
		},
		"disk that the point lacks": {
			s.restoreOf("r-disk", "ready", func(r *v1alpha1.VMRestoreSpec) {
				r.DiskClaim = &v1alpha1.DiskClaim{Disk: "swap", Claim: "c"}
			}),
			`spec.diskClaim.disk: VMBackup ready has no disk "swap": choose one of root`,
		},
		"claim's name taken": {
			s.restoreOf("r-claim", "ready", func(r *v1alpha1.VMRestoreSpec) {
				r.DiskClaim = &v1alpha1.DiskClaim{Disk: "root", Claim: "vm-root"}
			}),
			"PersistentVolumeClaim vm-root exists already in namespace " + s.ns + ": choose another name in spec.diskClaim.claim",
		},
	}
}

// lead has somebody else be the leader, so that coordinators only serve.
func (s *stage) lead() {
	s.t.Helper()
	now := metav1.NowMicro()
	s.mustMake(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: harness.HayloftNamespace, Name: "coordinator"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("somebody"), LeaseDurationSeconds: ptr.To(int32(time.Hour / time.Second)), AcquireTime: &now, RenewTime: &now,
		},
	})
}

// withoutWebhook does something while the webhook's configuration is away.
func (w *world) withoutWebhook(do func()) {
	w.t.Helper()
	again := w.dropWebhook(w.ctx)
	do()
	again.ResourceVersion, again.UID = "", ""
	w.mustMake(again)
}

// dropWebhook removes the webhook's configuration and returns it.
func (w *world) dropWebhook(ctx context.Context) *admissionregistrationv1.ValidatingWebhookConfiguration {
	w.t.Helper()
	c := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	require.NoError(w.t, w.c.Get(ctx, client.ObjectKey{Name: "hayloft"}, c))
	require.NoError(w.t, w.c.Delete(ctx, c.DeepCopy()))
	require.EventuallyWithT(w.t, func(t *assert.CollectT) {
		require.NoError(t, w.c.Create(ctx, w.anyQuota(), client.DryRunAll), "the API server still asks the webhook")
	}, patience, 50*time.Millisecond)
	return c
}

func (w *world) anyQuota() *v1alpha1.SnapshotQuota {
	return &v1alpha1.SnapshotQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "any"}}
}

// awaitServed waits until coordinators serve the webhook, and the API server
// trusts them.
func (w *world) awaitServed(programs ...*harness.Program) {
	w.t.Helper()
	for _, p := range programs {
		w.eventually(p.Name+" to be ready", func() (bool, string) { return readyz(p.URL) })
	}
	w.eventually("the webhook to answer", func() (bool, string) {
		err := w.c.Create(w.ctx, w.anyQuota(), client.DryRunAll)
		return err == nil, fmt.Sprint(err)
	})
}

// denied is the sentence of a webhook that denied something, "" for any other
// error.
func denied(err error) string {
	if err == nil {
		return ""
	}
	_, sentence, _ := strings.Cut(err.Error(), "denied the request: ")
	return sentence
}

// admissionWorld is a stack with the webhook and its stage, and two coordinators
// of which none leads.
func admissionWorld(t testing.TB) *stage {
	t.Helper()
	w := bare(t, harness.NewStack(t, harness.StackOptions{WithWebhook: true}))
	var s *stage
	w.withoutWebhook(func() { s = setStage(w) })
	s.lead()
	t.Cleanup(func() { w.dropWebhook(cleanUp(t)) }) // the coordinators end before the test's objects do
	w.awaitServed(w.startCoordinator("coordinator-1", harness.ProgramOptions{}), w.startCoordinator("coordinator-2", harness.ProgramOptions{}))
	return s
}
