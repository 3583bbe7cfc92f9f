package attach

import (
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hayloft.dev/pkg/names"
)

// attachmentOf has tickets, id -> node.
func attachmentOf(tickets map[string]string) *longhorn.VolumeAttachment {
	va := &longhorn.VolumeAttachment{}
	va.Spec.AttachmentTickets = map[string]*longhorn.AttachmentTicket{}
	for id, node := range tickets {
		va.Spec.AttachmentTickets[id] = &longhorn.AttachmentTicket{ID: id, NodeID: node, Generation: 2}
	}
	return va
}

func TestTicketsOfOthers(t *testing.T) {
	mine := names.Ticket("node-1-aaaaaaaa", 4)
	for name, c := range map[string]struct {
		tickets map[string]string
		foreign string
		kept    bool // on node a
	}{
		"none":                                {nil, "", false},
		"ours":                                {map[string]string{mine: "a"}, "", true},
		"ours elsewhere":                      {map[string]string{mine: "b"}, "", false},
		"a workload":                          {map[string]string{"csi-1": "a"}, "csi-1", true},
		"a workload elsewhere":                {map[string]string{"csi-1": "b"}, "csi-1", false},
		"ours, and a workload beside it":      {map[string]string{mine: "a", "csi-1": "a"}, "csi-1", true},
		"ours, which a workload interrupts":   {map[string]string{mine: "a", "csi-1": "b"}, "csi-1", false},
		"a live migration":                    {map[string]string{"csi-2": "a", "csi-1": "b"}, "csi-1", true},
		"of two others the first":             {map[string]string{"longhorn-ui": "a", "csi-1": "a"}, "csi-1", true},
		"a prefix of ours that is not parsed": {map[string]string{"hayloft-like": "a"}, "", true},
	} {
		va := attachmentOf(c.tickets)
		got := ""
		if f := foreign(va); f != nil {
			got = f.ID
		}
		require.Equal(t, c.foreign, got, name)
		require.Equal(t, c.kept, kept(va, "a"), name)
	}
}

func TestOwnSatisfied(t *testing.T) {
	mine := names.Ticket("node-1-aaaaaaaa", 4)
	va := attachmentOf(map[string]string{mine: "a", "csi-1": "a"})
	status := func(id string, satisfied bool, generation int64) {
		va.Status.AttachmentTicketStatuses = map[string]*longhorn.AttachmentTicketStatus{id: {ID: id, Satisfied: satisfied, Generation: generation}}
	}
	require.False(t, ownSatisfied(va), "no status yet")
	status(mine, true, 2)
	require.True(t, ownSatisfied(va))
	status(mine, true, 1)
	require.False(t, ownSatisfied(va), "of an earlier ticket")
	status(mine, false, 2)
	require.False(t, ownSatisfied(va))
	status("csi-1", true, 2)
	require.False(t, ownSatisfied(va), "somebody else's")
}

func TestStarts(t *testing.T) {
	instance := func(phase string, conditions ...any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"phase": phase, "conditions": conditions}}}
	}
	unschedulable := map[string]any{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
	scheduled := map[string]any{"type": "PodScheduled", "status": "True"}
	for name, c := range map[string]struct {
		vmi  *unstructured.Unstructured
		want bool
	}{
		"just made":                   {&unstructured.Unstructured{Object: map[string]any{}}, true},
		"pending":                     {instance("Pending"), true},
		"on its way to a node":        {instance("Scheduling", scheduled), true},
		"no node has room for it":     {instance("Scheduling", unschedulable), false},
		"runs: its tickets tell":      {instance("Running"), false},
		"handed over to its node":     {instance("Scheduled"), false},
		"shut down from the inside":   {instance("Succeeded"), false},
		"failed":                      {instance("Failed"), false},
		"receives a live migration":   {instance("WaitingForSync"), false},
		"a phase that nobody knows":   {instance("Later"), false},
		"made and about to be killed": {&unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"deletionTimestamp": "2026-11-23T04:00:00Z"}}}, false},
	} {
		require.Equal(t, c.want, starts(c.vmi), name)
	}
}

// TestPodNodes: only what Kubernetes attaches for pods is somebody who may write.
func TestPodNodes(t *testing.T) {
	va := attachmentOf(map[string]string{"csi-1": "b", "csi-2": "a", "csi-3": "b", "ui": "c", names.Ticket("node-1-aaaaaaaa", 4): "d"})
	for id, ticket := range va.Spec.AttachmentTickets {
		ticket.Type = longhorn.AttacherTypeSnapshotController
		switch id {
		case "csi-1", "csi-2", "csi-3":
			ticket.Type = longhorn.AttacherTypeCSIAttacher
		case "ui":
			ticket.Type = longhorn.AttacherTypeLonghornAPI
		}
	}
	require.Equal(t, []string{"a", "b"}, podNodes(va))
	require.Empty(t, podNodes(attachmentOf(nil)))
}
