package vmspec_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation"

	"hayloft.dev/coordinator/vmspec"
)

func TestRebuildRefuses(t *testing.T) {
	for _, tc := range []struct {
		name    string
		source  func(*vmspec.Source)
		options func(*vmspec.Options)
		want    string
	}{
		{name: "name is no label", options: func(o *vmspec.Options) { o.NewName = "New VM" }, want: `"New VM" cannot be a VM's name`},
		{name: "name too long", options: func(o *vmspec.Options) { o.NewName = strings.Repeat("n", 64) }, want: "at most 63"},
		{name: "no namespace", options: func(o *vmspec.Options) { o.Namespace = "" }, want: "is not a namespace"},
		{name: "no VM", source: func(s *vmspec.Source) { s.VM = nil }, want: "there is no VirtualMachine"},
		{name: "nothing captured", source: func(s *vmspec.Source) { s.Disks = nil }, want: "holds no disk of the VM"},
		{
			name: "disk on another claim", source: func(s *vmspec.Source) { s.Disks[0].Claim = "src-data" },
			want: "holds disk root (claim src-data), which the VM does not have",
		},
		{
			name: "StorageClass that no disk has", options: func(o *vmspec.Options) { o.StorageClasses = map[string]string{"fast": "slow"} },
			want: `spec.storageClasses names "fast", but no such StorageClass is in the backup (it has: longhorn)`,
		},
		{
			name: "StorageClass mapped to nothing", options: func(o *vmspec.Options) { o.StorageClasses = map[string]string{"longhorn": ""} },
			want: `spec.storageClasses maps "longhorn" to nothing`,
		},
		{
			name: "network that is not in the backup", options: func(o *vmspec.Options) { o.Networks = map[string]string{"vlan7": "lab/vlan7"} },
			want: `spec.networks names "vlan7", but no such network is in the backup (it has: farm/vlan7)`,
		},
		{
			name: "place of a VM of another name", options: func(o *vmspec.Options) { o.Replace = parse(t, plain) },
			want: "VM new cannot take the place of old",
		},
		{
			name:   "disk of another VM",
			source: func(s *vmspec.Source) { s.Disks = append(s.Disks, vmspec.Disk{Name: "x", Claim: "y", Kind: "Disk"}) },
			want:   "holds disk x (claim y), which the VM does not have",
		},
		{name: "claim not captured", source: func(s *vmspec.Source) { delete(s.PVCs, "src-root") }, want: "does not hold claim src-root"},
		{name: "no volume for a disk", options: func(o *vmspec.Options) { delete(o.Volumes, "data") }, want: "no restored volume for disk data"},
		{
			name: "hostile document",
			source: func(s *vmspec.Source) {
				s.VM = parse(t, full, `spec: {template: {spec: {volumes: [{name: root, hostDisk: {path: /etc/shadow, type: Disk}}]}}}`)
			},
			want: "hostDisk",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := capture(t, parse(t, full), stateClaim())
			o := options(src)
			if tc.options != nil {
				tc.options(&o)
			}
			if tc.source != nil {
				tc.source(&src)
			}
			_, err := vmspec.Rebuild(src, o)
			require.ErrorIs(t, err, vmspec.ErrRefused)
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

// A rehearsal tells the same names and needs, and makes no claim: one without
// a volume would be provisioned empty.
func TestRebuildRehearsal(t *testing.T) {
	src := capture(t, parse(t, full), stateClaim())
	real, err := vmspec.Rebuild(src, options(src))
	require.NoError(t, err)
	rehearsal, err := vmspec.Rebuild(src, options(src, func(o *vmspec.Options) { o.Volumes = nil }))
	require.NoError(t, err)
	assert.Empty(t, rehearsal.PVCs)
	real.PVCs = nil
	assert.Equal(t, real, rehearsal)
}

func TestRebuildIsDeterministic(t *testing.T) {
	src := capture(t, parse(t, full), stateClaim())
	var first []byte
	for range 50 {
		r, err := vmspec.Rebuild(src, options(src))
		require.NoError(t, err)
		data, err := json.Marshal(r)
		require.NoError(t, err)
		if first == nil {
			first = data
		}
		require.Equal(t, string(first), string(data))
	}
}

func TestNotesAreBounded(t *testing.T) {
	var claims []string
	for i := range 3 * vmspec.MaxNotes {
		claims = append(claims, fmt.Sprintf("{name: g%d, resourceClaimName: gpu-%d}", i, i))
	}
	src := capture(t, parse(t, plain, "spec: {template: {spec: {resourceClaims: ["+strings.Join(claims, ",")+"]}}}"))
	r, err := vmspec.Rebuild(src, options(src))
	require.NoError(t, err)
	assert.Len(t, r.Notes, vmspec.MaxNotes)
	assert.Contains(t, r.Notes[vmspec.MaxNotes-1], "gpu-143", "nothing is left unsaid")
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	seen := map[string]string{}
	for _, vm := range []string{"a", "vm-1", long} {
		for _, disk := range []string{"root", "data.x", strings.Repeat("d", 63), strings.Repeat("d", 62) + "e", "sub." + strings.Repeat("s", 240)} {
			for form, name := range map[string]string{
				"claim": vmspec.ClaimName(vm, disk), "state": vmspec.StateClaimName(vm, "u"),
			} {
				assert.Empty(t, validation.IsDNS1123Subdomain(name), name)
				assert.LessOrEqual(t, len(name), 63)
				key := form + "/" + vm
				if form == "claim" {
					key += "/" + disk
				}
				if other, taken := seen[name]; taken {
					assert.Equal(t, other, key, "one name for two things")
				}
				seen[name] = key
			}
		}
	}
	assert.Equal(t, "web-root", vmspec.ClaimName("web", "root"))
	assert.Equal(t, "web-seed", vmspec.CopyName("web", "seed"))
}
