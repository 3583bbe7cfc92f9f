package backups

import (
	"errors"
	"testing"

	"github.com/longhorn/backupstore"
	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

// The refusals of a real target are tested through package targetwork; these
// are the cases that a real engine does not easily give.
func TestCompare(t *testing.T) {
	image := &v1alpha1.BackingImage{Name: "debian", Checksum: "ab"}
	disk := document.Disk{Name: "d", Volume: "v1", Snapshot: "s1", Backup: "b1", SizeBytes: 64 << 20}
	imaged := disk
	imaged.BackingImage = image
	volume := func(f func(*backupstore.Volume)) *backupstore.Volume {
		v := &backupstore.Volume{Name: "v1", Size: 64 << 20}
		f(v)
		return v
	}
	plain := volume(func(*backupstore.Volume) {})
	expanded := volume(func(v *backupstore.Volume) { v.Size *= 2 })
	whole := func() *backupstore.Backup {
		return &backupstore.Backup{Name: "b1", SnapshotName: "s1", CreatedTime: "now"}
	}
	for _, c := range []struct {
		name   string
		disk   document.Disk
		volume *backupstore.Volume
		backup *backupstore.Backup
		fresh  Fresh
		want   protocol.Reason
	}{
		{"fresh", disk, plain, whole(), true, ""},
		{"fresh, of another size", disk, expanded, whole(), true, protocol.Mismatch},
		{"expanded since", disk, expanded, whole(), false, ""},
		{"smaller on the target", disk, volume(func(v *backupstore.Volume) { v.Size /= 2 }), whole(), false, protocol.Mismatch},
		{"image", imaged, volume(func(v *backupstore.Volume) { v.BackingImageName, v.BackingImageChecksum = "debian", "ab" }), whole(), true, ""},
		{"image exchanged", imaged, volume(func(v *backupstore.Volume) { v.BackingImageName, v.BackingImageChecksum = "debian", "cd" }), whole(), true, protocol.Mismatch},
		{"image lost", imaged, plain, whole(), true, protocol.Mismatch},
		{"image unexpected", disk, volume(func(v *backupstore.Volume) { v.BackingImageName = "debian" }), whole(), true, protocol.Mismatch},
		{"in progress", disk, plain, &backupstore.Backup{Name: "b1"}, true, protocol.InProgress},
		{"block name too short for a path", disk, plain, &backupstore.Backup{
			SnapshotName: "s1", CreatedTime: "now", Size: blockSize, Blocks: []backupstore.BlockMapping{{BlockChecksum: "a"}},
		}, true, protocol.Damaged},
		{"block name with a path", disk, plain, &backupstore.Backup{
			SnapshotName: "s1", CreatedTime: "now", Size: blockSize, Blocks: []backupstore.BlockMapping{{BlockChecksum: "../../../../../etc/passwd"}},
		}, true, protocol.Damaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := compare(c.disk, c.volume, c.backup, c.fresh)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			var e *protocol.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.want, e.Reason, "%v", err)
			require.ErrorContains(t, of(c.disk, err), "disk d: ")
		})
	}
}

// A backup of another namespace's volume is not a document's to name.
func TestOwner(t *testing.T) {
	for _, c := range []struct {
		name   string
		labels map[string]string
		want   protocol.Reason
	}{
		{"ours", map[string]string{"hayloft.dev/vm": "prod/web"}, ""},
		{"ours, of others", map[string]string{"hayloft.dev/vm": "kube-system/web"}, protocol.Mismatch},
		{"ours, though another label would let it pass", map[string]string{"hayloft.dev/vm": "bank/web", "KubernetesStatus": `{"namespace":"prod"}`}, protocol.Mismatch},
		{"Longhorn's", map[string]string{"KubernetesStatus": `{"pvName":"pvc-1","namespace":"prod","pvcName":"web-root"}`}, ""},
		{"Longhorn's, of others", map[string]string{"KubernetesStatus": `{"namespace":"bank"}`}, protocol.Mismatch},
		{"Longhorn's, without a claim", map[string]string{"KubernetesStatus": `{}`}, ""},
		{"unreadable", map[string]string{"KubernetesStatus": `{"namespace":1}`}, protocol.Damaged},
		{"says nothing", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := checkOwner("prod", &backupstore.Backup{Name: "b1", Labels: c.labels})
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			var e *protocol.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.want, e.Reason)
		})
	}
}

func TestWorst(t *testing.T) {
	locked := &protocol.Error{Reason: protocol.Locked, Transient: true}
	damaged := &protocol.Error{Reason: protocol.Damaged}
	plain := errors.New("plain")
	require.NoError(t, worst(nil))
	require.Equal(t, locked, worst([]error{locked, locked}))
	require.Equal(t, damaged, worst([]error{locked, damaged}))
	require.Equal(t, plain, worst([]error{locked, plain}))
}
