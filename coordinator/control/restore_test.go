package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// point makes a Ready point of a VM web and lets the fake give its document.
func (w *world) point() (session string, b *v1alpha1.VMBackup) {
	w.t.Helper()
	session, _ = w.session("n1")
	vm := w.vm("web")
	w.fake.vm = vm.DeepCopy()
	w.fake.claim = func(name string) []byte {
		var c corev1.PersistentVolumeClaim
		if err := w.client.Get(context.Background(), client.ObjectKey{Namespace: w.ns, Name: name}, &c); err != nil {
			panic(err)
		}
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		data, err := json.Marshal(&c)
		if err != nil {
			panic(err)
		}
		return data
	}
	return session, w.ready("p1", w.target("s3").Name, session)
}

func (w *world) restore(name, backup, vm string) *v1alpha1.VMRestore {
	w.t.Helper()
	s := &v1alpha1.VMRestore{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns},
		Spec:       v1alpha1.VMRestoreSpec{Backup: backup, NewVM: vm},
	}
	w.create(s)
	return s
}

func (w *world) awaitRestore(s *v1alpha1.VMRestore, phase v1alpha1.RestorePhase) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("VMRestore %s is %s", s.Name, phase), func() bool { return w.refresh(s) && s.Status.Phase == phase })
}

// fill plays Longhorn (two Replica objects) and the agent for one attempt.
// recorded are the replicas in the record, of r0 and r1.
func (w *world) fill(s *v1alpha1.VMRestore, disk string, attempt int32, session string, recorded ...string) *v1alpha1.NodeJob {
	w.t.Helper()
	j := w.awaitJob("restore", s.UID, disk, attempt)
	volume := j.Spec.Restore.Volume
	for _, r := range []string{"r0", "r1"} {
		u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"volumeName": volume}}}
		u.SetGroupVersionKind(longhorn.SchemeGroupVersion.WithKind("Replica"))
		u.SetName(volume + "-" + r)
		u.SetNamespace(w.lh)
		u.SetLabels(map[string]string{"longhornvolume": volume})
		w.create(u)
	}
	w.claim(j, session)
	w.succeed(j, func(st *v1alpha1.NodeJobStatus) {
		rec := &v1alpha1.RestoreRecord{
			Attempt: attempt, VolumeUID: j.Spec.Restore.VolumeUID, Engine: "e", EngineUID: "u", EngineAddress: "a",
			Backup: j.Spec.Restore.Backup, RecordedAt: metav1.Now(),
		}
		for _, r := range recorded {
			rec.Replicas = append(rec.Replicas, v1alpha1.ReplicaRecord{Name: volume + "-" + r, Address: "a", LastRestored: rec.Backup})
		}
		st.Record = rec
	})
	return j
}

// bindClaims plays kube-controller-manager for the new VM's claims.
func (w *world) bindClaims(vm string) {
	w.t.Helper()
	for _, disk := range []string{"root", "data"} {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: vm + "-" + disk, Namespace: w.ns}}
		w.eventually("claim "+c.Name, func() bool { return w.refresh(c) })
		w.bind(c)
	}
}

func TestRestoreMakesAVM(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, b := w.point()
	s := w.restore("r1", b.Name, "web2")

	j := w.awaitJob("restore", s.UID, "root", 1)
	require.Equal(t, names.Volume(s.UID, "root", 1), j.Spec.Restore.Volume)
	vol := w.volume(j.Spec.Restore.Volume, nil)
	require.True(t, w.refresh(vol))
	require.Equal(t, vol.GetUID(), j.Spec.Restore.VolumeUID)
	require.Equal(t, string(s.UID), vol.GetLabels()[v1alpha1.LabelRestore])
	w.fill(s, "root", 1, session, "r0", "r1")
	w.awaitJob("restore", s.UID, "data", 1)
	vm := w.vmObject("web2")
	require.False(t, w.refresh(vm), "no VM before every disk has its record")
	w.fill(s, "data", 1, session, "r0", "r1")
	w.bindClaims("web2")
	w.awaitRestore(s, v1alpha1.RestoreReady)

	require.True(t, w.refresh(vm))
	require.Equal(t, vm.GetUID(), s.Status.VMUID)
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: j.Spec.Restore.Volume}}
	require.True(t, w.refresh(pv))
	require.Equal(t, j.Spec.Restore.Volume, pv.Spec.CSI.VolumeHandle)
	require.Equal(t, rules.Driver, pv.Annotations["pv.kubernetes.io/provisioned-by"])
	require.Equal(t, corev1.PersistentVolumeReclaimDelete, pv.Spec.PersistentVolumeReclaimPolicy)
	w.eventually("finalizer and jobs are gone", func() bool { w.refresh(s); return len(s.Finalizers) == 0 && len(w.jobs()) == 0 })

	require.NoError(t, w.client.Delete(w.ctx, s))
	w.eventually("the restore is gone", func() bool { return !w.refresh(s) })
	require.True(t, w.refresh(vm), "a finished restore leaves its VM")
}

// A claim that stays unbound is touched, and each touch brings the restore here
// again. Were it touched each time, the volume controller would hardly find the
// claim as it had read it.
func TestUnboundClaimIsTouchedLessAndLessOften(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, b := w.point()
	s := w.restore("r1", b.Name, "web2")
	for _, disk := range []string{"root", "data"} {
		w.fill(s, disk, 1, session, "r0", "r1")
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "web2-root", Namespace: w.ns}}
	w.eventually("claim "+claim.Name, func() bool { return w.refresh(claim) })
	at := []time.Time{claim.CreationTimestamp.Time}
	w.eventually("touches", func() bool {
		require.True(t, w.refresh(claim))
		touched, err := time.Parse(time.RFC3339Nano, claim.Annotations["hayloft.dev/touched"])
		if last := at[len(at)-1]; err == nil && touched.After(last) {
			at = append(at, touched)
		}
		return len(at) > 2
	})
	for i := 1; i < len(at); i++ {
		wait := max(2*time.Second, at[i-1].Sub(at[0]))
		require.GreaterOrEqual(t, at[i].Sub(at[i-1]), wait, "touch %d of %v", i, at)
	}
	w.bindClaims("web2")
	w.awaitRestore(s, v1alpha1.RestoreReady)
}

func TestRecordThatLacksAReplicaIsNotTrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, b := w.point()
	s := w.restore("r1", b.Name, "web2")
	first := w.fill(s, "root", 1, session, "r0") // Longhorn has r1 too
	second := w.awaitJob("restore", s.UID, "root", 2)
	require.NotEqual(t, first.Spec.Restore.Volume, second.Spec.Restore.Volume, "the next attempt is in a fresh volume")
	w.eventually("the failed attempt's volume is deleted", func() bool { return !w.refresh(w.volume(first.Spec.Restore.Volume, nil)) })
	// As if a leader had been killed before it deleted an attempt's volume.
	stale := w.volume("stale-"+w.ns, nil)
	stale.SetLabels(map[string]string{v1alpha1.LabelRestore: string(s.UID)})
	w.create(stale)
	w.fill(s, "root", 2, session, "r0", "r1")
	w.fill(s, "data", 1, session, "r0", "r1")
	w.bindClaims("web2")
	w.awaitRestore(s, v1alpha1.RestoreReady)
	require.False(t, w.refresh(stale), "no volume of a failed attempt is left")
}

func TestFailedRestoreLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, b := w.point()
	s := w.restore("r1", b.Name, "web2")
	root := w.fill(s, "root", 1, session, "r0", "r1")
	j := w.awaitJob("restore", s.UID, "data", 1)
	w.claim(j, session)
	w.failJob(j, v1alpha1.ReasonTargetError, "a block is missing", false)
	w.awaitRestore(s, v1alpha1.RestoreFailed)
	reason, message := ready(s.Status.Conditions)
	require.Equal(t, v1alpha1.ReasonTargetError, reason)
	require.Equal(t, "disk data: a block is missing", message)
	w.eventually("nothing is left", func() bool {
		w.refresh(s)
		return len(w.jobs()) == 0 && !w.refresh(w.volume(root.Spec.Restore.Volume, nil)) && len(s.Finalizers) == 0
	})
	require.False(t, w.refresh(w.vmObject("web2")))
	source := w.volume("vol-"+w.ns+"-web-root", nil)
	require.True(t, w.refresh(source), "what the restore did not make stays")
}

func TestDeletedWhileRestoring(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, b := w.point()
	s := w.restore("r1", b.Name, "web2")
	root := w.fill(s, "root", 1, session, "r0", "r1")
	w.fill(s, "data", 1, session, "r0", "r1")
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "web2-root", Namespace: w.ns}}
	w.eventually("a claim is made", func() bool { return w.refresh(claim) })
	require.NoError(t, w.client.Delete(w.ctx, b))
	w.holds("a point that is being read is not deleted", 300e6, func() bool { return w.refresh(b) && len(w.fake.called("deletePoint")) == 0 })
	require.NoError(t, w.client.Delete(w.ctx, s))
	w.unprotect(claim)
	w.eventually("the restore is gone", func() bool { w.unprotect(claim); return !w.refresh(s) })
	require.False(t, w.refresh(w.volume(root.Spec.Restore.Volume, nil)))
	require.False(t, w.refresh(claim))
	for _, disk := range []string{"root", "data"} {
		w.succeed(w.awaitJob("remove", b.UID, disk, 1), nil)
	}
	w.eventually("then the point goes", func() bool { return !w.refresh(b) })
}

// unprotect plays the controller that lets go of claims and volumes which
// nobody uses.
func (w *world) unprotect(c *corev1.PersistentVolumeClaim) {
	w.t.Helper()
	var claims corev1.PersistentVolumeClaimList
	require.NoError(w.t, w.client.List(w.ctx, &claims, client.InNamespace(c.Namespace)))
	for i := range claims.Items {
		if o := &claims.Items[i]; !o.DeletionTimestamp.IsZero() && len(o.Finalizers) > 0 {
			o.Finalizers = nil
			_ = w.client.Update(w.ctx, o)
		}
	}
	var pvs corev1.PersistentVolumeList
	require.NoError(w.t, w.client.List(w.ctx, &pvs))
	for i := range pvs.Items {
		if o := &pvs.Items[i]; !o.DeletionTimestamp.IsZero() && len(o.Finalizers) > 0 {
			o.Finalizers = nil
			_ = w.client.Update(w.ctx, o)
		}
	}
}

func TestRefusedRestores(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	_, b := w.point()
	running := w.backup("running", "web", b.Spec.Target)
	w.awaitJob("cut", running.UID, "", 1)
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "unrelated", Namespace: w.ns}})

	for _, c := range []struct {
		name, backup, vm, reason, says string
		prepare                        func()
	}{
		{name: "no-backup", backup: "ghost", vm: "x", reason: "BackupNotFound", says: `no VMBackup "ghost"`},
		{name: "not-ready", backup: "running", vm: "x", reason: "BackupNotReady", says: "is Cutting, not Ready"},
		{name: "vm-taken", backup: "p1", vm: "web", reason: "NameTaken", says: "VirtualMachine web exists already"},
		{
			name: "devices-of-a-type", backup: "found", vm: "x", reason: "Refused", says: "gives it devices of the nodes (gpu), and the point was found on a target: set spec.allow to HostDevices",
			prepare: func() {
				kind := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
					"cpu": map[string]any{"guest": int64(1)}, "memory": map[string]any{"guest": "1Gi"},
					"gpus": []any{map[string]any{"name": "gpu", "deviceName": "example.org/gpu"}},
				}}}
				kind.SetAPIVersion("instancetype.kubevirt.io/v1beta1")
				kind.SetKind("VirtualMachineClusterInstancetype")
				kind.SetName("gpu-" + w.ns)
				w.create(kind)
				w.fake.mu.Lock()
				w.fake.vm.Object["spec"].(map[string]any)["instancetype"] = map[string]any{"name": kind.GetName()}
				w.fake.mu.Unlock()
				w.found(b)
			},
		},
		{
			name: "damaged", backup: "p1", vm: "x", reason: "Damaged", says: "digest",
			prepare: func() {
				w.fake.fail("readDocument", &protocol.Error{Reason: protocol.Damaged, Message: "its digest is another"})
			},
		},
		{
			name: "disk-missing", backup: "p1", vm: "x", reason: "NotFound", says: "backup hl-x is not on the target",
			prepare: func() {
				w.fake.fail("readDocument", nil)
				w.fake.fail("inspectBackups", &protocol.Error{Reason: protocol.NotFound, Message: "backup hl-x is not on the target"})
			},
		},
		{
			name: "no-class", backup: "p1", vm: "x", reason: "Refused", says: "StorageClass longhorn-" + w.ns + ", which the VM needs, does not exist",
			prepare: func() {
				w.fake.fail("inspectBackups", nil)
				u := &unstructured.Unstructured{}
				u.SetAPIVersion("storage.k8s.io/v1")
				u.SetKind("StorageClass")
				u.SetName("longhorn-" + w.ns)
				require.NoError(w.t, w.client.Delete(w.ctx, u))
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.prepare != nil {
				c.prepare()
			}
			s := w.restore(c.name, c.backup, c.vm)
			w.awaitRestore(s, v1alpha1.RestoreFailed)
			reason, message := ready(s.Status.Conditions)
			require.Equal(t, c.reason, reason, message)
			require.Contains(t, message, c.says)
			w.eventually("nothing keeps it", func() bool { w.refresh(s); return len(s.Finalizers) == 0 })
		})
	}
	for _, j := range w.jobs() {
		require.Nil(t, j.Spec.Restore, "a refused restore moves nothing")
	}
}

func TestNoSpaceForTheVolume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.opts.Plan.ScheduleGrace = 10e6
	w.start("one")
	_, b := w.point()
	s := w.restore("r1", b.Name, "web2")
	j := w.awaitJob("restore", s.UID, "root", 1)
	vol := w.volume(j.Spec.Restore.Volume, nil)
	w.refresh(vol)
	require.NoError(t, unstructured.SetNestedSlice(vol.Object, []any{map[string]any{
		"type": "Scheduled", "status": "False", "reason": "ReplicaSchedulingFailure", "message": "insufficient storage",
		"lastProbeTime": "", "lastTransitionTime": "",
	}}, "status", "conditions"))
	require.NoError(t, w.client.Status().Update(w.ctx, vol))
	w.awaitRestore(s, v1alpha1.RestoreFailed)
	reason, message := ready(s.Status.Conditions)
	require.Equal(t, plan.ReasonNoSpace, reason)
	require.Contains(t, message, "insufficient storage")
}
