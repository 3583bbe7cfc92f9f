package targetwork_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"hayloft.dev/coordinator/targetio/cluster"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/enginetest"
	"hayloft.dev/test/harness"
)

// guestSecret is what a VM's Secret holds; it may be in the document alone.
const guestSecret = "guest-canary-value"

// vm is a VM in the cluster, and a point of it.
type vm struct {
	name  string
	uid   types.UID
	point document.Point
	disks []document.Disk
}

// claims of the VM's disks.
func (v *vm) claims() []string {
	var out []string
	for _, d := range v.disks {
		out = append(out, d.Claim)
	}
	return out
}

func (v *vm) capture() targetwork.CaptureRequest {
	return targetwork.CaptureRequest{Point: v.point, VM: v.name, VMUID: v.uid, Claims: v.claims()}
}

// given is what a coordinator hands over of a VM.
func (w *world) given(t *testing.T, v *vm) *targetwork.CaptureSource {
	t.Helper()
	api, err := dynamic.NewForConfig(harness.APIServer(t))
	require.NoError(t, err)
	system, err := w.client.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceSystem, metav1.GetOptions{})
	require.NoError(t, err)
	vm, err := api.Resource(cluster.VirtualMachines).Namespace(w.vms).Get(t.Context(), v.name, metav1.GetOptions{})
	require.NoError(t, err)
	out := &targetwork.CaptureSource{ClusterUID: system.UID, Claims: map[string]json.RawMessage{}}
	out.VM, err = json.Marshal(vm)
	require.NoError(t, err)
	for _, name := range v.claims() {
		claim, err := w.client.CoreV1().PersistentVolumeClaims(w.vms).Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		claim.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"))
		out.Claims[name], err = json.Marshal(claim)
		require.NoError(t, err)
	}
	return out
}

func (v *vm) finalize() targetwork.FinalizeRequest {
	p := v.point
	p.CutAt = time.Date(2026, 11, 23, 4, 5, 6, 789000, time.UTC)
	return targetwork.FinalizeRequest{Point: p, Consistency: v1alpha1.ConsistencyCrash, Disks: v.disks}
}

func (v *vm) deletion() targetwork.DeleteRequest {
	r := targetwork.DeleteRequest{DraftUID: v.point.UID}
	for _, d := range v.disks {
		r.Backups = append(r.Backups, targetwork.Backup{Volume: d.Volume, Backup: d.Backup})
	}
	return r
}

// makeVM makes a VM with a disk on each volume, a cloud-init Secret and a
// ConfigMap. Its snapshots and backups are named, not made.
func (w *world) makeVM(t *testing.T, name string, volumes ...*enginetest.Volume) *vm {
	t.Helper()
	point := types.UID(uuid.NewString())
	v := &vm{name: name, point: document.Point{UID: point, Name: name + "-1", Namespace: w.vms, CreatedAt: time.Date(2026, 11, 23, 4, 5, 0, 0, time.UTC)}}
	var disks, vols []any
	for i, volume := range volumes {
		disk := fmt.Sprintf("disk-%d", i)
		claim := name + "-" + disk
		_, err := w.client.CoreV1().PersistentVolumeClaims(w.vms).Create(t.Context(), &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: claim},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("64Mi")}},
			},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		disks = append(disks, map[string]any{"name": disk, "disk": map[string]any{"bus": "virtio"}})
		vols = append(vols, map[string]any{"name": disk, "persistentVolumeClaim": map[string]any{"claimName": claim}})
		v.disks = append(v.disks, document.Disk{
			Name: disk, Claim: claim, Volume: volume.Name, SizeBytes: volume.SizeBytes,
			Snapshot: names.Snapshot(point, 1, disk), Backup: names.Backup(point, disk, 1), NumberOfReplicas: 1,
		})
	}
	w.object(t, name+"-init", name+"-conf")
	vols = append(vols,
		map[string]any{"name": "init", "cloudInitNoCloud": map[string]any{"secretRef": map[string]any{"name": name + "-init"}}},
		map[string]any{"name": "conf", "configMap": map[string]any{"name": name + "-conf"}},
		map[string]any{"name": "gone", "secret": map[string]any{"secretName": name + "-gone"}})
	disks = append(disks, map[string]any{"name": "init", "disk": map[string]any{"bus": "virtio"}},
		map[string]any{"name": "conf", "disk": map[string]any{"bus": "virtio"}}, map[string]any{"name": "gone", "disk": map[string]any{"bus": "virtio"}})
	api, err := dynamic.NewForConfig(harness.APIServer(t))
	require.NoError(t, err)
	made, err := api.Resource(cluster.VirtualMachines).Namespace(w.vms).Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"runStrategy": "Halted", "template": map[string]any{"spec": map[string]any{
			"domain":  map[string]any{"devices": map[string]any{"disks": disks}, "resources": map[string]any{"requests": map[string]any{"memory": "64Mi"}}},
			"volumes": vols,
		}}},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	v.uid = made.GetUID()
	return v
}

func (w *world) object(t *testing.T, secret, config string) {
	t.Helper()
	_, err := w.client.CoreV1().Secrets(w.vms).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: map[string][]byte{"userdata": []byte(guestSecret), "binary": {0, 255}, "empty": {}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = w.client.CoreV1().ConfigMaps(w.vms).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: config}, Data: map[string]string{"a": "b"}, BinaryData: map[string][]byte{"c": {0, 255}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// backUp cuts and backs up a VM's disks as its point names them.
func (v *vm) backUp(t *testing.T, target *enginetest.Target, volumes ...*enginetest.Volume) {
	t.Helper()
	for i, volume := range volumes {
		snapshot(t, volume, v.disks[i].Snapshot)
		backUp(t, volume, target, v.disks[i].Snapshot, v.disks[i].Backup)
	}
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
