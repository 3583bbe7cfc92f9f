package tickets_test

import (
	"testing"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"

	"hayloft.dev/deploy/local/longhorn/condition"
	"hayloft.dev/deploy/local/longhorn/tickets"
)

const (
	csi     = lh.AttacherTypeCSIAttacher
	backup  = lh.AttacherTypeBackupController
	restore = lh.AttacherTypeVolumeRestoreController
	api     = lh.AttacherTypeLonghornAPI
	rebuild = lh.AttacherTypeVolumeRebuildingController
	custom  = lh.AttacherType("hayloft")
)

// ticket is on a node; mode is its parameter disableFrontend, "-" for none.
func ticket(id string, kind lh.AttacherType, node, mode string) *lh.AttachmentTicket {
	t := &lh.AttachmentTicket{ID: id, Type: kind, NodeID: node, Generation: 3}
	if mode != "-" {
		t.Parameters = map[string]string{"disableFrontend": mode}
	}
	return t
}

func attachment(all ...*lh.AttachmentTicket) *lh.VolumeAttachment {
	va := &lh.VolumeAttachment{Spec: lh.VolumeAttachmentSpec{AttachmentTickets: map[string]*lh.AttachmentTicket{}}}
	for _, t := range all {
		va.Spec.AttachmentTickets[t.ID] = t
	}
	return va
}

type option func(*lh.Volume)

func migratable(v *lh.Volume) {
	v.Spec.Migratable, v.Spec.AccessMode = true, lh.AccessModeReadWriteMany
}

func shared(v *lh.Volume)    { v.Spec.AccessMode = lh.AccessModeReadWriteMany }
func frontless(v *lh.Volume) { v.Spec.DisableFrontend = true }
func faulted(v *lh.Volume)   { v.Status.Robustness = lh.VolumeRobustnessFaulted }
func attaching(v *lh.Volume) { v.Status.State, v.Status.CurrentNodeID = lh.VolumeStateAttaching, "" }
func detaching(v *lh.Volume) { v.Status.State, v.Spec.NodeID = lh.VolumeStateDetaching, "" }

func detached(options ...option) *lh.Volume {
	v := &lh.Volume{Status: lh.VolumeStatus{State: lh.VolumeStateDetached}}
	for _, o := range options {
		o(v)
	}
	return v
}

func on(node string, options ...option) *lh.Volume {
	v := &lh.Volume{Spec: lh.VolumeSpec{NodeID: node}, Status: lh.VolumeStatus{State: lh.VolumeStateAttached, CurrentNodeID: node}}
	for _, o := range options {
		o(v)
	}
	return v
}

func TestDecide(t *testing.T) {
	at := func(node string) tickets.Wanted { return tickets.Wanted{NodeID: node} }
	without := func(node string) tickets.Wanted { return tickets.Wanted{NodeID: node, DisableFrontend: true} }
	for name, test := range map[string]struct {
		volume  *lh.Volume
		tickets []*lh.AttachmentTicket
		want    tickets.Wanted
	}{
		"no ticket, detached":                      {detached(), nil, at("")},
		"no ticket left":                           {on("a"), nil, at("")},
		"one ticket":                               {detached(), []*lh.AttachmentTicket{ticket("x", backup, "a", "any")}, at("a")},
		"front end off":                            {detached(), []*lh.AttachmentTicket{ticket("x", custom, "a", "true")}, without("a")},
		"any after off keeps nothing of it":        {detached(), []*lh.AttachmentTicket{ticket("x", custom, "a", "any")}, at("a")},
		"empty is any":                             {on("a", frontless), []*lh.AttachmentTicket{ticket("x", custom, "a", "")}, without("a")},
		"smallest id of equals":                    {detached(), []*lh.AttachmentTicket{ticket("y", custom, "b", "any"), ticket("x", custom, "a", "any")}, at("a")},
		"priority when detached":                   {detached(), []*lh.AttachmentTicket{ticket("a", backup, "a", "any"), ticket("z", csi, "b", "-")}, at("b")},
		"a custom type comes last":                 {detached(), []*lh.AttachmentTicket{ticket("a", custom, "a", "any"), ticket("z", backup, "b", "any")}, at("b")},
		"restore before longhorn-api":              {detached(), []*lh.AttachmentTicket{ticket("a", api, "a", "-"), ticket("z", restore, "b", "true")}, without("b")},
		"nothing while it detaches":                {on("a", detaching), []*lh.AttachmentTicket{ticket("x", csi, "b", "-")}, at("")},
		"nothing while it is faulted":              {detached(faulted), []*lh.AttachmentTicket{ticket("x", csi, "b", "-")}, at("")},
		"a faulted one detaches":                   {on("a", faulted), []*lh.AttachmentTicket{ticket("x", csi, "a", "-")}, at("")},
		"priority takes nothing away":              {on("a"), []*lh.AttachmentTicket{ticket("x", custom, "a", "any"), ticket("z", restore, "b", "any")}, at("a")},
		"backup gives way to a workload elsewhere": {on("a"), []*lh.AttachmentTicket{ticket("x", backup, "a", "any"), ticket("z", csi, "b", "-")}, at("")},
		"backup gives way to longhorn-api":         {on("a"), []*lh.AttachmentTicket{ticket("x", backup, "a", "any"), ticket("z", api, "b", "-")}, at("")},
		"even while it attaches":                   {on("a", attaching), []*lh.AttachmentTicket{ticket("x", backup, "a", "any"), ticket("z", csi, "b", "-")}, at("")},
		"backup does not give way to a backup":     {on("a"), []*lh.AttachmentTicket{ticket("x", backup, "a", "any"), ticket("z", backup, "b", "any")}, at("a")},
		"one uninterruptible holds it":             {on("a"), []*lh.AttachmentTicket{ticket("x", backup, "a", "any"), ticket("y", custom, "a", "any"), ticket("z", csi, "b", "-")}, at("a")},
		"an incompatible one does not hold it":     {on("a"), []*lh.AttachmentTicket{ticket("x", csi, "a", "true")}, at("")},
		"a workload beside a backup":               {on("a"), []*lh.AttachmentTicket{ticket("x", backup, "a", "any"), ticket("z", csi, "a", "false")}, at("a")},
		"a rebuild gives way to a workload here":   {on("a", frontless), []*lh.AttachmentTicket{ticket("x", rebuild, "a", "any"), ticket("z", api, "a", "true"), ticket("y", api, "a", "false")}, without("a")},
		"a rebuild gives way to a front end":       {on("a"), []*lh.AttachmentTicket{ticket("x", rebuild, "a", "any"), ticket("z", csi, "a", "false")}, at("")},
		"shared volumes are not for csi tickets":   {detached(shared), []*lh.AttachmentTicket{ticket("x", csi, "a", "-")}, at("")},
		"two csi tickets of a migratable volume":   {detached(migratable), []*lh.AttachmentTicket{ticket("x", csi, "a", "-"), ticket("y", csi, "b", "-")}, at("")},
		"one of a migratable volume":               {detached(migratable), []*lh.AttachmentTicket{ticket("x", csi, "a", "-"), ticket("y", backup, "b", "any")}, at("a")},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, tickets.Decide(attachment(test.tickets...), test.volume, nil))
		})
	}
}

func TestStatuses(t *testing.T) {
	for name, test := range map[string]struct {
		volume    *lh.Volume
		ticket    *lh.AttachmentTicket
		satisfied bool
		reason    string
		message   string
	}{
		"detached":        {detached(), ticket("x", csi, "a", "-"), false, "", ""},
		"here":            {on("a"), ticket("x", csi, "a", "-"), true, "", ""},
		"here with any":   {on("a", frontless), ticket("x", backup, "a", "any"), true, "", ""},
		"attaching":       {on("a", attaching), ticket("x", csi, "a", "-"), false, "", ""},
		"elsewhere":       {on("b"), ticket("x", csi, "a", "-"), false, "", "different node b"},
		"wants it off":    {on("a"), ticket("x", custom, "a", "true"), false, "AttachedWithIncompatibleParameters", "incompatible parameters"},
		"wants it on":     {on("a", frontless), ticket("x", csi, "a", "false"), false, "AttachedWithIncompatibleParameters", "incompatible parameters"},
		"shared over NFS": {on("a", shared), ticket("x", csi, "a", "-"), false, "", "volume share"},
	} {
		t.Run(name, func(t *testing.T) {
			got := tickets.Statuses(attachment(test.ticket), test.volume, nil)
			require.Len(t, got, 1)
			status := got["x"]
			require.Equal(t, test.satisfied, status.Satisfied)
			require.EqualValues(t, 3, status.Generation)
			c := condition.Get(status.Conditions, lh.AttachmentStatusConditionTypeSatisfied)
			require.Equal(t, test.satisfied, c.Status == lh.ConditionStatusTrue)
			require.Equal(t, test.reason, c.Reason)
			require.Contains(t, c.Message, test.message)
		})
	}
}

func TestStatusOfAGoneTicketGoes(t *testing.T) {
	va := attachment(ticket("x", csi, "a", "-"))
	va.Status.AttachmentTicketStatuses = tickets.Statuses(attachment(ticket("old", csi, "a", "-")), on("a"), nil)
	require.NotContains(t, tickets.Statuses(va, on("a"), nil), "old")
}
