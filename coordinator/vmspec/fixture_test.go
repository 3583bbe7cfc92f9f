package vmspec_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"hayloft.dev/coordinator/vmspec"
)

// plain is a VM with one disk and nothing else.
const plain = `
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: old, namespace: farm, uid: 11111111-2222-3333-4444-555555555555}
spec:
  runStrategy: Always
  template:
    spec:
      domain:
        devices:
          disks: [{name: root, disk: {bus: virtio}}]
      volumes:
      - name: root
        persistentVolumeClaim: {claimName: old-root}
`

// parse reads a VM, with the fields of each overlay laid over it. Objects are
// merged, everything else is replaced.
func parse(t testing.TB, vm string, overlays ...string) *unstructured.Unstructured {
	t.Helper()
	out := fields(t, vm)
	for _, o := range overlays {
		lay(out, fields(t, o))
	}
	return &unstructured.Unstructured{Object: out}
}

func fields(t testing.TB, s string) map[string]any {
	t.Helper()
	var out map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(s), &out))
	return out
}

func lay(under, over map[string]any) {
	for k, v := range over {
		a, isMap := under[k].(map[string]any)
		b, both := v.(map[string]any)
		if isMap && both {
			lay(a, b)
			continue
		}
		under[k] = v
	}
}

// claim is a claim as Harvester makes them.
func claim(name string, edit ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	class, mode := "longhorn", corev1.PersistentVolumeBlock
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "farm", UID: "c1", ResourceVersion: "7"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			StorageClassName: &class, VolumeMode: &mode, VolumeName: "pvc-source",
		},
	}
	for _, e := range edit {
		e(c)
	}
	return c
}

// capture makes a Source of a VM and its claims: of the disks that Inspect
// finds, and with every Secret and ConfigMap that it names. Claims that are
// not given are made up.
func capture(t testing.TB, vm *unstructured.Unstructured, claims ...*corev1.PersistentVolumeClaim) vmspec.Source {
	t.Helper()
	src := vmspec.Source{VM: vm, PVCs: map[string]*corev1.PersistentVolumeClaim{}}
	var all []corev1.PersistentVolumeClaim
	for _, c := range claims {
		src.PVCs[c.Name] = c
		all = append(all, *c)
	}
	contents, refusals := vmspec.Inspect(vm, nil, all)
	require.Empty(t, refusals)
	src.Disks, src.Secrets, src.ConfigMaps = contents.Disks, contents.Secrets, contents.ConfigMaps
	for _, d := range contents.Disks {
		if src.PVCs[d.Claim] == nil {
			src.PVCs[d.Claim] = claim(d.Claim)
		}
	}
	return src
}

// options restore to "new" in the same namespace, each disk onto "pv-<disk>".
func options(src vmspec.Source, edit ...func(*vmspec.Options)) vmspec.Options {
	o := vmspec.Options{
		NewName: "new", Namespace: "farm", RestoreUID: "aaaaaaaa-0000-0000-0000-000000000001",
		Volumes: map[string]string{},
	}
	for _, d := range src.Disks {
		o.Volumes[d.Name] = "pv-" + d.Name
	}
	for _, e := range edit {
		e(&o)
	}
	return o
}

// at descends through objects and, by index, lists.
func at(t testing.TB, o any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m, _ := o.(map[string]any)
			o = m[k]
		case int:
			l, _ := o.([]any)
			require.Greater(t, len(l), k, "list is too short at %v", path)
			o = l[k]
		}
	}
	return o
}
