package vmspec_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/vmspec"
)

// replacing lays over plain what the VM is now, when it is to be replaced.
func replacing(t testing.TB, now ...string) func(*vmspec.Options) {
	return func(o *vmspec.Options) {
		o.NewName, o.Replace = "old", parse(t, plain, now...)
	}
}

// mark is what the names made for the restore of options end in.
func mark(t testing.TB) string {
	t.Helper()
	name := vmspec.StateClaimName("x", "aaaaaaaa-0000-0000-0000-000000000001")
	return strings.TrimPrefix(name, "persistent-state-for-x")
}

// twoDisks is a second disk over plain.
const twoDisks = `
spec:
  template:
    spec:
      domain: {devices: {disks: [{name: root, disk: {bus: virtio}}, {name: data, disk: {bus: scsi}}]}}
      volumes:
      - {name: root, persistentVolumeClaim: {claimName: old-root}}
      - {name: data, persistentVolumeClaim: {claimName: old-data}}`

func withoutData(s *vmspec.Source) {
	s.Disks = s.Disks[:1]
	delete(s.PVCs, "old-data")
}

func subsetRules() []rule {
	return []rule{
		{
			name: "left-out-new", overlay: twoDisks, source: withoutData,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Len(t, inSpec(t, r, "volumes"), 1)
				assert.Len(t, inSpec(t, r, "domain", "devices", "disks"), 1)
				assert.Equal(t, map[string]string{"root": "new-root"}, r.Claims)
				noted(t, r, "disk data is not in the backup: the VM is restored without it")
			},
		},
		{
			name: "left-out-unfit", overlay: twoDisks,
			source: func(s *vmspec.Source) {
				withoutData(s)
				s.VM = parse(table, plain, strings.NewReplacer("bus: scsi}", "bus: scsi}, shareable: true").Replace(twoDisks))
			},
			check: func(t *testing.T, r vmspec.Result) { assert.Len(t, inSpec(t, r, "volumes"), 1) },
		},
		{
			name: "left-out-host-disk", overlay: twoDisks,
			source: func(s *vmspec.Source) {
				withoutData(s)
				s.VM = parse(table, plain, strings.NewReplacer("persistentVolumeClaim: {claimName: old-data}", "hostDisk: {path: /etc/shadow, type: Disk}").Replace(twoDisks))
			},
			check: func(t *testing.T, r vmspec.Result) {
				assert.Len(t, inSpec(t, r, "volumes"), 1)
				noted(t, r, "disk data is not in the backup: the VM is restored without it")
			},
		},
		{
			name: "left-out-replace", overlay: twoDisks, source: withoutData,
			options: func(o *vmspec.Options) {
				replacing(table, twoDisks, `
spec:
  template:
    spec:
      domain: {devices: {disks: [{name: root, disk: {bus: virtio}}, {name: data, disk: {bus: sata}}]}}
      volumes:
      - {name: root, persistentVolumeClaim: {claimName: old-root}}
      - {name: data, dataVolume: {name: now-data, hotpluggable: true}}`)(o)
			},
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]any{"claimName": "now-data", "hotpluggable": true}, inSpec(t, r, "volumes", 1, "persistentVolumeClaim"))
				assert.Equal(t, "sata", inSpec(t, r, "domain", "devices", "disks", 1, "disk", "bus"))
				noted(t, r, "disk data is not in the backup: it stays as it is, on claim now-data")
			},
		},
	}
}

func mapRules() []rule {
	return []rule{
		{
			name:    "storage-class-map",
			options: func(o *vmspec.Options) { o.StorageClasses = map[string]string{"longhorn": "fast"} },
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "fast", *pvc(t, r, "new-root").Spec.StorageClassName)
				assert.Equal(t, []string{"fast"}, r.Needs.StorageClasses)
			},
		},
		{
			name:    "network-map",
			overlay: `spec: {template: {spec: {networks: [{name: a, multus: {networkName: vlan7}}, {name: b, multus: {networkName: lab/vlan8}}, {name: c, multus: {networkName: vlan9}}]}}}`,
			options: func(o *vmspec.Options) {
				o.Namespace = "barn"
				o.Networks = map[string]string{"farm/vlan7": "barn/vlan1", "lab/vlan8": "vlan2"}
			},
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "barn/vlan1", inSpec(t, r, "networks", 0, "multus", "networkName"))
				assert.Equal(t, "vlan2", inSpec(t, r, "networks", 1, "multus", "networkName"))
				assert.Equal(t, []string{"barn/vlan1", "barn/vlan2", "barn/vlan9"}, r.Needs.Networks)
			},
		},
	}
}

func replaceRules() []rule {
	firmware := `spec: {template: {spec: {domain: {firmware: {uuid: 5d307ca9-b3ef-428c-8861-06e72d69f223, serial: s1}}}}}`
	other := `metadata: {uid: 99999999-2222-3333-4444-555555555555}`
	return []rule{
		{
			name:    "replace-identity",
			overlay: `metadata: {ownerReferences: [{name: then}], finalizers: [then]}`,
			options: replacing(table, `
metadata: {resourceVersion: "77", ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: now, uid: u}], finalizers: [now]}
status: {printableStatus: Stopped}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "11111111-2222-3333-4444-555555555555", string(r.VM.GetUID()))
				assert.Equal(t, "77", r.VM.GetResourceVersion())
				assert.Equal(t, []string{"now"}, r.VM.GetFinalizers())
				assert.Equal(t, "now", r.VM.GetOwnerReferences()[0].Name)
			},
		},
		{
			name: "replace-labels",
			overlay: `
metadata:
  labels: {app: then, harvesterhci.io/vmName: old, argocd.argoproj.io/instance: then}
  annotations: {example.com/note: then, meta.helm.sh/release-name: then, kubevirt.io/latest-observed-api-version: v1alpha3}`,
			options: replacing(table, `
metadata:
  labels: {app: now, mine: gone, argocd.argoproj.io/instance: now, hayloft.dev/restore: earlier}
  annotations: {example.com/note: now, meta.helm.sh/release-name: now, kubevirt.io/latest-observed-api-version: v1, harvesterhci.io/removedPersistentVolumeClaims: old-root}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]string{
					"app": "then", "harvesterhci.io/vmName": "old", "argocd.argoproj.io/instance": "now",
					"hayloft.dev/restore": "aaaaaaaa-0000-0000-0000-000000000001",
				}, r.VM.GetLabels())
				assert.Equal(t, map[string]string{
					"example.com/note": "then", "meta.helm.sh/release-name": "now", "kubevirt.io/latest-observed-api-version": "v1",
					vmspec.AnnotationRunStrategy: "Always",
				}, r.VM.GetAnnotations())
			},
		},
		{
			name: "replace-refill",
			overlay: `
metadata: {annotations: {harvesterhci.io/volumeClaimTemplates: '[{"metadata":{"name":"old-root"}}]'}}
spec: {dataVolumeTemplates: [{metadata: {name: old-root}}]}`,
			options: replacing(table, `
metadata: {annotations: {harvesterhci.io/volumeClaimTemplates: '[{"metadata":{"name":"old-root"}}]'}}
spec: {dataVolumeTemplates: [{metadata: {name: old-root}}]}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.NotContains(t, r.VM.GetAnnotations(), "harvesterhci.io/volumeClaimTemplates")
				assert.Nil(t, get(t, r, "spec", "dataVolumeTemplates"))
			},
		},
		{
			name: "replace-spec", overlay: `spec: {instancetype: {name: then}}`,
			options: replacing(table, `spec: {preference: {name: now}}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "then", get(t, r, "spec", "instancetype", "name"))
				assert.Nil(t, get(t, r, "spec", "preference"))
			},
		},
		{
			name: "replace-claim-names", options: replacing(table),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]string{"root": "old-root" + mark(t)}, r.Claims)
				assert.Equal(t, "old-root"+mark(t), inSpec(t, r, "volumes", 0, "persistentVolumeClaim", "claimName"))
			},
		},
		{
			name:    "replace-secrets",
			overlay: `spec: {template: {spec: {accessCredentials: [{sshPublicKey: {source: {secret: {secretName: keys}}}}]}}}`,
			options: replacing(table),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]string{"keys": "keys" + mark(t)}, r.Secrets)
				assert.Equal(t, "keys"+mark(t), inSpec(t, r, "accessCredentials", 0, "sshPublicKey", "source", "secret", "secretName"))
				noted(t, r, "those that the VM had before stay, unless a restore made them")
			},
		},
		{
			name:    "replace-missing-secret",
			overlay: `spec: {template: {spec: {accessCredentials: [{sshPublicKey: {source: {secret: {secretName: keys}}}}]}}}`,
			source:  func(s *vmspec.Source) { s.Secrets = nil }, options: replacing(table),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Empty(t, r.Secrets)
				assert.Equal(t, "keys", inSpec(t, r, "accessCredentials", 0, "sshPublicKey", "source", "secret", "secretName"))
			},
		},
		{
			name: "replace-mac",
			overlay: `
metadata: {annotations: {harvesterhci.io/mac-address: then}}
spec: {template: {metadata: {annotations: {ovn.kubernetes.io/mac_address: then}}, spec: {domain: {devices: {interfaces: [{name: a, macAddress: "02:00:00:00:00:01"}, {name: b, macAddress: "02:00:00:00:00:02"}, {name: c, macAddress: "02:00:00:00:00:03"}]}}}}}`,
			options: replacing(table, `
metadata: {annotations: {harvesterhci.io/mac-address: now}}
spec: {template: {metadata: {annotations: {ovn.kubernetes.io/mac_address: now}}, spec: {domain: {devices: {interfaces: [{name: a, macAddress: "02:00:00:00:00:0a"}, {name: b}]}}}}}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "02:00:00:00:00:0a", inSpec(t, r, "domain", "devices", "interfaces", 0, "macAddress"), "it has this one")
				assert.Nil(t, inSpec(t, r, "domain", "devices", "interfaces", 1, "macAddress"), "it has none")
				assert.Equal(t, "02:00:00:00:00:03", inSpec(t, r, "domain", "devices", "interfaces", 2, "macAddress"), "it had this one")
				assert.Equal(t, "now", r.VM.GetAnnotations()["harvesterhci.io/mac-address"])
				assert.Equal(t, "now", get(t, r, "spec", "template", "metadata", "annotations", "ovn.kubernetes.io/mac_address"))
			},
		},
		{
			name:    "replace-mac-of-another",
			overlay: `spec: {template: {spec: {domain: {devices: {interfaces: [{name: c, macAddress: "02:00:00:00:00:03"}]}}}}}`,
			options: replacing(table, other),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Nil(t, inSpec(t, r, "domain", "devices", "interfaces", 0, "macAddress"))
				noted(t, r, "the MAC address of interface c was cleared")
			},
		},
		{
			name: "replace-firmware", overlay: firmware, options: replacing(table),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "5d307ca9-b3ef-428c-8861-06e72d69f223", inSpec(t, r, "domain", "firmware", "uuid"))
				assert.Empty(t, r.Notes)
			},
		},
		{
			name: "replace-firmware-of-another", overlay: firmware,
			options: replacing(table, other, `spec: {template: {spec: {domain: {firmware: {uuid: aaaaaaaa-b3ef-428c-8861-06e72d69f223}}}}}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]any{"uuid": "aaaaaaaa-b3ef-428c-8861-06e72d69f223"}, inSpec(t, r, "domain", "firmware"))
			},
		},
		{
			name: "replace-first-boot", overlay: `spec: {template: {spec: {hostname: web, volumes: [{name: root, persistentVolumeClaim: {claimName: old-root}}, {name: ci, cloudInitNoCloud: {userData: x}}]}}}`,
			options: replacing(table),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "web", inSpec(t, r, "hostname"))
				assert.Empty(t, r.Notes)
			},
		},
		{
			name:    "replace-revision",
			overlay: `spec: {instancetype: {name: a, revisionName: old-a}, preference: {name: b, revisionName: old-b}}`,
			options: replacing(table, `spec: {instancetype: {name: a, revisionName: old-a}, preference: {name: b, revisionName: newer-b}}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "old-a", get(t, r, "spec", "instancetype", "revisionName"), "the VM has it now")
				assert.Nil(t, get(t, r, "spec", "preference", "revisionName"))
				assert.Equal(t, []string{"VirtualMachineClusterPreference/b"}, r.Needs.Preferences)
			},
		},
		{
			name: "replace-run-strategy", overlay: `spec: {runStrategy: null, running: true}`,
			options: replacing(table, `spec: {runStrategy: Manual}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "Halted", get(t, r, "spec", "runStrategy"))
				assert.NotContains(t, get(t, r, "spec"), "running")
				assert.Equal(t, "Always", r.VM.GetAnnotations()[vmspec.AnnotationRunStrategy])
			},
		},
		{
			name: "replace-halt", options: func(o *vmspec.Options) { replacing(table)(o); o.Halt = true },
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "Halted", get(t, r, "spec", "runStrategy"))
				assert.Empty(t, r.VM.GetAnnotations())
			},
		},
		{
			name: "replace-state", overlay: `spec: {template: {spec: {domain: {devices: {tpm: {persistent: true}}}}}}`,
			claims: []*corev1.PersistentVolumeClaim{claim("state", func(c *corev1.PersistentVolumeClaim) {
				c.Labels = map[string]string{"persistent-state-for": "old"}
			})},
			options: replacing(table),
			check: func(t *testing.T, r vmspec.Result) {
				name := vmspec.StateClaimName("old", "aaaaaaaa-0000-0000-0000-000000000001")
				assert.NotContains(t, pvc(t, r, name).Labels, "persistent-state-for", "only once the former one has lost it")
				assert.NotEmpty(t, inSpec(t, r, "domain", "firmware", "uuid"))
			},
		},
	}
}

// table stands for a test where rules are built, before one runs.
var table testing.TB = ruleTable{}

type ruleTable struct{ testing.TB }

func (ruleTable) Helper() {}

func TestClaimsOf(t *testing.T) {
	vm := parse(t, full)
	state := stateClaim()
	var got []string
	for _, d := range vmspec.ClaimsOf(vm, []corev1.PersistentVolumeClaim{*state}) {
		got = append(got, d.Name+"="+d.Claim)
	}
	assert.Equal(t, []string{"root=src-root", "data=src-data", "plug=src-plug", "persistent-state=" + state.Name}, got)
}

func TestFormerLabels(t *testing.T) {
	labels := map[string]string{
		"persistent-state-for": "old", "harvesterhci.io/vmName": "old", "vm.kubevirt.io/name": "another", "team": "barn",
	}
	assert.Equal(t, map[string]string{
		"vm.kubevirt.io/name": "another", "team": "barn", "hayloft.dev/former-vm": "old", "hayloft.dev/former-disk": "root",
	}, vmspec.FormerLabels(labels, "old", "root"))
}

func TestRebuildDisk(t *testing.T) {
	src := capture(t, parse(t, full), stateClaim())
	src.PVCs["src-data"].Labels = map[string]string{"harvesterhci.io/vmName": "old", "team": "barn"}
	o := options(src, func(o *vmspec.Options) {
		o.StorageClasses = map[string]string{"longhorn": "fast"}
		o.Sizes = map[string]int64{"data": 1 << 20}
	})
	r, err := vmspec.RebuildDisk(src, "data", "rescued", o)
	require.NoError(t, err)
	require.Len(t, r.PVCs, 1)
	c := r.PVCs[0]
	assert.Nil(t, r.VM)
	assert.Empty(t, r.Secrets)
	assert.Equal(t, map[string]string{"data": "rescued"}, r.Claims)
	assert.Equal(t, metav1.ObjectMeta{
		Name: "rescued", Namespace: "farm", Annotations: map[string]string{},
		Labels: map[string]string{
			"team": "barn", "hayloft.dev/restore": string(o.RestoreUID), "hayloft.dev/former-vm": "old", "hayloft.dev/former-disk": "data",
		},
	}, c.ObjectMeta)
	assert.Equal(t, "pv-data", c.Spec.VolumeName)
	assert.Equal(t, "fast", *c.Spec.StorageClassName)

	_, err = vmspec.RebuildDisk(src, "swap", "rescued", o)
	require.ErrorIs(t, err, vmspec.ErrRefused)
	require.ErrorContains(t, err, `no disk "swap" (spec.diskClaim.disk); it has: root, data, plug, persistent-state`)
	_, err = vmspec.RebuildDisk(src, "data", "Rescued", o)
	require.ErrorContains(t, err, "spec.diskClaim.claim")
}

// A point of some disks is one of any: no refusal and no panic on what was left out.
func TestEverySubsetCanBeRestored(t *testing.T) {
	whole := capture(t, parse(t, full), stateClaim())
	for bits := 1; bits < 1<<len(whole.Disks); bits++ {
		src := whole
		src.Disks, src.PVCs = nil, map[string]*corev1.PersistentVolumeClaim{}
		for i, d := range whole.Disks {
			if bits&(1<<i) != 0 {
				src.Disks = append(src.Disks, d)
				src.PVCs[d.Claim] = whole.PVCs[d.Claim]
			}
		}
		for _, replaced := range []bool{false, true} {
			r, err := vmspec.Rebuild(src, options(src, func(o *vmspec.Options) {
				if replaced {
					o.NewName, o.Replace = "old", parse(t, full)
				}
			}))
			require.NoError(t, err)
			require.Len(t, r.PVCs, len(src.Disks))
			_, refusals := vmspec.Inspect(r.VM, nil, nil)
			if !replaced && len(r.Claims) == 1 && r.Claims["persistent-state"] != "" {
				continue // a VM of nothing but its TPM cannot be backed up again
			}
			require.Empty(t, refusals, "a restored VM can be backed up")
		}
	}
}
