package control_test

import (
	"fmt"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/control"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

func TestOneLeaderAndTheOtherGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, stopOne := w.start("one")
	w.eventually("one leads", one.Leading)
	two, _ := w.start("two")
	session, _ := w.session("n1")
	w.vm("web")
	b := w.backup("p1", "web", w.target("s3").Name)
	w.cut(b, session)
	w.upload(b, "root", 1, session)
	w.eventually("root is known to be transferred", func() bool {
		w.refresh(b)
		for _, d := range b.Status.Disks {
			if d.Name == "root" {
				return d.State == v1alpha1.DiskTransferred
			}
		}
		return false
	})
	require.False(t, two.Leading(), "there is one leader")
	stopOne()
	w.eventually("two leads", two.Leading)
	w.upload(b, "data", 1, session)
	w.awaitBackup(b, v1alpha1.BackupReady)
	require.Len(t, w.fake.called("capture"), 1, "the new leader does not capture the VM again, it may be another by now")
}

// A leader that was stopped for longer than its Lease lasts, and goes on, is to act no
// more. client-go alone would have it try to lead for as long as it may be late: here
// for ever, so that nothing else ends it.
func TestALeaderEndsWhenAnotherLeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, cancel, ended := w.run(control.Election{Identity: "one", Duration: 3 * time.Hour, Renew: 2 * time.Hour, Retry: 200 * time.Millisecond})
	t.Cleanup(cancel)
	w.eventually("one leads", c.Leading)
	w.eventually("another takes the lead", func() bool {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: w.own, Name: "coordinator"}}
		w.refresh(l)
		l.Spec.HolderIdentity = ptr.To("two")
		return w.client.Update(w.ctx, l) == nil
	})
	select {
	case err := <-ended:
		require.ErrorContains(t, err, "leader election lost: two took the lead")
	case <-time.After(time.Minute):
		t.Fatal("one goes on")
	}
}

func TestNewLeaderCapturesWhatTheOldOneDidNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	session, _ := w.session("n1")
	_, stop := w.start("one")
	w.vm("web")
	b := w.backup("p1", "web", w.target("s3").Name)
	w.cut(b, session)
	w.awaitJob("backup", b.UID, "root", 1)
	w.awaitJob("backup", b.UID, "data", 1)
	stop()
	w.fake.missingDraft(true)
	w.start("two")
	w.upload(b, "root", 1, session)
	w.upload(b, "data", 1, session)
	w.awaitBackup(b, v1alpha1.BackupReady)
	require.GreaterOrEqual(t, len(w.fake.called("capture")), 2)
	require.Nil(t, w.fake.given(), "what the former leader read went with it: the target worker reads it")
}

func TestJobOfADeadAgentGoesToAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.opts.SweepEvery = time.Hour
	w.start("one")
	first, kill := w.mortal("n1", 4)
	w.vm("web")
	b := w.backup("p1", "web", w.target("s3").Name)
	j := w.awaitJob("cut", b.UID, "", 1)
	w.eventually("it is assigned", func() bool { w.refresh(j); return j.Spec.NodeName == "n1" })
	w.claim(j, first)
	second, _ := w.session("n2")
	left, taken := j.Spec.Cut.Disks[0].Volume, j.Spec.Cut.Disks[1].Volume
	w.lease(left, first, 3)
	w.lease(taken, second, 5)
	w.lease("of-another-job", first, 2)
	w.holds("a living agent keeps its job", 1500*time.Millisecond, func() bool { w.refresh(j); return j.Spec.NodeName == "n1" })
	kill()
	w.eventually("the other agent gets it", func() bool { w.refresh(j); return j.Spec.NodeName == "n2" })
	require.Empty(t, w.holder(left), "it need not wait until it has itself seen that the session has ended")
	l := w.leaseObject(left)
	require.True(t, w.refresh(l))
	require.EqualValues(t, 3, *l.Spec.LeaseTransitions, "the epoch never goes back")
	require.Equal(t, second, w.holder(taken), "what somebody else holds stays his")
	require.Equal(t, first, w.holder("of-another-job"), "that goes with its own job, or is swept")
}

func TestUnclaimedJobGoesToAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.opts.ClaimTimeout = 2 * time.Second
	w.start("one")
	w.session("n1")
	w.vm("web")
	b := w.backup("p1", "web", w.target("s3").Name)
	j := w.awaitJob("cut", b.UID, "", 1)
	w.eventually("it is assigned", func() bool { w.refresh(j); return j.Spec.NodeName == "n1" })
	w.session("n2") // n1 lives, but does nothing
	w.eventually("the other agent gets it", func() bool { w.refresh(j); return j.Spec.NodeName == "n2" })
}

func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.opts.SweepEvery, w.opts.SweepGrace = 100*time.Millisecond, 200*time.Millisecond
	dead := "gone-00001111"
	living, _ := w.session("n1")
	w.create(w.volume("held-dead", nil), w.volume("held-living", nil), w.volume("wanted", nil), w.volume("free", nil))
	w.lease("held-dead", dead, 3)
	w.lease("held-living", living, 2)
	w.lease("wanted", dead, 1)
	w.lease("gone", "", 7)
	w.attachment("held-dead", names.Ticket(dead, 3), "csi-attacher-x", "hayloft-like")
	w.attachment("held-living", names.Ticket(living, 2), names.Ticket(living, 1))
	w.attachment("wanted", names.Ticket(dead, 1))
	owner := &v1alpha1.VMBackup{
		ObjectMeta: metav1.ObjectMeta{Name: "owner", Namespace: w.ns, Finalizers: []string{"test/keep"}},
		Spec:       v1alpha1.VMBackupSpec{VM: "x", Target: "none"},
	}
	w.create(owner)
	ref := v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: w.ns, Name: "owner", UID: owner.UID}
	keep := &v1alpha1.NodeJob{
		ObjectMeta: metav1.ObjectMeta{Name: "keep", Namespace: w.own},
		Spec: v1alpha1.NodeJobSpec{
			Owner: ref, DeadlineSeconds: 60, NodeName: "n1",
			RemoveSnapshots: &v1alpha1.RemoveSnapshotsJob{Volume: "wanted", Snapshots: []string{"s"}},
		},
	}
	orphan := keep.DeepCopy()
	orphan.Name, orphan.Spec.Owner.UID, orphan.Spec.RemoveSnapshots.Volume = "orphan", "another", "free"
	w.create(keep, orphan)
	w.start("one")

	w.eventually("the orphan job is gone", func() bool { return !w.refresh(orphan) })
	w.eventually("the dead session's lease is given back", func() bool { return w.holder("held-dead") == "" })
	w.eventually("the lease of a volume that is gone is gone", func() bool { return !w.refresh(w.leaseObject("gone")) })
	w.eventually("tickets that nobody holds are gone", func() bool {
		return !w.hasTicket("held-dead", names.Ticket(dead, 3)) && !w.hasTicket("held-living", names.Ticket(living, 1))
	})
	w.holds("everything else stays", time.Second, func() bool {
		return w.hasTicket("held-dead", "csi-attacher-x") && w.hasTicket("held-dead", "hayloft-like") &&
			w.hasTicket("held-living", names.Ticket(living, 2)) && w.holder("held-living") == living &&
			w.hasTicket("wanted", names.Ticket(dead, 1)) && w.holder("wanted") == dead && w.hasJob("keep")
	})
	l := w.leaseObject("held-dead")
	require.True(t, w.refresh(l))
	require.EqualValues(t, 3, *l.Spec.LeaseTransitions, "the epoch never goes back")
}

// No grace time passes, and no sweep, before a ticket leaves a workload's way.
func TestTicketsInTheWayOfWorkloads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.opts.SweepEvery, w.opts.SweepGrace = time.Hour, time.Hour
	dead := "gone-00001111"
	living, _ := w.session("n1")
	w.lease("of-living", living, 2)
	w.lease("alone", dead, 1)
	w.attachment("of-dead", names.Ticket(dead, 3), "csi-x", "hayloft-like")
	w.attachment("of-living", names.Ticket(living, 2))
	w.attachment("alone", names.Ticket(dead, 1), "hayloft-like")
	w.attachment("restored", names.Ticket(dead, 1), "longhorn-ui")
	w.patchAttachment("restored", names.Ticket(dead, 1), `{"parameters":{"disableFrontend":"true"}}`)
	w.start("one")

	w.eventually("the dead agent's ticket is gone", func() bool { return !w.hasTicket("of-dead", names.Ticket(dead, 3)) })
	w.patchAttachment("of-living", "csi-y", `{"id":"csi-y","type":"csi-attacher","nodeID":"n2"}`)
	w.eventually("that of one that lives and does nothing too", func() bool { return !w.hasTicket("of-living", names.Ticket(living, 2)) })
	w.holds("everything else stays", time.Second, func() bool {
		return w.hasTicket("of-dead", "csi-x") && w.hasTicket("of-dead", "hayloft-like") && w.hasTicket("of-living", "csi-y") &&
			w.hasTicket("alone", names.Ticket(dead, 1)) && w.hasTicket("restored", names.Ticket(dead, 1))
	})
}

func TestEmptyListingRemovesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.opts.SweepEvery, w.opts.SweepGrace = 50*time.Millisecond, time.Millisecond
	w.lease("a", "", 1)
	w.lease("b", "gone-00001111", 1)
	w.start("one")
	w.eventually("a sweep has run", func() bool { return w.holder("b") == "" })
	w.holds("no volume is listed, so none is known to be gone", time.Second, func() bool {
		return w.refresh(w.leaseObject("a")) && w.refresh(w.leaseObject("b"))
	})
}

func (w *world) leaseObject(volume string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Name: names.VolumeLease(volume), Namespace: w.own, Labels: map[string]string{v1alpha1.LabelLease: "volume"},
	}}
}

func (w *world) lease(volume, holder string, epoch int32) {
	w.t.Helper()
	l := w.leaseObject(volume)
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseTransitions: &epoch}
	w.create(l)
}

func (w *world) holder(volume string) string {
	w.t.Helper()
	l := w.leaseObject(volume)
	if !w.refresh(l) || l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func (w *world) attachment(volume string, tickets ...string) {
	w.t.Helper()
	all := map[string]any{}
	for _, id := range tickets {
		all[id] = map[string]any{"id": id, "type": "backup-controller", "nodeID": "n1"}
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"volume": volume, "attachmentTickets": all}}}
	u.SetGroupVersionKind(longhorn.SchemeGroupVersion.WithKind("VolumeAttachment"))
	u.SetName(volume)
	u.SetNamespace(w.lh)
	w.create(u)
}

// patchAttachment merges into one ticket.
func (w *world) patchAttachment(volume, id, ticket string) {
	w.t.Helper()
	va := &longhorn.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: volume, Namespace: w.lh}}
	patch := fmt.Sprintf(`{"spec":{"attachmentTickets":{%q:%s}}}`, id, ticket)
	require.NoError(w.t, w.client.Patch(w.ctx, va, client.RawPatch(types.MergePatchType, []byte(patch))))
}

func (w *world) hasTicket(volume, id string) bool {
	w.t.Helper()
	var va longhorn.VolumeAttachment
	require.NoError(w.t, w.client.Get(w.ctx, client.ObjectKey{Namespace: w.lh, Name: volume}, &va))
	return va.Spec.AttachmentTickets[id] != nil
}

func (w *world) hasJob(name string) bool {
	w.t.Helper()
	return w.refresh(&v1alpha1.NodeJob{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.own}})
}
