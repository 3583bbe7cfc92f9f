package vmspec_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"hayloft.dev/coordinator/vmspec"
)

// typedReferences finds every claim, Secret and ConfigMap name in a VM by
// walking KubeVirt's own types, so it knows nothing of how Rebuild looks for
// them: place in the types -> name.
func typedReferences(t testing.TB, vm *unstructured.Unstructured) map[string]string {
	t.Helper()
	data, err := json.Marshal(vm.Object)
	require.NoError(t, err)
	var typed kubevirtv1.VirtualMachine
	require.NoError(t, json.Unmarshal(data, &typed))
	out := map[string]string{}
	if typed.Spec.Template != nil {
		walk(reflect.ValueOf(typed.Spec.Template.Spec), "", func(place string, name string) { out[place] = name })
	}
	for _, dv := range typed.Spec.DataVolumeTemplates {
		out["dataVolumeTemplates/"+dv.Name] = dv.Name
	}
	return out
}

// walk calls found for every string field that is a reference.
func walk(v reflect.Value, place string, found func(place, name string)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			walk(v.Elem(), place, found)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), place+"/"+string(rune('0'+i)), found)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			here := place + "/" + f.Name
			if f.Type.Kind() == reflect.String && isReference(v.Type(), f) && v.Field(i).String() != "" {
				found(here, v.Field(i).String())
				continue
			}
			walk(v.Field(i), here, found)
		}
	}
}

func isReference(in reflect.Type, f reflect.StructField) bool {
	switch in {
	case reflect.TypeFor[corev1.LocalObjectReference](), reflect.TypeFor[kubevirtv1.DataVolumeSource]():
		return f.Name == "Name"
	case reflect.TypeFor[kubevirtv1.ClaimRequest](): // a device, not a disk
		return false
	}
	return strings.Contains(f.Name, "SecretName") || strings.Contains(f.Name, "PullSecret") ||
		strings.Contains(f.Name, "ConfigMapName") || f.Name == "ClaimName"
}

// KubeVirt's types have exactly these places that name an object of the
// namespace. A new version with another one fails here, so that it gets a rule.
func TestKubeVirtHasNoOtherReferences(t *testing.T) {
	places := map[string]bool{}
	var types func(reflect.Type, string, map[reflect.Type]bool)
	types = func(ty reflect.Type, place string, seen map[reflect.Type]bool) {
		switch ty.Kind() {
		case reflect.Pointer, reflect.Slice:
			types(ty.Elem(), place, seen)
		case reflect.Struct:
			if seen[ty] {
				return
			}
			seen = maps.Clone(seen)
			seen[ty] = true
			for i := range ty.NumField() {
				f := ty.Field(i)
				if f.Type.Kind() == reflect.String && isReference(ty, f) {
					places[strings.TrimPrefix(place+"."+f.Name, ".")] = true
					continue
				}
				types(f.Type, place+"."+f.Name, seen)
			}
		}
	}
	types(reflect.TypeFor[kubevirtv1.VirtualMachineInstanceSpec](), "", map[reflect.Type]bool{})
	assert.Equal(t, []string{
		"AccessCredentials.SSHPublicKey.Source.Secret.SecretName",
		"AccessCredentials.UserPassword.Source.Secret.SecretName",
		"Domain.Firmware.KernelBoot.Container.ImagePullSecret",
		"Volumes.VolumeSource.CloudInitConfigDrive.NetworkDataSecretRef.Name",
		"Volumes.VolumeSource.CloudInitConfigDrive.UserDataSecretRef.Name",
		"Volumes.VolumeSource.CloudInitNoCloud.NetworkDataSecretRef.Name",
		"Volumes.VolumeSource.CloudInitNoCloud.UserDataSecretRef.Name",
		"Volumes.VolumeSource.ConfigMap.LocalObjectReference.Name",
		"Volumes.VolumeSource.ContainerDisk.ImagePullSecret",
		"Volumes.VolumeSource.DataVolume.Name",
		"Volumes.VolumeSource.Ephemeral.PersistentVolumeClaim.ClaimName",
		"Volumes.VolumeSource.MemoryDump.PersistentVolumeClaimVolumeSource.PersistentVolumeClaimVolumeSource.ClaimName",
		"Volumes.VolumeSource.PersistentVolumeClaim.PersistentVolumeClaimVolumeSource.ClaimName",
		"Volumes.VolumeSource.Secret.SecretName",
		"Volumes.VolumeSource.Sysprep.ConfigMap.Name",
		"Volumes.VolumeSource.Sysprep.Secret.Name",
	}, slices.Sorted(maps.Keys(places)))
}

// A VM that names something in every place names nothing of the source after
// its restore, and everything it names is in the result.
func TestRebuildRewritesEveryReference(t *testing.T) {
	vm := parse(t, full)
	src := capture(t, vm, stateClaim())
	require.Len(t, typedReferences(t, vm), 18, "the fixture has a name in every place")
	r, err := vmspec.Rebuild(src, options(src))
	require.NoError(t, err)

	made := map[string]bool{"new-src-maybe": true} // optional, absent
	for _, m := range []map[string]string{r.Claims, r.Secrets, r.ConfigMaps} {
		for _, name := range m {
			made[name] = true
		}
	}
	for place, name := range typedReferences(t, r.VM) {
		assert.Contains(t, made, name, place)
		assert.False(t, strings.HasPrefix(name, "src-"), "%s still names %s", place, name)
	}
	data, err := json.Marshal(r.VM.Object)
	require.NoError(t, err)
	assert.NotContains(t, string(data), `"src-`)
	assert.Len(t, r.PVCs, 4)
	assert.Equal(t, vmspec.Needs{
		StorageClasses: []string{"longhorn"}, Networks: []string{"farm/vlan7"},
		Instancetypes:   []string{"VirtualMachineClusterInstancetype/u1.medium"},
		Preferences:     []string{"VirtualMachineClusterPreference/windows.11"},
		ServiceAccounts: []string{"robot"},
	}, r.Needs)
}
