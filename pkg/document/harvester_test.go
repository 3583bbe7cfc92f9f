package document_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

const harvesterPath = "harvester/vmbackups/prod/nightly.cfg"

// harvesterFile is a file as Harvester v1.5 writes it, but for what is changed.
func harvesterFile(t testing.TB, change func(map[string]any)) []byte {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal([]byte(`{
		"name": "nightly", "namespace": "prod",
		"backupSpec": {"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web"}, "type": "backup"},
		"vmSourceSpec": {
			"metadata": {"name": "web", "namespace": "prod", "creationTimestamp": null, "labels": {"app": "web"}},
			"spec": {"runStrategy": "RerunOnFailure", "futureField": 1, "template": {"spec": {"volumes": [{"name": "disk-0", "persistentVolumeClaim": {"claimName": "web-disk-0"}}]}}}
		},
		"volumeBackups": [{
			"name": "nightly-volume-web-disk-0", "volumeName": "disk-0", "csiDriverName": "driver.longhorn.io", "creationTime": "2026-03-01T02:03:04Z",
			"persistentVolumeClaim": {
				"metadata": {"name": "web-disk-0", "namespace": "prod", "annotations": {"harvesterhci.io/imageId": "prod/image-abc"}},
				"spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10Gi"}}, "storageClassName": "longhorn-image-abc", "volumeMode": "Block", "volumeName": "pvc-1"}
			},
			"longhornBackupName": "backup-0123456789abcdef", "volumeSize": 10737418240, "progress": 100, "readyToUse": true
		}],
		"secretBackups": [{"name": "web-init", "data": {"userdata": "Y2FuYXJ5"}}]
	}`), &m))
	if change != nil {
		change(m)
	}
	data, err := json.Marshal(m)
	require.NoError(t, err)
	return data
}

func TestHarvestersBackup(t *testing.T) {
	d, err := document.ParseHarvester(harvesterPath, harvesterFile(t, nil))
	require.NoError(t, err)
	require.Equal(t, document.Origin{Namespace: "prod", VM: "web", MadeBy: v1alpha1.MadeByHarvester}, d.Origin)
	require.Equal(t, "nightly", d.Point.Name)
	require.Equal(t, time.Date(2026, 3, 1, 2, 3, 4, 0, time.UTC), d.Point.CutAt)
	require.Len(t, d.Disks, 1)
	disk := d.Disks[0]
	require.Equal(t, []string{"disk-0", "web-disk-0", "pvc-1", "backup-0123456789abcdef", "longhorn-image-abc", "rwx"},
		[]string{disk.Name, disk.Claim, disk.Volume, disk.Backup, disk.StorageClass, disk.VolumeAccessMode})
	require.True(t, disk.Migratable)
	require.EqualValues(t, 10<<30, disk.SizeBytes)
	require.Equal(t, "canary", string(d.Secrets[0].Data["userdata"]))
	require.Equal(t, 1, d.Readable())
	vm, err := d.VMObject()
	require.NoError(t, err)
	require.Equal(t, "web", vm.GetName())
	require.Equal(t, "RerunOnFailure", vm.Object["spec"].(map[string]any)["runStrategy"])
	require.Contains(t, vm.Object["spec"], "futureField")
	pvcs, err := d.PVCs()
	require.NoError(t, err)
	require.Contains(t, pvcs, "web-disk-0")

	p, err := document.ParsePath(harvesterPath)
	require.NoError(t, err)
	require.Equal(t, p.UID, d.Point.UID, "the same at every look")
	other, err := document.ParsePath("harvester/vmbackups/prod/weekly.cfg")
	require.NoError(t, err)
	require.NotEqual(t, other.UID, p.UID)

	d.Digest = ""
	_, _, err = document.Encode(d)
	require.Error(t, err, "it is Harvester's, and nobody writes it as a document of ours")
}

func TestHarvestersRefusals(t *testing.T) {
	volume := func(m map[string]any) map[string]any { return m["volumeBackups"].([]any)[0].(map[string]any) }
	claim := func(m map[string]any) map[string]any { return volume(m)["persistentVolumeClaim"].(map[string]any) }
	for name, c := range map[string]struct {
		change func(map[string]any)
		says   string
	}{
		"another name":         {func(m map[string]any) { m["name"] = "weekly" }, "not of what its name says"},
		"another namespace":    {func(m map[string]any) { m["namespace"] = "kube-system" }, "not of what its name says"},
		"a snapshot":           {func(m map[string]any) { m["backupSpec"].(map[string]any)["type"] = "snapshot" }, "only a backup"},
		"no VM":                {func(m map[string]any) { delete(m, "vmSourceSpec") }, "holds no VM"},
		"no volumes":           {func(m map[string]any) { m["volumeBackups"] = nil }, "0 volumes"},
		"not backed up":        {func(m map[string]any) { delete(volume(m), "longhornBackupName") }, "was not backed up"},
		"not ready":            {func(m map[string]any) { volume(m)["readyToUse"] = false }, "was not backed up"},
		"another driver":       {func(m map[string]any) { volume(m)["csiDriverName"] = "lvm" }, "only Longhorn's"},
		"a path for a backup":  {func(m map[string]any) { volume(m)["longhornBackupName"] = "../../x" }, "not a name of a backup"},
		"a path for a volume":  {func(m map[string]any) { claim(m)["spec"].(map[string]any)["volumeName"] = "../x" }, "not a name of a volume"},
		"a path for a claim":   {func(m map[string]any) { claim(m)["metadata"].(map[string]any)["name"] = "../x" }, "not a name"},
		"a path for a Secret":  {func(m map[string]any) { m["secretBackups"].([]any)[0].(map[string]any)["name"] = "../x" }, "not a name"},
		"twice the same disk":  {func(m map[string]any) { m["volumeBackups"] = []any{volume(m), volume(m)} }, "there twice"},
		"a UID that is none":   {func(m map[string]any) { m["vmSourceSpec"].(map[string]any)["metadata"].(map[string]any)["uid"] = "x" }, "not the UID"},
		"a claim that is none": {func(m map[string]any) { claim(m)["metadata"].(map[string]any)["labels"] = 1 }, "not an object"},
		"a VM of another name": {func(m map[string]any) { m["backupSpec"].(map[string]any)["source"].(map[string]any)["name"] = "../x" }, "not a name of a VM"},
		"a huge volume":        {func(m map[string]any) { volume(m)["volumeSize"] = json.Number("9223372036854775807") }, "its size is"},
		"an access mode":       {func(m map[string]any) { claim(m)["spec"].(map[string]any)["accessModes"] = []any{"All"} }, "not an access mode"},
		"another type":         {func(m map[string]any) { m["volumeBackups"] = "x" }, "not what Harvester writes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := document.ParseHarvester(harvesterPath, harvesterFile(t, c.change))
			require.ErrorContains(t, err, c.says)
		})
	}
	for _, path := range []string{"harvester/vmbackups/nightly.cfg", "harvester/vmbackups/prod/../x.cfg", "harvester/vmbackups/prod/x.json", "harvester/vmbackups/-/x.cfg", "harvester/vmbackups/prod/" + strings.Repeat("x", 64) + ".cfg"} {
		require.Error(t, document.CheckPath(path), path)
	}
}

// FuzzParseHarvester: whatever lies there, names stay names.
func FuzzParseHarvester(f *testing.F) {
	data := harvesterFile(f, nil)
	f.Add(data)
	f.Add([]byte(strings.Replace(string(data), "pvc-1", "../../etc", 1)))
	f.Add([]byte(`{"name":"nightly","namespace":"prod","vmSourceSpec":{"spec":{}},"volumeBackups":[{}]}`))
	f.Add([]byte(strings.Repeat("[", 10000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := document.ParseHarvester(harvesterPath, data)
		if err != nil {
			return
		}
		for _, disk := range d.Disks {
			for _, name := range []string{disk.Name, disk.Claim, disk.Volume, disk.Backup} {
				if strings.ContainsAny(name, "/\\?&=%\x00") || strings.HasPrefix(name, ".") || name == "" {
					t.Fatalf("accepted the name %q", name)
				}
			}
		}
		for _, s := range d.Secrets {
			if strings.ContainsAny(s.Name, "/\\\x00") || s.Name == "" {
				t.Fatalf("accepted the Secret %q", s.Name)
			}
		}
		if _, err := d.VMObject(); err != nil {
			t.Fatalf("accepted a VM that is none: %v", err)
		}
		if _, err := d.PVCs(); err != nil {
			t.Fatalf("accepted claims that are none: %v", err)
		}
	})
}
