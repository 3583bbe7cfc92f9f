package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// asHarvester writes a file as Harvester does beside its backups, of a VM as it is
// and of the Longhorn backups of a point; it returns the file.
func (w *world) asHarvester(name, vm string, of *v1alpha1.VMBackup) string {
	w.t.Helper()
	var source kubevirt.VirtualMachine
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: vm}, &source))
	var volumes []any
	for _, d := range of.Status.Disks {
		var claim corev1.PersistentVolumeClaim
		require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: d.Claim}, &claim))
		volumes = append(volumes, map[string]any{
			"name": name + "-volume-" + d.Claim, "volumeName": d.Name, "csiDriverName": "driver.longhorn.io",
			"creationTime": "2026-11-01T02:03:04Z", "longhornBackupName": d.Backup, "volumeSize": d.SizeBytes, "readyToUse": true, "progress": 100,
			"persistentVolumeClaim": map[string]any{
				"metadata": map[string]any{"name": claim.Name, "namespace": claim.Namespace, "annotations": map[string]any{"harvesterhci.io/owned-by": "[]"}, "creationTimestamp": nil},
				"spec":     claim.Spec,
			},
		})
	}
	secrets := []any{}
	for _, c := range source.Spec.Template.Spec.AccessCredentials {
		var s corev1.Secret
		require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: c.UserPassword.Source.Secret.SecretName}, &s))
		secrets = append(secrets, map[string]any{"name": s.Name, "data": s.Data})
	}
	data, err := json.Marshal(map[string]any{
		"name": name, "namespace": w.ns,
		"backupSpec": map[string]any{"source": map[string]any{"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": vm}, "type": "backup"},
		"vmSourceSpec": map[string]any{
			"metadata": map[string]any{"name": vm, "namespace": w.ns, "creationTimestamp": nil, "annotations": map[string]any{"harvesterhci.io/volumeClaimTemplates": "[]"}},
			"spec":     source.Spec,
		},
		"volumeBackups": volumes, "secretBackups": secrets,
	})
	require.NoError(w.t, err)
	file := filepath.Join(w.bucket(), "harvester", "vmbackups", w.ns, name+".cfg")
	require.NoError(w.t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(w.t, os.WriteFile(file, data, 0o644))
	return file
}
