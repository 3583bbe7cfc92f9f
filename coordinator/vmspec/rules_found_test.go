package vmspec_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
)

// reaching is a VM that has more than itself.
const reaching = `
spec: {template: {
  metadata: {labels: {app: web, harvesterhci.io/vmName: web, app.kubernetes.io/part-of: shop, sidecar.istio.io/inject: "true"}, annotations: {
    hooks.kubevirt.io/hookSidecars: '[{"image":"evil"}]', k8s.v1.cni.cncf.io/networks: kube-system/secret, sidecar.example.org/inject: "true", plain: x,
    harvesterhci.io/sshNames: '[]', vm.kubevirt.io/os: linux, kubevirt.io/ignitiondata: "{}"}},
  spec: {
    priorityClassName: system-node-critical,
    resourceClaims: [{name: dra, resourceClaimName: of-the-node}],
    domain: {devices: {
      hostDevices: [{name: nic, deviceName: example.org/nic}], gpus: [{name: gpu, deviceName: example.org/gpu}],
      disks: [{name: root, disk: {bus: virtio}}, {name: robot, disk: {}}]}},
    volumes: [{name: root, persistentVolumeClaim: {claimName: old-root}}, {name: robot, serviceAccount: {serviceAccountName: admin}}]}}}`

func found(words ...v1alpha1.Allowance) func(*vmspec.Options) {
	return func(o *vmspec.Options) { o.Found, o.Allow = true, words }
}

func foundRules() []rule {
	devices := []any{"domain", "devices"}
	annotations := []any{"spec", "template", "metadata", "annotations"}
	return []rule{
		{
			name: "found-host-devices", overlay: reaching, options: found(v1alpha1.AllowServiceAccounts, v1alpha1.AllowPodSettings),
			check: func(t *testing.T, r vmspec.Result) {
				assert.NotContains(t, inSpec(t, r, devices...), "hostDevices")
				assert.NotContains(t, inSpec(t, r, devices...), "gpus")
				assert.NotContains(t, inSpec(t, r), "resourceClaims")
				noted(t, r, "devices dra, gpu, nic: left out")
			},
		},
		{
			name: "found-accounts", overlay: reaching, options: found(v1alpha1.AllowHostDevices, v1alpha1.AllowPodSettings),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Len(t, inSpec(t, r, "volumes"), 1)
				assert.Len(t, inSpec(t, r, append(devices, "disks")...), 1)
				assert.Empty(t, r.Needs.ServiceAccounts)
				noted(t, r, "volumes robot: left out")
			},
		},
		{
			name: "found-pod-settings", overlay: reaching, options: found(v1alpha1.AllowHostDevices, v1alpha1.AllowServiceAccounts),
			check: func(t *testing.T, r vmspec.Result) {
				for _, key := range []string{"hooks.kubevirt.io/hookSidecars", "k8s.v1.cni.cncf.io/networks", "sidecar.example.org/inject", "plain"} {
					assert.NotContains(t, get(t, r, annotations...), key)
				}
				assert.NotContains(t, inSpec(t, r), "priorityClassName")
				noted(t, r, "priority class system-node-critical")
				noted(t, r, "label sidecar.istio.io/inject")
				labels := get(t, r, "spec", "template", "metadata", "labels").(map[string]any)
				keys := slices.Sorted(maps.Keys(labels))
				assert.Equal(t, []string{"app", "app.kubernetes.io/part-of", "harvesterhci.io/vmName"}, keys)
			},
		},
		{
			name: "found-own-annotations", overlay: reaching, options: found(),
			check: func(t *testing.T, r vmspec.Result) {
				for _, key := range []string{"harvesterhci.io/sshNames", "vm.kubevirt.io/os", "kubevirt.io/ignitiondata"} {
					assert.Contains(t, get(t, r, annotations...), key)
				}
			},
		},
		{
			name: "found-allowed", overlay: reaching, options: found(v1alpha1.AllowHostDevices, v1alpha1.AllowServiceAccounts, v1alpha1.AllowPodSettings),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Len(t, inSpec(t, r, append(devices, "hostDevices")...), 1)
				assert.Len(t, inSpec(t, r, "volumes"), 2)
				assert.Contains(t, get(t, r, annotations...), "hooks.kubevirt.io/hookSidecars")
				assert.Contains(t, get(t, r, "spec", "template", "metadata", "labels"), "sidecar.istio.io/inject")
				assert.Equal(t, []string{"admin"}, r.Needs.ServiceAccounts)
			},
		},
		{
			name: "found-absent-secret",
			overlay: `
spec: {template: {spec: {volumes: [
  {name: root, persistentVolumeClaim: {claimName: old-root}},
  {name: mine, secret: {secretName: mine}}, {name: theirs, secret: {secretName: admin-token}}]}}}`,
			options: func(o *vmspec.Options) {
				o.Found = true
				replacing(table, `spec: {template: {spec: {volumes: [{name: root, persistentVolumeClaim: {claimName: now}}, {name: mine, secret: {secretName: mine}}]}}}`)(o)
			},
			source: func(s *vmspec.Source) { s.Secrets = nil },
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "mine", inSpec(t, r, "volumes", 1, "secret", "secretName"))
				theirs := inSpec(t, r, "volumes", 2, "secret", "secretName")
				assert.NotEqual(t, "admin-token", theirs)
				assert.Equal(t, []vmspec.Absent{{Kind: "Secret", Name: theirs.(string)}}, r.Absent)
				noted(t, r, "does not hold Secret admin-token")
			},
		},
	}
}

// Nothing of what a document says about its objects gets onto those that are made,
// but for labels and annotations that no program takes for its own.
func TestNothingIsSmuggledIn(t *testing.T) {
	vm := parse(t, plain, `
metadata:
  ownerReferences: [{apiVersion: v1, kind: Namespace, name: kube-system, uid: "1", controller: true}]
  finalizers: [example.org/keep]
  generateName: x
  deletionTimestamp: "2026-01-01T00:00:00Z"
  managedFields: [{manager: kubectl}]
  selfLink: /x
  labels: {app: web, hayloft.dev/restore: another, hayloft.dev/former-vm: x, app.kubernetes.io/managed-by: Helm}
  annotations:
    note: x
    hayloft.dev/force-deletion: "true"
    harvesterhci.io/removedPersistentVolumeClaims: victim
    harvesterhci.io/volumeClaimTemplates: '[]'
    kubectl.kubernetes.io/last-applied-configuration: '{}'
status: {ready: true, created: true}`)
	root := claim("old-root", func(c *corev1.PersistentVolumeClaim) {
		c.OwnerReferences = []metav1.OwnerReference{{Kind: "Namespace", Name: "kube-system"}}
		c.Finalizers = []string{"example.org/keep"}
		c.Labels = map[string]string{"app": "web", "hayloft.dev/restore": "another", "cdi.kubevirt.io/x": "y"}
		c.Annotations = map[string]string{"note": "x", "volume.kubernetes.io/selected-node": "n", "pv.kubernetes.io/bind-completed": "yes", "cdi.kubevirt.io/storage.import.endpoint": "http://x"}
		c.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "victim"}
		c.Spec.DataSourceRef = &corev1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "victim"}
		c.Spec.Selector = &metav1.LabelSelector{}
		c.Spec.VolumeName = "pv-of-a-victim"
	})
	src := capture(t, vm, root)
	o := options(src, found())
	r, err := vmspec.Rebuild(src, o)
	require.NoError(t, err)

	meta := r.VM.Object["metadata"].(map[string]any)
	keys := []string{}
	for k := range meta {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	require.Equal(t, []string{"annotations", "labels", "name", "namespace"}, keys)
	require.Equal(t, map[string]string{"app": "web", v1alpha1.LabelRestore: string(o.RestoreUID)}, r.VM.GetLabels())
	require.Equal(t, map[string]string{"note": "x"}, r.VM.GetAnnotations())
	require.NotContains(t, r.VM.Object, "status")

	c := pvc(t, r, "new-root")
	require.Equal(t, metav1.ObjectMeta{
		Name: "new-root", Namespace: "farm", Annotations: map[string]string{"note": "x"},
		Labels: map[string]string{"app": "web", v1alpha1.LabelRestore: string(o.RestoreUID)},
	}, c.ObjectMeta)
	require.Nil(t, c.Spec.DataSource)
	require.Nil(t, c.Spec.DataSourceRef)
	require.Nil(t, c.Spec.Selector)
	require.Equal(t, "pv-root", c.Spec.VolumeName)
}

// What a document says is bounded and printable wherever it is repeated.
func TestWordsOfADocumentAreBounded(t *testing.T) {
	long := make([]byte, 1<<20)
	for i := range long {
		long[i] = 'x'
	}
	vm := parse(t, plain)
	spec := vm.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
	spec["hostname"] = "\x1b]0;evil\x07" + string(long)
	spec["nodeSelector"] = map[string]any{"kubernetes.io/hostname": string(long)}
	r, err := vmspec.Rebuild(capture(t, vm), options(capture(t, vm)))
	require.NoError(t, err)
	require.NotEmpty(t, r.Notes)
	for _, n := range r.Notes {
		require.LessOrEqual(t, len(n), 4096)
		require.NotContains(t, n, "\x1b")
	}
	spec["volumes"] = []any{map[string]any{"name": string(long), "hostDisk": map[string]any{}}}
	_, refusals := vmspec.Inspect(vm, nil, nil)
	require.Len(t, refusals, 1)
	require.LessOrEqual(t, len(refusals[0].Sentence), 1024)
}

// What an instance type gives its VMs counts as theirs.
func TestDevicesOf(t *testing.T) {
	require.Equal(t, []string{"nic", "gpu"}, vmspec.DevicesOf(parse(t, `spec: {cpu: {guest: 1}, gpus: [{name: gpu, deviceName: x}], hostDevices: [{name: nic, deviceName: y}]}`)))
	require.Empty(t, vmspec.DevicesOf(parse(t, `spec: {cpu: {guest: 1}}`)))
	require.Empty(t, vmspec.DevicesOf(parse(t, `spec: x`)))
}
