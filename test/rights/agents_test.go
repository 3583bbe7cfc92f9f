package rights

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/names"
)

const (
	ofN1, ofN2 = "n1-0123abcd", "n2-0123abcd" // sessions
	system     = "hayloft-system"
)

// agentOn is a client with a token of the agent's account that the API server
// bound to a node, as a kubelet gets one for the agent's pod.
func (w *world) agentOn(node string) client.Client {
	w.t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	w.make(n)
	require.NoError(w.t, w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(n), n))
	c, err := kubernetes.NewForConfig(w.config)
	require.NoError(w.t, err)
	token, err := c.CoreV1().ServiceAccounts(system).CreateToken(w.t.Context(), "hayloft-agent", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Node", APIVersion: "v1", Name: n.Name, UID: n.UID}},
	}, metav1.CreateOptions{})
	require.NoError(w.t, err)
	config := rest.AnonymousClientConfig(w.config)
	config.BearerToken, config.QPS = token.Status.Token, -1
	agent, err := client.New(config, client.Options{Scheme: w.scheme})
	require.NoError(w.t, err)
	return agent
}

func volumeLease(name, holder string, epoch int32) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: names.VolumeLease(name)},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseTransitions: &epoch},
	}
}

func sessionLease(name, holder string) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder},
	}
}

// TestLeasesOfAgents: of two nodes' tokens each writes its own sessions, and takes
// and gives back volumes by the rules.
func TestLeasesOfAgents(t *testing.T) {
	w := newWorld(t)
	n1 := w.agentOn("n1")
	stored := []*coordinationv1.Lease{
		sessionLease("session-"+ofN1, ofN1), sessionLease("session-"+ofN2, ofN2), sessionLease("the-leader", "coordinator"),
		volumeLease("free", "", 4), volumeLease("of-n1", ofN1, 4), volumeLease("of-n2", ofN2, 4),
	}
	for _, l := range stored {
		w.make(l)
	}
	create := func(l *coordinationv1.Lease) func(client.Client) error {
		return func(c client.Client) error { return c.Create(t.Context(), l.DeepCopy(), client.DryRunAll) }
	}
	update := func(name string, change func(*coordinationv1.LeaseSpec)) func(client.Client) error {
		return func(c client.Client) error {
			l := &coordinationv1.Lease{}
			if err := c.Get(t.Context(), client.ObjectKey{Namespace: system, Name: name}, l); err != nil {
				return err
			}
			change(&l.Spec)
			return c.Update(t.Context(), l, client.DryRunAll)
		}
	}
	remove := func(name string) func(client.Client) error {
		return func(c client.Client) error { return c.Delete(t.Context(), sessionLease(name, ""), client.DryRunAll) }
	}
	hold := func(session string, epoch int32) func(*coordinationv1.LeaseSpec) {
		return func(s *coordinationv1.LeaseSpec) { s.HolderIdentity, s.LeaseTransitions = &session, &epoch }
	}
	beat := func(s *coordinationv1.LeaseSpec) { s.RenewTime = ptr.To(metav1.NowMicro()) }
	const holders, epochs, sessions, others = "spec.holderIdentity: an agent of node \"n1\"", "spec.leaseTransitions: ", `is not one of node "n1", which this token is of`, "agents write the Leases of their sessions and of volumes alone"

	w.held("leases.hayloft.dev", create(sessionLease("another", ofN1)), n1)
	for _, c := range []struct {
		does string
		act  func(client.Client) error
		says string // "": it is let
	}{
		{"opens a session", create(sessionLease("session-n1-89abcdef", "n1-89abcdef")), ""},
		{"opens another node's", create(sessionLease("session-n2-89abcdef", "n2-89abcdef")), sessions},
		{"opens one of a node whose name begins the same", create(sessionLease("session-n1-a-89abcdef", "n1-a-89abcdef")), sessions},
		{"opens one under another's name", create(sessionLease("session-n1-89abcdef", ofN2)), sessions},
		{"renews its session", update("session-"+ofN1, beat), ""},
		{"renews another's", update("session-"+ofN2, beat), sessions},
		{"ends its session", remove("session-" + ofN1), ""},
		{"ends another's", remove("session-" + ofN2), sessions},
		{"makes itself the leader", update("the-leader", hold(ofN1, 1)), others},
		{"removes the leader", remove("the-leader"), others},
		{"takes a new volume", create(volumeLease("new", ofN1, 1)), ""},
		{"takes a new volume at a later epoch", create(volumeLease("new", ofN1, 7)), epochs},
		{"takes a new volume for another", create(volumeLease("new", ofN2, 1)), holders},
		{"takes a free volume", update("volume-free", hold(ofN1, 5)), ""},
		{"takes one at the same epoch", update("volume-free", hold(ofN1, 4)), epochs},
		{"takes one and sets its epoch back", update("volume-free", hold(ofN1, 1)), epochs},
		{"takes one of a session that may have ended", update("volume-of-n2", hold(ofN1, 5)), ""},
		{"takes its own again", update("volume-of-n1", hold(ofN1, 5)), ""},
		{"gives its own back", update("volume-of-n1", hold("", 4)), ""},
		{"gives its own back and sets its epoch back", update("volume-of-n1", hold("", 0)), epochs},
		{"gives another's back", update("volume-of-n2", hold("", 4)), holders},
		{"gives its own to another", update("volume-of-n1", hold(ofN2, 5)), holders},
		{"deletes the lease of a volume", remove("volume-of-n1"), "lives as long as the volume"},
	} {
		verdictOf(t, c.does, c.act(n1), c.says)
	}
	n2 := w.agentOn("n2")
	require.NoError(t, update("session-"+ofN2, beat)(n2), "who is right on one node")
	require.ErrorContains(t, update("session-"+ofN1, beat)(n2), `is not one of node "n2"`)
	require.NoError(t, update("the-leader", beat)(w.as(account("hayloft-coordinator", ""))), "others are not asked")
	require.ErrorContains(t, update("session-"+ofN1, beat)(w.as(account("hayloft-agent", ""))), `is not one of node ""`)
}

// TestTicketsOfAgents: an agent puts its own tickets and removes Hayloft's, and
// leaves a workload's alone.
func TestTicketsOfAgents(t *testing.T) {
	w := newWorld(t)
	n1 := w.agentOn("n1")
	workload, former, own := "csi-1", names.Ticket(ofN2, 3), names.Ticket(ofN1, 4)
	ticket := func(id, kind string) map[string]any {
		return map[string]any{"id": id, "type": kind, "nodeID": "n3", "parameters": map[string]any{"disableFrontend": "any"}}
	}
	va := func() *unstructured.Unstructured {
		o := &unstructured.Unstructured{}
		o.SetAPIVersion("longhorn.io/v1beta2")
		o.SetKind("VolumeAttachment")
		o.SetNamespace("longhorn-system")
		o.SetName("vol")
		return o
	}
	stored := va()
	stored.SetLabels(map[string]string{"longhornvolume": "vol"})
	stored.SetFinalizers([]string{"longhorn.io"})
	stored.Object["spec"] = map[string]any{"volume": "vol", "attachmentTickets": map[string]any{
		workload: ticket(workload, "csi-attacher"), former: ticket(former, "backup-controller"),
	}}
	w.make(stored)
	merge := func(body map[string]any) func(client.Client) error {
		data, err := json.Marshal(body)
		require.NoError(t, err)
		return func(c client.Client) error {
			return c.Patch(t.Context(), va(), client.RawPatch(types.MergePatchType, data), client.DryRunAll)
		}
	}
	tickets := func(all map[string]any) func(client.Client) error {
		return merge(map[string]any{"spec": map[string]any{"attachmentTickets": all}})
	}
	metadata := func(m map[string]any) func(client.Client) error { return merge(map[string]any{"metadata": m}) }
	const mine, kinds, ours, nothing = "an agent puts tickets of its own sessions alone", "snapshot-controller or backup-controller", "an agent removes tickets of Hayloft alone", "changes nothing of a VolumeAttachment but its own tickets"

	w.held("tickets.hayloft.dev", tickets(map[string]any{workload: nil}), n1)
	for _, c := range []struct {
		does string
		act  func(client.Client) error
		says string
	}{
		{"puts its ticket", tickets(map[string]any{own: ticket(own, "backup-controller")}), ""},
		{"puts it in a former one's place", tickets(map[string]any{own: ticket(own, "snapshot-controller"), former: nil}), ""},
		{"removes a former one", tickets(map[string]any{former: nil}), ""},
		{"changes nothing", tickets(map[string]any{former: ticket(former, "backup-controller")}), ""},
		{"puts one of another node", tickets(map[string]any{names.Ticket(ofN2, 4): ticket(names.Ticket(ofN2, 4), "backup-controller")}), mine},
		{"puts one under a workload's name", tickets(map[string]any{"csi-2": ticket("csi-2", "backup-controller")}), mine},
		{"puts one that says it is another", tickets(map[string]any{own: ticket(workload, "backup-controller")}), mine},
		{"moves a workload's", tickets(map[string]any{workload: map[string]any{"nodeID": "n1"}}), mine},
		{"moves another node's", tickets(map[string]any{former: map[string]any{"nodeID": "n1"}}), mine},
		{"puts one that gives way to nobody", tickets(map[string]any{own: ticket(own, "longhorn-api")}), kinds},
		{"removes a workload's", tickets(map[string]any{workload: nil}), ours},
		{"removes all", merge(map[string]any{"spec": map[string]any{"attachmentTickets": nil}}), ours},
		{"changes the volume", merge(map[string]any{"spec": map[string]any{"volume": "other"}}), nothing},
		{"removes the finalizer", metadata(map[string]any{"finalizers": []any{}}), nothing},
		{"changes a label", metadata(map[string]any{"labels": map[string]any{"longhornvolume": "other"}}), nothing},
		{"gives it an owner", metadata(map[string]any{"ownerReferences": []any{map[string]any{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u"}}}), nothing},
	} {
		verdictOf(t, c.does, c.act(n1), c.says)
	}
	require.ErrorContains(t, tickets(map[string]any{own: ticket(own, "backup-controller")})(w.agentOn("n2")), mine)
	require.NoError(t, tickets(map[string]any{former: nil})(w.as(account("hayloft-coordinator", ""))), "the sweeper is not asked")
}

// held waits until the server holds a policy that it was given, by something that
// it refuses.
func (w *world) held(policy string, refused func(client.Client) error, c client.Client) {
	w.t.Helper()
	require.EventuallyWithT(w.t, func(t *assert.CollectT) {
		err := refused(c)
		assert.ErrorContains(t, err, policy)
	}, patience, 20*time.Millisecond)
}

func verdictOf(t *testing.T, does string, err error, says string) {
	t.Helper()
	if says == "" {
		require.NoError(t, err, does)
		return
	}
	require.ErrorContains(t, err, says, does)
	require.Equal(t, "x", verdict(err), does)
}
