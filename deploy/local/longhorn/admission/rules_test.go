package admission

import (
	"testing"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
)

func attachment(tickets ...*lh.AttachmentTicket) *lh.VolumeAttachment {
	va := &lh.VolumeAttachment{Spec: lh.VolumeAttachmentSpec{Volume: "v", AttachmentTickets: map[string]*lh.AttachmentTicket{}}}
	for _, t := range tickets {
		va.Spec.AttachmentTickets[t.ID] = t
	}
	return va
}

func TestTicketGenerations(t *testing.T) {
	vol := &lh.Volume{}
	vol.Name, vol.UID = "v", "uid"

	made := attachment()
	mutateAttachment(nil, made, vol)
	require.Equal(t, "v", made.Labels[VolumeLabel])
	require.Equal(t, "uid", string(made.OwnerReferences[0].UID))
	require.Contains(t, made.Finalizers, Finalizer)

	first := attachment(&lh.AttachmentTicket{ID: "x", NodeID: "a"})
	mutateAttachment(made, first, vol)
	require.Zero(t, first.Spec.AttachmentTickets["x"].Generation, "a new ticket begins at none")

	same := first.DeepCopy()
	mutateAttachment(first, same, vol)
	require.Zero(t, same.Spec.AttachmentTickets["x"].Generation)

	changed := first.DeepCopy()
	changed.Spec.AttachmentTickets["x"].NodeID = "b"
	mutateAttachment(first, changed, vol)
	require.EqualValues(t, 1, changed.Spec.AttachmentTickets["x"].Generation)

	// It was taken away and comes again before its status went.
	again := attachment(&lh.AttachmentTicket{ID: "x", NodeID: "a"})
	again.Status.AttachmentTicketStatuses = map[string]*lh.AttachmentTicketStatus{"x": {ID: "x", Satisfied: true, Generation: 1}}
	mutateAttachment(attachment(), again, vol)
	require.EqualValues(t, 2, again.Spec.AttachmentTickets["x"].Generation, "the old status is not about it")
}

func TestAttachmentRefusals(t *testing.T) {
	one, two, three := &lh.AttachmentTicket{ID: "1"}, &lh.AttachmentTicket{ID: "2"}, &lh.AttachmentTicket{ID: "3"}
	migratable := func(state lh.VolumeState) *lh.Volume {
		return &lh.Volume{
			Spec:   lh.VolumeSpec{Migratable: true, AccessMode: lh.AccessModeReadWriteMany},
			Status: lh.VolumeStatus{State: state},
		}
	}
	wrongID := attachment(one)
	wrongID.Spec.AttachmentTickets["other"] = two
	moved := attachment(one)
	moved.Spec.Volume = "w"
	for name, test := range map[string]struct {
		va      *lh.VolumeAttachment
		vol     *lh.Volume
		refusal string
	}{
		"one":                       {attachment(one), migratable(lh.VolumeStateDetached), ""},
		"two while attached":        {attachment(one, two), migratable(lh.VolumeStateAttached), ""},
		"two while attaching":       {attachment(one, two), migratable(lh.VolumeStateAttaching), "second node while it is in state attaching"},
		"three":                     {attachment(one, two, three), migratable(lh.VolumeStateAttached), "more than two nodes"},
		"three of an ordinary one":  {attachment(one, two, three), &lh.Volume{}, ""},
		"a ticket under another id": {wrongID, &lh.Volume{}, "inconsistent"},
		"for another volume":        {moved, &lh.Volume{}, "immutable"},
		"for a volume that is gone": {attachment(one), nil, "failed to get volume"},
	} {
		t.Run(name, func(t *testing.T) {
			err := validateAttachment(attachment(), test.va, test.vol)
			if test.refusal == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.refusal)
		})
	}
}

func TestVolumeRules(t *testing.T) {
	make := func(change func(*lh.Volume)) *lh.Volume {
		v := &lh.Volume{Spec: lh.VolumeSpec{Size: 10<<20 + 1, Frontend: lh.VolumeFrontendBlockDev}}
		v.Name = "v"
		mutateVolume(v, Defaults{Image: "image", NumberOfReplicas: 2, SnapshotMaxCount: 250})
		if change != nil {
			change(v)
		}
		return v
	}
	vol := make(nil)
	require.EqualValues(t, 12<<20, vol.Spec.Size)
	require.Equal(t, 2, vol.Spec.NumberOfReplicas)
	require.Equal(t, 250, vol.Spec.SnapshotMaxCount)
	require.Equal(t, "v", vol.Labels[VolumeLabel])

	large := &lh.BackingImage{Spec: lh.BackingImageSpec{DataEngine: lh.DataEngineTypeV1}, Status: lh.BackingImageStatus{VirtualSize: 1 << 30}}
	for name, test := range map[string]struct {
		change  func(*lh.Volume)
		image   *lh.BackingImage
		refusal string
	}{
		"as it is":               {nil, nil, ""},
		"data engine v2":         {func(v *lh.Volume) { v.Spec.DataEngine = lh.DataEngineTypeV2 }, nil, ""},
		"too many replicas":      {func(v *lh.Volume) { v.Spec.NumberOfReplicas = 21 }, nil, "number of replicas"},
		"migratable alone":       {func(v *lh.Volume) { v.Spec.Migratable = true }, nil, "migratable volumes are only"},
		"no front end":           {func(v *lh.Volume) { v.Spec.Frontend = "" }, nil, "frontend"},
		"from a backup":          {func(v *lh.Volume) { v.Spec.FromBackup = "s3://x" }, nil, "not offered"},
		"an image that is not":   {func(v *lh.Volume) { v.Spec.BackingImage = "i" }, nil, "not found"},
		"an image that is large": {func(v *lh.Volume) { v.Spec.BackingImage = "i" }, large, "larger than the backing image"},
	} {
		t.Run(name, func(t *testing.T) {
			err := validateVolume(nil, make(test.change), test.image)
			if test.refusal == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.refusal)
		})
	}
	require.ErrorContains(t, validateVolume(vol, make(func(v *lh.Volume) { v.Spec.Size += 2 << 20 }), nil), "size")
	require.ErrorContains(t, validateVolume(vol, make(func(v *lh.Volume) { v.Spec.BackingImage = "i" }), nil), "backing image")
}
