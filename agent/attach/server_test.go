package attach_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	kubevirt "kubevirt.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/attach"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

const patience = 3 * time.Minute

// world is a volume "v" on a real API server; the test plays Longhorn.
type world struct {
	t     *testing.T
	at    *rest.Config
	c     client.WithWatch
	a     *attach.Attacher
	ns    string // of Longhorn's objects
	users string
	said  atomic.Value // whom the volume was left to last
}

func newWorld(t *testing.T) *world {
	t.Helper()
	config := harness.APIServer(t)
	scheme := runtime.NewScheme()
	require.NoError(t, longhorn.AddToScheme(scheme))
	require.NoError(t, kubevirt.AddToScheme(scheme))
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	w := &world{t: t, at: config, c: c, ns: harness.Namespace(t, config), users: harness.Namespace(t, config)}
	w.a = &attach.Attacher{Client: c, Namespace: w.ns, Node: "n1"}
	w.create("Volume", "v", map[string]any{"migratable": true, "accessMode": "rwx", "frontend": "blockdev", "dataEngine": "v1"})
	w.create("VolumeAttachment", "v", map[string]any{"volume": "v", "attachmentTickets": map[string]any{}})
	w.create("Engine", "v-e-0", map[string]any{"volumeName": "v"})
	return w
}

// asItself has the agent act as its account, with the rights of deploy/rbac and no
// others. The test stays an administrator.
func (w *world) asItself() {
	w.t.Helper()
	config := rest.CopyConfig(w.at)
	config.Impersonate = harness.Account(w.t, w.at, "hayloft-agent", harness.Namespace(w.t, w.at), w.ns)
	c, err := client.NewWithWatch(config, client.Options{Scheme: w.c.Scheme()})
	require.NoError(w.t, err)
	w.a.Client = c
}

// create makes one of Longhorn's objects with no other fields than these.
func (w *world) create(kind, name string, spec map[string]any) {
	w.t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(longhorn.SchemeGroupVersion.WithKind(kind))
	u.SetNamespace(w.ns)
	u.SetName(name)
	u.SetLabels(map[string]string{"longhornvolume": "v"})
	require.NoError(w.t, w.c.Create(w.t.Context(), u))
}

func (w *world) patch(o client.Object, name, body string, status bool) {
	w.t.Helper()
	o.SetNamespace(w.ns)
	o.SetName(name)
	patch := client.RawPatch(types.MergePatchType, []byte(body))
	if status {
		require.NoError(w.t, w.c.Status().Patch(w.t.Context(), o, patch))
		return
	}
	require.NoError(w.t, w.c.Patch(w.t.Context(), o, patch))
}

// attached has Longhorn attach the volume to a node and call a ticket satisfied.
func (w *world) attached(node, ticket string) {
	w.t.Helper()
	w.patch(&longhorn.Engine{}, "v-e-0", fmt.Sprintf(`{"spec":{"nodeID":%q}}`, node), false)
	w.patch(&longhorn.Engine{}, "v-e-0", `{"status":{"currentState":"running","storageIP":"10.0.0.1","port":10000}}`, true)
	w.patch(&longhorn.Volume{}, "v", fmt.Sprintf(`{"spec":{"nodeID":%q}}`, node), false)
	w.patch(&longhorn.Volume{}, "v", fmt.Sprintf(`{"status":{"state":"attached","currentNodeID":%q}}`, node), true)
	w.patch(&longhorn.VolumeAttachment{}, "v", fmt.Sprintf(`{"status":{"attachmentTicketStatuses":{%q:{"id":%q,"satisfied":true,"generation":0,"conditions":[]}}}}`, ticket, ticket), true)
}

// ticket puts a ticket; "" as node takes it away.
func (w *world) ticket(id, node string) {
	w.t.Helper()
	body := "null"
	if node != "" {
		body = fmt.Sprintf(`{"id":%q,"type":"csi-attacher","nodeID":%q}`, id, node)
	}
	w.patch(&longhorn.VolumeAttachment{}, "v", fmt.Sprintf(`{"spec":{"attachmentTickets":{%q:%s}}}`, id, body), false)
}

func (w *world) tickets() (ids []string) {
	w.t.Helper()
	var va longhorn.VolumeAttachment
	require.NoError(w.t, w.c.Get(w.t.Context(), client.ObjectKey{Namespace: w.ns, Name: "v"}, &va))
	for id := range va.Spec.AttachmentTickets {
		ids = append(ids, id)
	}
	return ids
}

func (w *world) awaitTickets(want ...string) {
	w.t.Helper()
	require.EventuallyWithT(w.t, func(c *assert.CollectT) { require.ElementsMatch(c, want, w.tickets()) }, patience, 20*time.Millisecond)
}

// instance puts the VM's instance into a phase.
func (w *world) instance(phase kubevirt.VirtualMachineInstancePhase) {
	w.t.Helper()
	vmi := &kubevirt.VirtualMachineInstance{ObjectMeta: metav1.ObjectMeta{Namespace: w.users, Name: "vm"}}
	require.NoError(w.t, client.IgnoreAlreadyExists(w.c.Create(w.t.Context(), vmi)))
	require.NoError(w.t, w.c.Get(w.t.Context(), client.ObjectKeyFromObject(vmi), vmi))
	vmi.Status.Phase = phase
	require.NoError(w.t, w.c.Update(w.t.Context(), vmi))
}

type answer struct {
	loc    attach.Location
	ticket attach.Ticket
	err    error
}

// running asks for the volume as the owner of an epoch would.
func (w *world) running(ctx context.Context, epoch int64) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		var a answer
		a.loc, a.ticket, a.err = w.a.Running(ctx, attach.Request{
			Volume: "v", TicketID: id(epoch), Type: longhorn.AttacherTypeBackupController, Frontend: attach.FrontendAny,
			Guest:   attach.Guest{Namespace: w.users, Name: "vm"},
			Waiting: func(by string) { w.said.Store(by) },
		})
		out <- a
	}()
	return out
}

func id(epoch int64) string { return names.Ticket("n1-aaaaaaaa", epoch) }

// quiet proves that nothing happens for a while.
func (w *world) quiet(a <-chan answer, want ...string) {
	w.t.Helper()
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		require.ElementsMatch(w.t, want, w.tickets())
		require.Empty(w.t, a)
	}
}

// Longhorn makes a replica on the node of an engine that is to have its data there,
// or refuses; of the other volumes nobody need know where their replicas are.
func TestTheNodeHasAReplicaWhereItMust(t *testing.T) {
	for locality, node := range map[longhorn.DataLocality]string{
		longhorn.DataLocalityDisabled: "n1", longhorn.DataLocalityBestEffort: "n3", longhorn.DataLocalityStrictLocal: "n3",
	} {
		w := newWorld(t)
		w.asItself()
		w.create("Replica", "v-r-0", map[string]any{"volumeName": "v", "nodeID": "n3"})
		w.patch(&longhorn.Volume{}, "v", fmt.Sprintf(`{"spec":{"dataLocality":%q}}`, locality), false)
		w.running(t.Context(), 1)
		w.awaitTickets(id(1))
		va := &longhorn.VolumeAttachment{}
		require.NoError(t, w.c.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "v"}, va))
		require.Equal(t, node, va.Spec.AttachmentTickets[id(1)].NodeID, locality)
	}
}

// The engine of a volume that is attached for a ticket of ours is on a node that is
// lost while the next owner waits for it there.
func TestALostNodeIsLeft(t *testing.T) {
	w := newWorld(t)
	w.patch(&longhorn.Volume{}, "v", `{"spec":{"dataLocality":"disabled"}}`, false)
	w.create("Replica", "v-r-0", map[string]any{"volumeName": "v", "nodeID": "n2"})
	w.create("Replica", "v-r-1", map[string]any{"volumeName": "v", "nodeID": "n3"})
	w.ticket(id(1), "n2")
	w.attached("n2", id(1))
	a := w.running(t.Context(), 2)
	w.awaitTickets(id(2))
	node := func() string {
		va := &longhorn.VolumeAttachment{}
		require.NoError(t, w.c.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "v"}, va))
		return va.Spec.AttachmentTickets[id(2)].NodeID
	}
	require.Equal(t, "n2", node(), "a node that is not lost keeps the volume")
	w.patch(&longhorn.Engine{}, "v-e-0", `{"status":{"currentState":"unknown","storageIP":"","port":0}}`, true)
	require.EventuallyWithT(t, func(c *assert.CollectT) { require.Equal(c, "n1", node()) }, patience, 20*time.Millisecond)
	w.attached("n1", id(2))
	got := <-a
	require.NoError(t, got.err)
	require.Equal(t, "n1", got.loc.Node)
	require.NoError(t, w.a.Release(t.Context(), got.ticket))
	w.awaitTickets()
}

func TestGivesWayToATicket(t *testing.T) {
	w := newWorld(t)
	a := w.running(t.Context(), 1)
	w.awaitTickets(id(1))
	w.attached("n1", id(1))
	got := <-a
	require.NoError(t, got.err)
	require.Equal(t, "n1", got.loc.Node)

	w.ticket("csi-1", "n2")
	w.awaitTickets("csi-1")
	left, err := w.a.Left(t.Context(), got.loc)
	require.NoError(t, err)
	require.True(t, left)
	require.NoError(t, w.a.Release(t.Context(), got.ticket))
	require.Equal(t, []string{"csi-1"}, w.tickets())
}

func TestGivesWayToAVMThatStartsWhileItsVolumeIsBeingAttached(t *testing.T) {
	w := newWorld(t)
	a := w.running(t.Context(), 1)
	w.awaitTickets(id(1))
	w.instance(kubevirt.Scheduling)
	w.awaitTickets()
	w.quiet(a)
	w.ticket("csi-1", "n2")
	w.attached("n2", "csi-1")
	got := <-a
	require.NoError(t, got.err)
	require.Equal(t, "n2", got.loc.Node)
	require.Empty(t, got.ticket.ID)
}

func TestATicketThatTheLeaderTookOutOfTheWay(t *testing.T) {
	w := newWorld(t)
	a := w.running(t.Context(), 1)
	w.awaitTickets(id(1))
	w.patch(&longhorn.VolumeAttachment{}, "v", fmt.Sprintf(`{"spec":{"attachmentTickets":{%q:null,"csi-1":{"id":"csi-1","type":"csi-attacher","nodeID":"n2"}}}}`, id(1)), false)
	w.quiet(a, "csi-1")
	w.attached("n2", "csi-1")
	got := <-a
	require.NoError(t, got.err)
	require.Equal(t, "n2", got.loc.Node)
}

func TestAsksForNothingWhileAVMStarts(t *testing.T) {
	w := newWorld(t)
	w.instance(kubevirt.Pending)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := w.running(ctx, 1)
	require.Eventually(t, func() bool { return w.said.Load() != nil }, patience, 20*time.Millisecond)
	w.quiet(a)
	cancel()
	require.ErrorIs(t, (<-a).err, attach.ErrWanted)
	require.Equal(t, fmt.Sprintf("VM %s/vm, which is starting", w.users), w.said.Load())
	require.Empty(t, w.tickets())

	w.instance(kubevirt.Failed)
	w.running(t.Context(), 2)
	w.awaitTickets(id(2))
}

func TestAnEngineThatIsAboutToEndIsNotTaken(t *testing.T) {
	w := newWorld(t)
	w.attached("n1", "csi-0")
	w.ticket("csi-1", "n2")
	a := w.running(t.Context(), 1)
	w.quiet(a, "csi-1")
	w.attached("n2", "csi-1")
	require.Equal(t, "n2", (<-a).loc.Node)
}

func TestALiveMigrationIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.ticket("csi-1", "n1")
	w.attached("n1", "csi-1")
	w.create("Engine", "v-e-1", map[string]any{"volumeName": "v", "nodeID": "n2"})
	w.patch(&longhorn.Engine{}, "v-e-1", `{"status":{"currentState":"running","storageIP":"10.0.0.2","port":10000}}`, true)
	w.ticket("csi-2", "n2")
	a := w.running(t.Context(), 1)
	w.quiet(a, "csi-1", "csi-2")
	w.ticket("csi-1", "")
	require.NoError(t, w.c.Delete(t.Context(), &longhorn.Engine{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "v-e-0"}}))
	got := <-a
	require.NoError(t, got.err)
	require.Equal(t, "v-e-1", got.loc.Engine)
	require.Empty(t, got.ticket.ID)
}

func TestATicketThatWasLeftIsTakenOver(t *testing.T) {
	w := newWorld(t)
	a := w.running(t.Context(), 1)
	w.awaitTickets(id(1))
	w.attached("n1", id(1))
	first := <-a
	require.NoError(t, first.err)
	w.a.Leave(first.ticket, time.Hour)

	// The next owner is another one, who has another id.
	other := &attach.Attacher{Client: w.c, Namespace: w.ns, Node: "n2"}
	seen := make(chan error, 1)
	go func() { seen <- never(t.Context(), w, 0) }()
	done := make(chan answer, 1)
	go func() {
		var b answer
		b.loc, b.ticket, b.err = other.Running(t.Context(), attach.Request{Volume: "v", TicketID: id(2), Type: longhorn.AttacherTypeSnapshotController, Frontend: attach.FrontendAny})
		done <- b
	}()
	w.awaitTickets(id(2))
	w.attached("n1", id(2))
	second := <-done
	require.NoError(t, second.err)
	require.NoError(t, <-seen, "the volume had a ticket at every moment")
	other.Leave(second.ticket, time.Millisecond)
	w.awaitTickets()
}

// never watches until the second owner's ticket stands and tells whether there
// were ever fewer tickets than one.
func never(ctx context.Context, w *world, few int) error {
	events, err := w.c.Watch(ctx, &longhorn.VolumeAttachmentList{}, client.InNamespace(w.ns))
	if err != nil {
		return err
	}
	defer events.Stop()
	for e := range events.ResultChan() {
		va := e.Object.(*longhorn.VolumeAttachment)
		if len(va.Spec.AttachmentTickets) <= few {
			return errors.New("no ticket")
		}
		if va.Spec.AttachmentTickets[id(2)] != nil {
			return nil
		}
	}
	return errors.New("the watch ended")
}

func TestCloseRemovesWhatWasLeft(t *testing.T) {
	w := newWorld(t)
	a := w.running(t.Context(), 1)
	w.awaitTickets(id(1))
	w.attached("n1", id(1))
	got := <-a
	require.NoError(t, got.err)
	require.NoError(t, w.a.Close(t.Context()))
	require.Equal(t, []string{id(1)}, w.tickets(), "a job that was interrupted keeps its volume")
	w.a.Leave(got.ticket, time.Hour)
	require.NoError(t, w.a.Close(t.Context()))
	require.Empty(t, w.tickets())
}

// A VM that was stopped and started at once has an instance that is younger than
// the work on its disks.
func TestAVMThatWasStartedSinceIsTold(t *testing.T) {
	w := newWorld(t)
	guest := attach.Guest{Namespace: w.users, Name: "vm"}
	since := func(at metav1.Time) bool {
		ok, err := w.a.StartedSince(t.Context(), guest, at)
		require.NoError(t, err)
		return ok
	}
	require.False(t, since(metav1.NewTime(time.Time{})), "it does not run")
	w.instance(kubevirt.Running)
	vmi := &kubevirt.VirtualMachineInstance{}
	require.NoError(t, w.c.Get(t.Context(), client.ObjectKey{Namespace: w.users, Name: "vm"}, vmi))
	require.False(t, since(vmi.CreationTimestamp), "it ran before, or who could tell")
	require.True(t, since(metav1.NewTime(vmi.CreationTimestamp.Add(-time.Second))))
}
