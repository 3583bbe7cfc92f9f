package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// oftenRefreshed has coordinators refresh targets within seconds, and take none that
// holds more than a few documents.
var oftenRefreshed = []string{"--refresh-floor", "2s", "--refresh-default", "5s", "--refresh-max-documents", "3"}

// longhornsTarget makes one as Longhorn has it, with an interval that is too short.
func (w *world) longhornsTarget() {
	w.t.Helper()
	o := &longhorn.BackupTarget{ObjectMeta: metav1.ObjectMeta{Namespace: harness.LonghornNamespace, Name: "default"}}
	o.Spec.BackupTargetURL, o.Spec.PollInterval = "nfs://nas.example.org:/backups", metav1.Duration{Duration: 30 * time.Second}
	w.mustMake(o)
}

// busy has something happen of everything that dashboards show.
func (w *world) busy() {
	w.t.Helper()
	w.manyTargets()
	w.hookedVM("web")
	w.runningVM("unprotected", 16*mib)
	large := resource.MustParse("10Gi")
	quota := &v1alpha1.SnapshotQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "q"}}
	quota.Spec.Limit, quota.Spec.VMLimit = &large, &large
	w.mustMake(quota)
	yearly, slow := w.manySchedules()

	b1 := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.ns, Name: "b1", Labels: map[string]string{v1alpha1.LabelSchedule: string(yearly.UID)},
	}}
	b1.Spec.VM, b1.Spec.Target = "web", w.Target
	w.mustMake(b1)
	w.awaitBackup("b1", v1alpha1.BackupReady)
	w.snapshot("s1", "web")
	w.awaitBackup("s1", v1alpha1.BackupReady)

	w.patch(w.vm("web"), fmt.Sprintf(`{"metadata":{"annotations":{%q:"error"}}}`, freezeFault))
	required := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "required"}}
	required.Spec.VM, required.Spec.Target = "web", w.Target
	required.Spec.Quiesce = v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired, DeadlineSeconds: 1}
	w.mustMake(required)
	w.awaitBackup("required", v1alpha1.BackupFailed)
	refused := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "refused"}}
	refused.Spec.VM, refused.Spec.Target = "web", "no-such-target"
	require.Contains(w.t, denied(w.c.Create(w.ctx, refused)), "no-such-target")

	w.restore("r1", "b1", "copy")
	w.awaitRestore("r1", v1alpha1.RestoreReady)
	fails := &v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "r2"}}
	fails.Spec.Backup, fails.Spec.NewVM = "b1", "copy2"
	fails.Spec.StorageClasses = map[string]string{"longhorn": "no-such-class"}
	w.withoutWebhook(func() { w.mustMake(fails) })
	w.awaitRestore("r2", v1alpha1.RestoreFailed)
	// What passed meanwhile it has missed. Its one run waits for an hour, so it skips
	// those that follow.
	w.patch(slow, `{"spec":{"suspend":false}}`)
}

// hookedVM makes a VM whose guest can be frozen, with hooks, which nobody here can run:
// that is counted, too.
func (w *world) hookedVM(name string) {
	w.t.Helper()
	w.filled(name+"-root", 16*mib, 1)
	w.filled(name+"-data1", 16*mib, 2)
	w.mustMake(w.vmSpec(name, []string{name + "-root", name + "-data1"}, func(vm *kubevirt.VirtualMachine) {
		vm.Annotations = map[string]string{withAgent: "connected"}
		vm.Spec.Template.ObjectMeta.Annotations = map[string]string{
			"pre.hook.hayloft.dev/command": "/bin/flush", "pre.hook.hayloft.dev/on-error": "Continue",
		}
	}))
	w.awaitRunning(name)
}

// deadTarget makes one whose service is away.
func (w *world) deadTarget() {
	w.t.Helper()
	var usual v1alpha1.BackupTarget
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Name: w.Target}, &usual))
	dead := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "dead"}}
	dead.Spec.S3 = &v1alpha1.S3Target{Endpoint: "http://127.0.0.1:1", Insecure: true, Bucket: "backups", Region: "eu-1"}
	dead.Spec.CredentialSecret = usual.Spec.CredentialSecret
	w.mustMake(dead)
}

// manyTargets has the target asked for more often than it is refreshed, and makes one
// that is away and one that holds too much.
func (w *world) manyTargets() {
	w.t.Helper()
	usual := &v1alpha1.BackupTarget{}
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Name: w.Target}, usual))
	w.patch(usual, `{"spec":{"refresh":{"interval":"1s","maxCPU":"1"}}}`)
	w.deadTarget()
	dir := w.t.TempDir()
	points := filepath.Join(dir, "hayloft", "points")
	require.NoError(w.t, os.MkdirAll(points, 0o755))
	for i := range 4 {
		require.NoError(w.t, os.WriteFile(filepath.Join(points, fmt.Sprint(i)), nil, 0o644))
	}
	crowded := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "crowded"}}
	crowded.Spec.Directory = &v1alpha1.DirectoryTarget{Path: dir}
	w.mustMake(crowded)
}

// manySchedules makes one that does nothing, one whose runs fail until it is
// suspended, and one that is suspended from the beginning.
func (w *world) manySchedules() (yearly, slow *v1alpha1.VMSchedule) {
	w.t.Helper()
	yearly = &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "yearly"}}
	yearly.Spec.VM, yearly.Spec.Target, yearly.Spec.Cron = "web", w.Target, "@yearly"
	failing := w.scheduleOf("failing", "unprotected", "@every 1s", "")
	failing.Spec.Quiesce = v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired, DeadlineSeconds: 1} // there is no agent
	slow = w.scheduleOf("slow", "", "@every 2s", "")
	slow.Spec.Selector, slow.Spec.JitterSeconds, slow.Spec.Suspend = &metav1.LabelSelector{}, 3600, true
	for _, s := range []*v1alpha1.VMSchedule{yearly, failing, slow} {
		w.mustMake(s)
	}
	return yearly, slow
}
