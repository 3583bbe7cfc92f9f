package targetwork_test

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/points"
)

// A backup of Harvester's is listed, read with what only its Longhorn backup tells,
// inspected as ours are, and deleted without touching another one.
func TestHarvestersBackup(t *testing.T) {
	t.Parallel()
	w := withoutCluster(t)
	b := bareTarget{t, t.TempDir()}
	at := directory(b.dir)
	volume := map[string]any{
		"volumeName": "root", "longhornBackupName": "backup-1", "volumeSize": 1 << 30, "creationTime": "2026-03-01T00:00:00Z",
		"persistentVolumeClaim": map[string]any{
			"metadata": map[string]any{"name": "web-root", "namespace": "prod"},
			"spec":     map[string]any{"volumeName": "pvc-1", "storageClassName": "longhorn-image-abc", "volumeMode": "Block", "accessModes": []string{"ReadWriteMany"}},
		},
	}
	file := map[string]any{
		"name": "nightly", "namespace": "prod", "backupSpec": map[string]any{"type": "backup", "source": map[string]any{"kind": "VirtualMachine", "name": "web"}},
		"vmSourceSpec": map[string]any{
			"metadata": map[string]any{"name": "web", "namespace": "prod"},
			"spec":     map[string]any{"template": map[string]any{"spec": map[string]any{"volumes": []any{map[string]any{"name": "root", "persistentVolumeClaim": map[string]any{"claimName": "web-root"}}}}}},
		},
		"volumeBackups": []any{volume},
	}
	const nightly = "harvester/vmbackups/prod/nightly.cfg"
	b.write(nightly, file)
	points.Write(t, b.dir, "harvester/vmbackups/prod/broken.cfg", []byte("{"))
	points.Write(t, b.dir, "harvester/vmbackups/old.cfg", []byte("{}"))
	points.Write(t, b.dir, "harvester/vmimages/prod/broken.cfg", []byte("{"))
	image := func(name, checksum string) map[string]any {
		return map[string]any{"name": name, "namespace": "prod", "displayName": "Debian", "checksum": checksum, "url": "s3://b@r/?backingImage=vmi-1"}
	}
	b.write("harvester/vmimages/prod/image-abc.cfg", image("image-abc", "0123abcd"))
	b.write("harvester/vmimages/prod/image-other.cfg", image("image-other", "9999"))
	own := b.backup("pvc-1", "backup-1", true)
	other := b.backup("pvc-1", "backup-2", true)
	config := path.Join(b.volume("pvc-1"), "volume.cfg")
	b.write(config, map[string]any{"Name": "pvc-1", "Size": "1073741824", "BackingImageName": `"vmi-1"`, "BackingImageChecksum": `"0123abcd"`})

	r, _, err := w.Refresh(within(t, limit), at, targetwork.RefreshRequest{MaxDocuments: 10, MaxRead: 10, CPUMilliseconds: 60_000})
	require.NoError(t, err)
	require.Len(t, r.Read, 1)
	found := r.Read[0]
	require.Equal(t, nightly, found.Path)
	require.Equal(t, v1alpha1.MadeByHarvester, found.Origin.MadeBy)
	require.Len(t, r.Faults, 2)
	require.Equal(t, 1, r.Strange)

	d, err := w.ReadDocument(within(t, limit), at, readPoint(found.Path, found.Digest))
	require.NoError(t, err)
	// Where the image can be had is told by Harvester's file of one with that content.
	require.Equal(t, &v1alpha1.BackingImage{Name: "vmi-1", Checksum: "0123abcd", Source: &v1alpha1.ImageSource{
		Namespace: "prod", Name: "image-abc", DisplayName: "Debian", URL: "s3://b@r/?backingImage=vmi-1", Backup: true,
	}}, d.Disks[0].BackingImage)
	require.Equal(t, "snap-1", d.Disks[0].Snapshot)
	require.EqualValues(t, 1<<30, d.Disks[0].SizeBytes)
	_, err = w.InspectBackups(within(t, limit), at, d.Point.Namespace, d.Disks)
	require.NoError(t, err)

	// What Longhorn backed up for another namespace is neither restored nor deleted.
	plain, err := os.ReadFile(filepath.Join(b.dir, own))
	require.NoError(t, err)
	var labelled map[string]any
	require.NoError(t, json.Unmarshal(plain, &labelled))
	labelled["Labels"] = map[string]string{"KubernetesStatus": `{"namespace":"bank","pvcName":"vault"}`}
	b.write(own, labelled)
	_, err = w.InspectBackups(within(t, limit), at, d.Point.Namespace, d.Disks)
	failed(t, err, protocol.Mismatch, `is of a volume of namespace "bank", but the document that names it is of namespace prod`)
	stolen := targetwork.DeleteRequest{DocumentPath: nightly, Found: true, Backups: []targetwork.Backup{{Volume: "pvc-1", Backup: "backup-1"}}}
	failed(t, w.DeletePoint(within(t, limit), at, stolen), protocol.Mismatch, "it is not touched")
	require.FileExists(t, filepath.Join(b.dir, nightly))
	require.FileExists(t, filepath.Join(b.dir, own))
	points.Write(t, b.dir, own, plain)

	// One that Harvester has written anew is another one until it is looked at.
	volume["progress"] = 100
	b.write(nightly, file)
	_, err = w.ReadDocument(within(t, limit), at, readPoint(found.Path, found.Digest))
	failed(t, err, protocol.Mismatch, "written it anew")
	volume["longhornBackupName"] = "backup-3"
	b.write("harvester/vmbackups/prod/lost.cfg", func() any { file["name"] = "lost"; return file }())
	_, err = w.ReadDocument(within(t, limit), at, readPoint("harvester/vmbackups/prod/lost.cfg", ""))
	failed(t, err, protocol.NotFound, "backup backup-3 of volume pvc-1 is not on the target")

	require.NoError(t, w.DeletePoint(within(t, limit), at, targetwork.DeleteRequest{
		DocumentPath: nightly, Found: true, Backups: []targetwork.Backup{{Volume: "pvc-1", Backup: "backup-1"}},
	}))
	for f, there := range map[string]bool{nightly: false, own: false, other: true, config: true} {
		_, err := os.Stat(filepath.Join(b.dir, f))
		require.Equal(t, there, err == nil, f)
	}
}
