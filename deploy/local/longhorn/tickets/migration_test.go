package tickets_test

import (
	"testing"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"

	"hayloft.dev/deploy/local/longhorn/tickets"
)

// toB is a volume that migrates to node b; shown says that its status says so too.
func toB(v *lh.Volume)   { v.Spec.MigrationNodeID = "b" }
func shown(v *lh.Volume) { v.Status.CurrentMigrationNodeID = "b" }

// engine runs on a node with one good replica and the named snapshots.
func engine(node string, active bool, snapshots ...string) *lh.Engine {
	e := &lh.Engine{}
	e.Spec.NodeID, e.Spec.Active, e.Spec.DesireState = node, active, lh.InstanceStateRunning
	e.Status.CurrentState = lh.InstanceStateRunning
	e.Status.ReplicaModeMap = map[string]lh.ReplicaMode{"r": lh.ReplicaModeRW}
	e.Status.Snapshots = map[string]*lh.SnapshotInfo{}
	for _, s := range snapshots {
		e.Status.Snapshots[s] = &lh.SnapshotInfo{Name: s}
	}
	return e
}

func TestMigration(t *testing.T) {
	a, b := ticket("a", csi, "a", "-"), ticket("b", csi, "b", "-")
	both := []*lh.Engine{engine("a", true, "s"), engine("b", false, "s")}
	blank := engine("b", false, "s")
	blank.Status.ReplicaModeMap = nil
	for name, test := range map[string]struct {
		volume  *lh.Volume
		tickets []*lh.AttachmentTicket
		engines []*lh.Engine
		node    string
		to      string
	}{
		"begins":                             {on("a", migratable), []*lh.AttachmentTicket{a, b}, nil, "a", "b"},
		"not of other volumes":               {on("a"), []*lh.AttachmentTicket{a, b}, nil, "a", ""},
		"not before it is attached":          {on("a", migratable, attaching), []*lh.AttachmentTicket{a, b}, nil, "a", ""},
		"not for a backup":                   {on("a", migratable), []*lh.AttachmentTicket{a, ticket("b", backup, "b", "any")}, nil, "a", ""},
		"not away from a backup":             {on("a", migratable), []*lh.AttachmentTicket{ticket("a", backup, "a", "any"), b}, nil, "", ""},
		"not for another front end":          {on("a", migratable), []*lh.AttachmentTicket{a, ticket("b", csi, "b", "true")}, nil, "a", ""},
		"goes on":                            {on("a", migratable, toB, shown), []*lh.AttachmentTicket{a, b}, both, "a", "b"},
		"confirmed":                          {on("a", migratable, toB, shown), []*lh.AttachmentTicket{b}, both, "b", ""},
		"not confirmed before it has begun":  {on("a", migratable, toB), []*lh.AttachmentTicket{b}, nil, "a", "b"},
		"not confirmed without an engine":    {on("a", migratable, toB, shown), []*lh.AttachmentTicket{b}, both[:1], "a", "b"},
		"not confirmed without a replica":    {on("a", migratable, toB, shown), []*lh.AttachmentTicket{b}, []*lh.Engine{both[0], blank}, "a", "b"},
		"not confirmed after a snapshot":     {on("a", migratable, toB, shown), []*lh.AttachmentTicket{b}, []*lh.Engine{engine("a", true, "s", "t"), both[1]}, "a", "b"},
		"rolled back":                        {on("a", migratable, toB, shown), []*lh.AttachmentTicket{a}, both, "a", ""},
		"both gone, confirmed":               {on("a", migratable, toB, shown), nil, both, "b", ""},
		"both gone, not ready":               {on("a", migratable, toB, shown), nil, both[:1], "a", ""},
		"faulted":                            {on("a", migratable, toB, shown, faulted), []*lh.AttachmentTicket{a, b}, both, "", ""},
		"no detaching in its last moments":   {on("b", migratable, shown), nil, nil, "b", ""},
		"detached for good with two tickets": {detached(migratable), []*lh.AttachmentTicket{a, b}, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			want := tickets.Wanted{NodeID: test.node, MigrationNodeID: test.to}
			require.Equal(t, want, tickets.Decide(attachment(test.tickets...), test.volume, test.engines))
		})
	}

	second := func(v *lh.Volume, engines []*lh.Engine) *lh.AttachmentTicketStatus {
		return tickets.Statuses(attachment(a, b), v, engines)["b"]
	}
	require.True(t, second(on("a", migratable, toB, shown), both).Satisfied)
	require.False(t, second(on("a", migratable, toB, shown), both[:1]).Satisfied)
	require.False(t, second(on("a", migratable, toB), both).Satisfied, "the volume does not show it yet")
}
