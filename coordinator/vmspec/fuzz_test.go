package vmspec_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"hayloft.dev/coordinator/vmspec"
)

// mutate changes a JSON value in one random place.
func mutate(r *rand.Rand, v any, depth int) any {
	if depth <= 0 || r.IntN(8) == 0 {
		return scalar(r)
	}
	switch x := v.(type) {
	case map[string]any:
		if len(x) == 0 {
			return scalar(r)
		}
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		k := keys[r.IntN(len(keys))]
		switch r.IntN(10) {
		case 0:
			delete(x, k)
		case 1: // under another key, such as another volume source
			x[keys[r.IntN(len(keys))]] = x[k]
		default:
			x[k] = mutate(r, x[k], depth-1)
		}
		return x
	case []any:
		if len(x) == 0 {
			return scalar(r)
		}
		i := r.IntN(len(x))
		switch r.IntN(10) {
		case 0:
			return slices.Delete(slices.Clone(x), i, i+1)
		case 1:
			return append(slices.Clone(x), x[r.IntN(len(x))])
		default:
			x[i] = mutate(r, x[i], depth-1)
		}
		return x
	}
	return scalar(r)
}

func scalar(r *rand.Rand) any {
	return []any{
		nil, true, false, int64(r.IntN(100)), 1.5, "", "x", "old", "src-root", strings.Repeat("long", 80),
		"Bad Name",
		[]any{},
		map[string]any{},
		[]any{nil},
		map[string]any{"name": "src-other"},
	}[r.IntN(15)]
}

// hold checks what must be true of Inspect and Rebuild for any VM at all.
func hold(t *testing.T, vm *unstructured.Unstructured) (restored bool) {
	t.Helper()
	state := stateClaim()
	contents, refusals := vmspec.Inspect(vm, nil, []corev1.PersistentVolumeClaim{*state})
	vmspec.Inspect(vm, vm, nil) // any object at all as the running instance
	src := vmspec.Source{
		VM: vm, Disks: contents.Disks, Secrets: contents.Secrets, ConfigMaps: contents.ConfigMaps,
		PVCs: map[string]*corev1.PersistentVolumeClaim{state.Name: state},
	}
	for _, d := range contents.Disks {
		if src.PVCs[d.Claim] == nil {
			src.PVCs[d.Claim] = claim(d.Claim)
		}
	}
	r, err := vmspec.Rebuild(src, options(src))
	if len(refusals) > 0 {
		require.ErrorIs(t, err, vmspec.ErrRefused, "%v", refusals)
		return false
	}
	require.NoError(t, err, "a VM that can be backed up can be restored")
	require.Len(t, r.PVCs, len(src.Disks))
	for place, name := range typedReferences(t, r.VM) {
		require.True(t, strings.HasPrefix(name, "new-") || strings.HasPrefix(name, "persistent-state-for-new-"), "%s names %q", place, name)
	}
	var claims []corev1.PersistentVolumeClaim
	for _, c := range r.PVCs {
		claims = append(claims, *c)
	}
	made, refusals := vmspec.Inspect(r.VM, nil, claims)
	require.Empty(t, refusals, "a restored VM can be backed up")
	for _, d := range made.Disks {
		require.Equal(t, r.Claims[d.Name], d.Claim)
	}
	again, err := vmspec.Rebuild(src, options(src))
	require.NoError(t, err)
	a, err := json.Marshal(r)
	require.NoError(t, err)
	b, err := json.Marshal(again)
	require.NoError(t, err)
	require.Equal(t, string(a), string(b))
	return true
}

func TestRandomVMs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	restored := 0
	const rounds = 1000
	whole := parse(t, full)
	for range rounds {
		vm := whole.DeepCopy()
		for range 1 + r.IntN(6) {
			for _, part := range []string{"metadata", "spec"} {
				if r.IntN(3) > 0 {
					vm.Object[part] = mutate(r, vm.Object[part], 8)
				}
			}
		}
		if hold(t, vm) {
			restored++
		}
	}
	// Otherwise the mutations are so coarse that only refusals are tested.
	require.Greater(t, restored, rounds/20)
	t.Logf("%d of %d random VMs were restored", restored, rounds)
}

func FuzzVM(f *testing.F) {
	for _, s := range []string{plain, full} {
		data, err := json.Marshal(parse(f, s).Object)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var o map[string]any
		if utiljson.Unmarshal(data, &o) != nil || o == nil {
			t.Skip("not a JSON object")
		}
		hold(t, &unstructured.Unstructured{Object: o})
	})
}
