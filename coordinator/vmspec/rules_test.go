package vmspec_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/vmspec"
)

// rule is one line of docs/restore-rules.md, shown on one VM.
type rule struct {
	name    string
	overlay string // over plain
	claims  []*corev1.PersistentVolumeClaim
	options func(*vmspec.Options)
	source  func(*vmspec.Source)
	check   func(*testing.T, vmspec.Result)
}

// path into the new VM.
func get(t *testing.T, r vmspec.Result, path ...any) any { return at(t, r.VM.Object, path...) }

// inSpec is a path into the template's spec.
func inSpec(t *testing.T, r vmspec.Result, path ...any) any {
	return get(t, r, append([]any{"spec", "template", "spec"}, path...)...)
}

func noted(t *testing.T, r vmspec.Result, part string) {
	t.Helper()
	assert.Contains(t, strings.Join(r.Notes, "\n"), part)
}

func pvc(t *testing.T, r vmspec.Result, name string) *corev1.PersistentVolumeClaim {
	t.Helper()
	for _, c := range r.PVCs {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no claim %s among %v", name, r.Claims)
	return nil
}

func rules() []rule {
	return slices.Concat(metadataRules(), claimRules(), volumeRules(), guestRules(), copyRules(), stateRules(), subsetRules(), mapRules(), replaceRules(), foundRules())
}

func metadataRules() []rule {
	return []rule{
		{
			name: "identity-dropped",
			overlay: `
metadata:
  resourceVersion: "12"
  generation: 3
  creationTimestamp: "2026-01-01T00:00:00Z"
  generateName: old-
  finalizers: [harvesterhci.io/VMController.UnsetOwnerOfPVCs, kubevirt.io/virtualMachineControllerFinalize]
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: pool, uid: u}]
  managedFields: [{manager: kubectl}]
status: {ready: true, printableStatus: Running}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]any{
					"name": "new", "namespace": "farm",
					"labels": map[string]any{"hayloft.dev/restore": "aaaaaaaa-0000-0000-0000-000000000001"},
				}, get(t, r, "metadata"))
				assert.Nil(t, get(t, r, "status"))
			},
		},
		{
			name: "labels-follow",
			overlay: `
metadata: {labels: {harvesterhci.io/vmName: old, team: barn}}
spec: {template: {metadata: {labels: {harvesterhci.io/vmName: old, kubevirt.io/vm: old, vm.kubevirt.io/name: old, kubevirt.io/domain: old, app: web}}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "new", get(t, r, "metadata", "labels", "harvesterhci.io/vmName"))
				assert.Equal(t, "barn", get(t, r, "metadata", "labels", "team"))
				assert.Equal(t, map[string]any{
					"harvesterhci.io/vmName": "new", "kubevirt.io/vm": "new", "vm.kubevirt.io/name": "new",
					"kubevirt.io/domain": "new", "app": "web",
				}, get(t, r, "spec", "template", "metadata", "labels"))
			},
		},
		{
			name: "ownership-marks",
			overlay: `
metadata:
  labels: {app.kubernetes.io/managed-by: Helm, app.kubernetes.io/instance: x, hayloft.dev/restore: earlier, argocd.argoproj.io/instance: a}
  annotations: {meta.helm.sh/release-name: x, argocd.argoproj.io/tracking-id: t, kubectl.kubernetes.io/last-applied-configuration: "{}", field.cattle.io/description: kept}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]any{"hayloft.dev/restore": "aaaaaaaa-0000-0000-0000-000000000001"}, get(t, r, "metadata", "labels"))
				assert.Equal(t, map[string]any{"field.cattle.io/description": "kept"}, get(t, r, "metadata", "annotations"))
			},
		},
		{
			name: "annotations-bound",
			overlay: `
metadata:
  annotations:
    kubevirt.io/latest-observed-api-version: v1
    kubevirt.io/storage-observed-api-version: v1
    kubevirt.io/restore-run-strategy: Always
    restore.kubevirt.io/lastRestoreUID: x
    snapshot.kubevirt.io/source: s
    harvesterhci.io/removedPersistentVolumeClaims: old-data
    harvesterhci.io/vmRunStrategy: RerunOnFailure
spec: {template: {metadata: {annotations: {kubevirt.io/allow-pod-bridge-network-live-migration: "true", kubevirt.io/migrationJobName: m}}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]any{"harvesterhci.io/vmRunStrategy": "RerunOnFailure"}, get(t, r, "metadata", "annotations"))
				assert.Equal(t, map[string]any{"kubevirt.io/allow-pod-bridge-network-live-migration": "true"},
					get(t, r, "spec", "template", "metadata", "annotations"))
			},
		},
		{
			name:    "volume-claim-templates",
			overlay: `metadata: {annotations: {harvesterhci.io/volumeClaimTemplates: '[{"metadata":{"name":"old-root"}}]'}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Nil(t, get(t, r, "metadata", "annotations"))
				noted(t, r, "harvesterhci.io/volumeClaimTemplates was removed")
			},
		},
		{
			name:    "unknown-fields",
			overlay: `spec: {futureSetting: {a: 1}, template: {spec: {domain: {newDevice: [{x: kept}]}}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.EqualValues(t, 1, get(t, r, "spec", "futureSetting", "a"))
				assert.Equal(t, "kept", inSpec(t, r, "domain", "newDevice", 0, "x"))
			},
		},
	}
}

func claimRules() []rule {
	root := func(edit func(*corev1.PersistentVolumeClaim)) []*corev1.PersistentVolumeClaim {
		return []*corev1.PersistentVolumeClaim{claim("old-root", edit)}
	}
	return []rule{
		{
			name: "claim-names",
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]string{"root": "new-root"}, r.Claims)
				assert.Equal(t, "new-root", inSpec(t, r, "volumes", 0, "persistentVolumeClaim", "claimName"))
				c := pvc(t, r, "new-root")
				assert.Equal(t, metav1.ObjectMeta{
					Name: "new-root", Namespace: "farm", Annotations: map[string]string{},
					Labels: map[string]string{"hayloft.dev/restore": "aaaaaaaa-0000-0000-0000-000000000001"},
				}, c.ObjectMeta)
			},
		},
		{
			name:    "claim-names-long",
			options: func(o *vmspec.Options) { o.NewName = strings.Repeat("n", 60) },
			check: func(t *testing.T, r vmspec.Result) {
				assert.Len(t, r.Claims["root"], 63)
				assert.Regexp(t, `^n{52}-[0-9a-f]{10}$`, r.Claims["root"])
			},
		},
		{
			name: "claim-bound-to-volume",
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "pv-root", pvc(t, r, "new-root").Spec.VolumeName)
			},
		},
		{
			name: "claim-refill",
			claims: root(func(c *corev1.PersistentVolumeClaim) {
				group := "cdi.kubevirt.io"
				c.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: &group, Kind: "VolumeImportSource", Name: "img"}
				c.Spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: &group, Kind: "VolumeImportSource", Name: "img"}
				c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
			}),
			check: func(t *testing.T, r vmspec.Result) {
				c := pvc(t, r, "new-root")
				assert.Nil(t, c.Spec.DataSource)
				assert.Nil(t, c.Spec.DataSourceRef)
				assert.Nil(t, c.Spec.Selector)
			},
		},
		{
			name: "claim-annotations",
			claims: root(func(c *corev1.PersistentVolumeClaim) {
				c.Annotations = map[string]string{
					"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/storage-provisioner": "p",
					"volume.beta.kubernetes.io/storage-provisioner": "p", "cdi.kubevirt.io/storage.populatedFor": "x",
					"harvesterhci.io/owned-by": "[]", "harvesterhci.io/imageId": "default/image-1",
					"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "kept",
				}
				c.Labels = map[string]string{"app.kubernetes.io/component": "storage", "harvesterhci.io/vmName": "old", "tier": "gold"}
				c.Finalizers = []string{"kubernetes.io/pvc-protection"}
				c.OwnerReferences = []metav1.OwnerReference{{Kind: "DataVolume", Name: "dv"}}
			}),
			check: func(t *testing.T, r vmspec.Result) {
				c := pvc(t, r, "new-root")
				assert.Equal(t, map[string]string{"note": "kept"}, c.Annotations)
				assert.Equal(t, map[string]string{
					"harvesterhci.io/vmName": "new", "tier": "gold",
					"hayloft.dev/restore": "aaaaaaaa-0000-0000-0000-000000000001",
				}, c.Labels)
				assert.Empty(t, c.Finalizers)
				assert.Empty(t, c.OwnerReferences)
			},
		},
		{
			name: "claim-storage-class",
			check: func(t *testing.T, r vmspec.Result) {
				c := pvc(t, r, "new-root")
				assert.Equal(t, "longhorn", *c.Spec.StorageClassName)
				assert.Equal(t, corev1.PersistentVolumeBlock, *c.Spec.VolumeMode)
				assert.Equal(t, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, c.Spec.AccessModes)
				assert.Equal(t, []string{"longhorn"}, r.Needs.StorageClasses)
			},
		},
		{
			name: "claim-class-in-annotation",
			claims: root(func(c *corev1.PersistentVolumeClaim) {
				c.Spec.StorageClassName = nil
				c.Annotations = map[string]string{"volume.beta.kubernetes.io/storage-class": "slow"}
			}),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "slow", *pvc(t, r, "new-root").Spec.StorageClassName)
			},
		},
		{
			name:   "claim-no-class",
			claims: root(func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "", *pvc(t, r, "new-root").Spec.StorageClassName)
				assert.Empty(t, r.Needs.StorageClasses)
			},
		},
		{
			name: "claim-size",
			claims: root(func(c *corev1.PersistentVolumeClaim) {
				c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("20Gi")}
				c.Spec.Resources.Limits = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
			}),
			options: func(o *vmspec.Options) { o.Sizes = map[string]int64{"root": 10 << 30} },
			check: func(t *testing.T, r vmspec.Result) {
				c := pvc(t, r, "new-root")
				assert.Equal(t, int64(10<<30), c.Spec.Resources.Requests.Storage().Value())
				assert.Empty(t, c.Spec.Resources.Limits)
			},
		},
		{
			name: "claim-attributes-class",
			claims: root(func(c *corev1.PersistentVolumeClaim) {
				gold := "gold"
				c.Spec.VolumeAttributesClassName = &gold
			}),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Nil(t, pvc(t, r, "new-root").Spec.VolumeAttributesClassName)
				noted(t, r, "volume attributes class gold")
			},
		},
	}
}

func TestRebuildRules(t *testing.T) {
	for _, tc := range rules() {
		t.Run(tc.name, func(t *testing.T) {
			vm := parse(t, plain)
			if tc.overlay != "" {
				vm = parse(t, plain, tc.overlay)
			}
			before := vm.DeepCopy()
			src := capture(t, vm, tc.claims...)
			var edit []func(*vmspec.Options)
			if tc.options != nil {
				edit = append(edit, tc.options)
			}
			if tc.source != nil {
				tc.source(&src)
			}
			r, err := vmspec.Rebuild(src, options(src, edit...))
			require.NoError(t, err)
			tc.check(t, r)
			assert.Equal(t, before, vm, "Rebuild changed its input")
		})
	}
}

// Every rule and every decision has its line in the documentation, and every
// line its test.
func TestEveryRuleIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/restore-rules.md")
	require.NoError(t, err)
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllSubmatch(page, -1) {
		documented = append(documented, string(m[1]))
	}
	var tested []string
	for _, r := range rules() {
		tested = append(tested, r.name)
	}
	for _, d := range decisions() {
		tested = append(tested, d.name)
	}
	assert.ElementsMatch(t, tested, documented)
}
