package attach

import (
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/names"
)

func TestLocate(t *testing.T) {
	running := func(change func(*longhorn.Engine)) longhorn.Engine {
		var e longhorn.Engine
		e.Name, e.UID, e.Spec.NodeID = "v-e-0", "uid", "node-2"
		e.Status.CurrentState, e.Status.StorageIP, e.Status.Port = longhorn.InstanceStateRunning, "10.0.0.2", 10010
		e.Status.CurrentReplicaAddressMap = map[string]string{"v-r-1": "10.0.0.1:10000"}
		if change != nil {
			change(&e)
		}
		return e
	}
	loc, err := locate("v", []longhorn.Engine{running(nil)})
	require.NoError(t, err)
	require.Equal(t, Location{
		Volume: "v", Engine: "v-e-0", EngineUID: "uid", Address: "10.0.0.2:10010", Node: "node-2",
		Replicas: map[string]string{"v-r-1": "10.0.0.1:10000"},
	}, loc)

	for name, c := range map[string]struct {
		engines []longhorn.Engine
		want    error
	}{
		"no engine":      {nil, ErrNotAttached},
		"two engines":    {[]longhorn.Engine{running(nil), running(nil)}, ErrMigrating},
		"stopped":        {[]longhorn.Engine{running(func(e *longhorn.Engine) { e.Status.CurrentState = longhorn.InstanceStateStopped })}, ErrNotAttached},
		"no address yet": {[]longhorn.Engine{running(func(e *longhorn.Engine) { e.Status.StorageIP = "" })}, ErrNotAttached},
		"no port yet":    {[]longhorn.Engine{running(func(e *longhorn.Engine) { e.Status.Port = 0 })}, ErrNotAttached},
		"data engine v2": {[]longhorn.Engine{running(func(e *longhorn.Engine) { e.Spec.DataEngine = longhorn.DataEngineTypeV2 })}, ErrNotSupported},
	} {
		_, err := locate("v", c.engines)
		require.ErrorIs(t, err, c.want, name)
	}
}

func TestOwnTicketsLeavesOthersAlone(t *testing.T) {
	va := &longhorn.VolumeAttachment{}
	mine, former := names.Ticket("node-1-aaaaaaaa", 4), names.Ticket("node-2-bbbbbbbb", 3)
	va.Spec.AttachmentTickets = map[string]*longhorn.AttachmentTicket{
		mine: {}, former: {}, "csi-0123": {}, "backup-controller-b1": {}, "longhorn-ui": {},
	}
	require.Equal(t, []string{former}, ownTickets(va, mine))
	require.Equal(t, []string{mine, former}, ownTickets(va, ""))
}

func TestChooseNode(t *testing.T) {
	on := func(node, failedAt string) longhorn.Replica {
		var r longhorn.Replica
		r.Spec.NodeID, r.Spec.FailedAt = node, failedAt
		return r
	}
	const local = longhorn.DataLocalityBestEffort
	require.Equal(t, "own", chooseNode("own", "", local, nil), "no replica anywhere yet")
	require.Equal(t, "own", chooseNode("own", "", local, []longhorn.Replica{on("a", ""), on("own", "")}))
	require.Equal(t, "a", chooseNode("own", "", local, []longhorn.Replica{on("b", ""), on("a", "")}))
	require.Equal(t, "b", chooseNode("own", "", local, []longhorn.Replica{on("b", ""), on("own", "2026-01-01T00:00:00Z")}), "a failed replica is none")

	silent := on("b", "")
	silent.Status.CurrentState = longhorn.InstanceStateUnknown
	for _, locality := range []longhorn.DataLocality{longhorn.DataLocalityDisabled, local} {
		require.Equal(t, "a", chooseNode("own", "a", locality, []longhorn.Replica{on("a", ""), silent}), "the data is on lost nodes alone")
		require.Equal(t, "own", chooseNode("own", "a", locality, []longhorn.Replica{on("a", ""), on("own", "")}))
	}
	require.Equal(t, "own", chooseNode("own", "a", longhorn.DataLocalityDisabled, []longhorn.Replica{on("a", ""), on("c", "")}))
	require.Equal(t, "c", chooseNode("own", "a", local, []longhorn.Replica{on("a", ""), on("c", "")}))
}
