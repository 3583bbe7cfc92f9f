package vmspec_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hayloft.dev/coordinator/vmspec"
)

// decision is what Inspect says of one kind of content.
type decision struct {
	name    string
	overlay string
	vmi     string
	claims  []*corev1.PersistentVolumeClaim
	refused string // part of the refusal's sentence
	warned  string // part of a warning
	disks   []vmspec.Disk
}

func decisions() []decision {
	const tpm = `spec: {template: {spec: {domain: {devices: {tpm: {persistent: true}}}}}}`
	withVolume := func(v string) string {
		return `spec: {template: {spec: {volumes: [{name: root, persistentVolumeClaim: {claimName: old-root}}, ` + v + `]}}}`
	}
	withDisk := func(d string) string {
		return `spec: {template: {spec: {domain: {devices: {disks: [` + d + `]}}}}}`
	}
	root := vmspec.Disk{Name: "root", Claim: "old-root", Kind: vmspec.KindDisk}
	state := vmspec.Disk{Name: "persistent-state", Claim: "persistent-state-for-old-x7k2p", Kind: vmspec.KindPersistentState}
	second := claim("persistent-state-for-old-other", func(c *corev1.PersistentVolumeClaim) {
		c.Labels = map[string]string{vmspec.LabelPersistentState: "old"}
	})
	going := claim("persistent-state-for-old-going", func(c *corev1.PersistentVolumeClaim) {
		c.Labels = map[string]string{vmspec.LabelPersistentState: "old"}
		c.DeletionTimestamp = &metav1.Time{Time: time.Unix(0, 0)}
	})
	return []decision{
		{
			name: "disk-claims", overlay: withVolume(`{name: data, dataVolume: {name: old-data}}`),
			disks: []vmspec.Disk{root, {Name: "data", Claim: "old-data", Kind: vmspec.KindDisk}},
		},
		{
			name: "disk-hotplugged", overlay: withVolume(`{name: plug, persistentVolumeClaim: {claimName: p, hotpluggable: true}}`),
			disks: []vmspec.Disk{root, {Name: "plug", Claim: "p", Kind: vmspec.KindDisk}},
		},
		{
			name: "disk-only-running", vmi: `spec: {volumes: [{name: root, persistentVolumeClaim: {claimName: old-root}}, {name: plug, dataVolume: {name: p, hotpluggable: true}}]}`,
			refused: "disk plug (claim p) was hot-plugged into the running VM and is not in its spec",
		},
		{
			name: "disk-being-migrated", vmi: `spec: {volumes: [{name: root, persistentVolumeClaim: {claimName: other}}]}`,
			refused: `disk root is on claim "old-root" in the VM's spec but on "other" in the running VM`,
		},
		{name: "host-disk", overlay: withVolume(`{name: h, hostDisk: {path: /x, type: Disk}}`), refused: "hostDisk"},
		{name: "ephemeral", overlay: withVolume(`{name: e, ephemeral: {persistentVolumeClaim: {claimName: base}}}`), refused: "ephemeral copy of claim base"},
		{name: "shareable", overlay: withDisk(`{name: root, disk: {}, shareable: true}`), refused: "disk root is shareable"},
		{name: "lun-reservation", overlay: withDisk(`{name: root, lun: {reservation: true}}`), refused: "persistent reservations"},
		{name: "lun", overlay: withDisk(`{name: root, lun: {}}`), warned: "disk root is a LUN", disks: []vmspec.Disk{root}},
		{name: "one-claim-twice", overlay: withVolume(`{name: again, persistentVolumeClaim: {claimName: old-root}}`), refused: "both on claim old-root"},
		{name: "unknown-kind", overlay: withVolume(`{name: f, futureDisk: {claim: x}}`), refused: "futureDisk"},
		{name: "unclear-volume", overlay: withVolume(`{name: f, emptyDisk: {}, persistentVolumeClaim: {claimName: x}}`), refused: "not exactly one source"},
		{name: "no-disk", overlay: `spec: {template: {spec: {volumes: [{name: seed, cloudInitNoCloud: {userData: x}}]}}}`, refused: "no disk on a PersistentVolumeClaim"},
		{name: "container-disk", overlay: withVolume(`{name: c, containerDisk: {image: "tools:1"}}`), warned: "tools:1", disks: []vmspec.Disk{root}},
		{name: "empty-disk", overlay: withVolume(`{name: e, emptyDisk: {capacity: 1Gi}}`), warned: "volume e is an empty disk", disks: []vmspec.Disk{root}},
		{name: "memory-dump-left-out", overlay: withVolume(`{name: m, memoryDump: {claimName: d}}`), warned: "volume m is a memory dump", disks: []vmspec.Disk{root}},
		{name: "service-account-left-out", overlay: withVolume(`{name: s, serviceAccount: {serviceAccountName: robot}}`), warned: "ServiceAccount robot", disks: []vmspec.Disk{root}},
		{name: "resource-claim-left-out", overlay: `spec: {template: {spec: {resourceClaims: [{name: g, resourceClaimName: gpu-7}]}}}`, warned: "resource claim gpu-7", disks: []vmspec.Disk{root}},
		{name: "downward", overlay: withVolume(`{name: m, downwardMetrics: {}}, {name: a, downwardAPI: {fields: []}}`), disks: []vmspec.Disk{root}},
		{name: "state-taken", overlay: tpm, claims: []*corev1.PersistentVolumeClaim{stateClaim(), going}, disks: []vmspec.Disk{root, state}},
		{name: "state-by-preference", claims: []*corev1.PersistentVolumeClaim{stateClaim()}, disks: []vmspec.Disk{root, state}},
		{
			name: "state-old-form", overlay: tpm, claims: []*corev1.PersistentVolumeClaim{claim("persistent-state-for-old")},
			disks: []vmspec.Disk{root, {Name: "persistent-state", Claim: "persistent-state-for-old", Kind: vmspec.KindPersistentState}},
		},
		{name: "state-missing", overlay: tpm, vmi: `spec: {}`, refused: "BitLocker"},
		{name: "state-not-yet", overlay: tpm, warned: "has no state yet", disks: []vmspec.Disk{root}},
		{name: "state-unclear", overlay: tpm, claims: []*corev1.PersistentVolumeClaim{stateClaim(), second}, refused: "all labelled persistent-state-for=old"},
		{
			name: "state-in-use", overlay: tpm, claims: []*corev1.PersistentVolumeClaim{second, stateClaim()},
			vmi:   `status: {volumeStatus: [{name: persistent-state-for-old-x7k2p, persistentVolumeClaimInfo: {claimName: persistent-state-for-old-x7k2p}}]}`,
			disks: []vmspec.Disk{root, state},
		},
		{name: "unreadable", overlay: `spec: {template: {spec: {volumes: "root"}}}`, refused: "cannot be read"},
		{name: "not-a-vm", overlay: `kind: VirtualMachineInstance`, refused: "is not a VirtualMachine"},
	}
}

func TestInspectDecisions(t *testing.T) {
	for _, tc := range decisions() {
		t.Run(tc.name, func(t *testing.T) {
			vm := parse(t, plain)
			if tc.overlay != "" {
				vm = parse(t, plain, tc.overlay)
			}
			var vmi *unstructured.Unstructured
			if tc.vmi != "" {
				vmi = parse(t, tc.vmi)
			}
			var claims []corev1.PersistentVolumeClaim
			for _, c := range tc.claims {
				claims = append(claims, *c)
			}
			got, refusals := vmspec.Inspect(vm, vmi, claims)
			if tc.refused != "" {
				if assert.Len(t, refusals, 1) {
					assert.Contains(t, refusals[0].Sentence, tc.refused)
				}
				return
			}
			assert.Empty(t, refusals)
			assert.Equal(t, tc.disks, got.Disks)
			if tc.warned == "" {
				assert.Empty(t, got.Warnings)
			} else if assert.Len(t, got.Warnings, 1) {
				assert.Contains(t, got.Warnings[0], tc.warned)
			}
		})
	}
}

func TestInspectCollectsSecretsAndConfigMaps(t *testing.T) {
	vm := parse(t, plain, `
spec: {template: {spec: {
  accessCredentials: [{sshPublicKey: {source: {secret: {secretName: keys}}}}],
  volumes: [
    {name: root, persistentVolumeClaim: {claimName: old-root}},
    {name: a, secret: {secretName: maybe, optional: true}},
    {name: b, secret: {secretName: keys, optional: true}},
    {name: c, configMap: {name: conf}}, {name: d, configMap: {name: perhaps, optional: true}},
    {name: e, cloudInitNoCloud: {secretRef: {name: seed}}}]}}}`)
	got, refusals := vmspec.Inspect(vm, nil, nil)
	assert.Empty(t, refusals)
	assert.Equal(t, []string{"keys", "seed"}, got.Secrets, "a Secret that one place needs is not optional")
	assert.Equal(t, []string{"maybe"}, got.OptionalSecrets)
	assert.Equal(t, []string{"conf"}, got.ConfigMaps)
	assert.Equal(t, []string{"perhaps"}, got.OptionalConfigMaps)
}
