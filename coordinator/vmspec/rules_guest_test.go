package vmspec_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"hayloft.dev/coordinator/vmspec"
)

func volumeRules() []rule {
	return []rule{
		{
			name: "data-volume-templates",
			overlay: `
spec:
  dataVolumeTemplates: [{metadata: {name: old-root}, spec: {source: {http: {url: "http://x"}}}}]
  template: {spec: {volumes: [{name: root, dataVolume: {name: old-root}}]}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.NotContains(t, get(t, r, "spec"), "dataVolumeTemplates")
				noted(t, r, "dataVolumeTemplates were removed")
			},
		},
		{
			name: "data-volume-reference",
			overlay: `
spec: {template: {spec: {volumes: [
  {name: root, dataVolume: {name: old-root, hotpluggable: true}},
  {name: data, persistentVolumeClaim: {claimName: old-data, readOnly: true}}]}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]any{
					"name": "root", "persistentVolumeClaim": map[string]any{"claimName": "new-root", "hotpluggable": true},
				}, inSpec(t, r, "volumes", 0))
				assert.Equal(t, map[string]any{
					"name": "data", "persistentVolumeClaim": map[string]any{"claimName": "new-data", "readOnly": true},
				}, inSpec(t, r, "volumes", 1))
			},
		},
		{
			name:    "volume-update-strategy",
			overlay: `spec: {updateVolumesStrategy: Migration}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.NotContains(t, get(t, r, "spec"), "updateVolumesStrategy")
			},
		},
		{
			name: "memory-dump",
			overlay: `
spec: {template: {spec: {volumes: [
  {name: root, persistentVolumeClaim: {claimName: old-root}},
  {name: dump, memoryDump: {claimName: old-dump}}]}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Len(t, inSpec(t, r, "volumes"), 1)
				noted(t, r, "memory dump dump was removed")
			},
		},
	}
}

const twoInterfaces = `
spec: {template: {spec: {domain: {devices: {interfaces: [
  {name: default, masquerade: {}, macAddress: "52:54:00:aa:bb:cc"},
  {name: lan, bridge: {}, macAddress: "52:54:00:AA:BB:CD"}]}}}}}`

func guestRules() []rule {
	keep := func(o *vmspec.Options) { o.KeepMACs = true }
	return []rule{
		{
			name:    "mac-cleared",
			overlay: twoInterfaces,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, []any{
					map[string]any{"name": "default", "masquerade": map[string]any{}},
					map[string]any{"name": "lan", "bridge": map[string]any{}},
				}, inSpec(t, r, "domain", "devices", "interfaces"))
				noted(t, r, "2 MAC addresses were cleared")
			},
		},
		{
			name: "mac-kept", overlay: twoInterfaces, options: keep,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "52:54:00:aa:bb:cc", inSpec(t, r, "domain", "devices", "interfaces", 0, "macAddress"))
				assert.Empty(t, r.Notes)
			},
		},
		{
			name: "mac-in-cloud-init",
			overlay: `
spec: {template: {spec: {
  domain: {devices: {interfaces: [{name: lan, bridge: {}, macAddress: "52:54:00:AA:BB:CD"}]}},
  volumes: [
    {name: root, persistentVolumeClaim: {claimName: old-root}},
    {name: seed, cloudInitNoCloud: {networkData: "match: {macaddress: '52:54:00:aa:bb:cd'}"}}]}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				noted(t, r, "cloud-init volume seed names a MAC address that the new VM does not have")
			},
		},
		{
			name: "fixed-addresses",
			overlay: `
metadata: {annotations: {harvesterhci.io/mac-address: '{"lan":"52:54:00:aa:bb:cc"}', network.harvesterhci.io/ips: "[]"}}
spec: {template: {metadata: {annotations: {
  ovn.kubernetes.io/ip_address: 10.0.0.7, lan.farm.ovn.kubernetes.io/mac_address: "52:54:00:aa:bb:cc", cni.projectcalico.org/hwAddr: x}}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Nil(t, get(t, r, "metadata", "annotations"))
				assert.Nil(t, get(t, r, "spec", "template", "metadata", "annotations"))
			},
		},
		{
			name:    "fixed-addresses-kept",
			overlay: `metadata: {annotations: {harvesterhci.io/mac-address: '{"lan":"52:54:00:aa:bb:cc"}'}}`,
			options: keep,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Contains(t, get(t, r, "metadata", "annotations"), "harvesterhci.io/mac-address")
			},
		},
		{
			name:    "firmware-identity",
			overlay: `spec: {template: {spec: {domain: {firmware: {uuid: 5d307ca9-b3ef-428c-8861-06e72d69f223, serial: s1, bootloader: {efi: {secureBoot: true}}}}}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]any{"bootloader": map[string]any{"efi": map[string]any{"secureBoot": true}}},
					inSpec(t, r, "domain", "firmware"))
				noted(t, r, "firmware UUID was cleared")
				noted(t, r, "serial number was cleared")
			},
		},
		{
			name:    "hostname",
			overlay: `spec: {template: {spec: {hostname: web1}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "web1", inSpec(t, r, "hostname"))
				noted(t, r, "hostname web1 was kept")
			},
		},
		{
			name: "cloud-init-instance",
			overlay: `
spec: {template: {spec: {volumes: [
  {name: root, persistentVolumeClaim: {claimName: old-root}},
  {name: seed, cloudInitConfigDrive: {userData: "#cloud-config"}}]}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "#cloud-config", inSpec(t, r, "volumes", 1, "cloudInitConfigDrive", "userData"))
				noted(t, r, "cloud-init sees a new instance")
			},
		},
		{
			name:    "run-strategy",
			overlay: `spec: {running: true}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "Always", get(t, r, "spec", "runStrategy"))
				assert.NotContains(t, get(t, r, "spec"), "running")
				assert.Empty(t, r.Notes)
			},
		},
		{
			name:    "running",
			overlay: `spec: {runStrategy: null, running: true}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, true, get(t, r, "spec", "running"))
			},
		},
		{
			name:    "halt",
			overlay: `spec: {runStrategy: null, running: true}`,
			options: func(o *vmspec.Options) { o.Halt = true },
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "Halted", get(t, r, "spec", "runStrategy"))
				assert.NotContains(t, get(t, r, "spec"), "running")
			},
		},
		{
			name:    "migration-receiver",
			overlay: `spec: {runStrategy: WaitAsReceiver}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "Halted", get(t, r, "spec", "runStrategy"))
				noted(t, r, "WaitAsReceiver")
			},
		},
		{
			name: "instancetype-revision",
			overlay: `
spec:
  instancetype: {name: u1.medium, revisionName: old-u1.medium-1}
  preference: {kind: VirtualMachinePreference, name: fedora, revisionName: old-fedora-1}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]any{"name": "u1.medium"}, get(t, r, "spec", "instancetype"))
				assert.Equal(t, map[string]any{"kind": "VirtualMachinePreference", "name": "fedora"}, get(t, r, "spec", "preference"))
				assert.Equal(t, []string{"VirtualMachineClusterInstancetype/u1.medium"}, r.Needs.Instancetypes)
				assert.Equal(t, []string{"VirtualMachinePreference/fedora"}, r.Needs.Preferences)
				noted(t, r, "revision old-u1.medium-1 was dropped")
			},
		},
		{
			name: "networks",
			overlay: `
spec: {template: {spec: {networks: [
  {name: default, pod: {}}, {name: lan, multus: {networkName: vlan7}}, {name: dmz, multus: {networkName: edge/dmz}}]}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, []string{"edge/dmz", "farm/vlan7"}, r.Needs.Networks)
				assert.Equal(t, "vlan7", inSpec(t, r, "networks", 1, "multus", "networkName"))
			},
		},
		{
			name: "service-account",
			overlay: `
spec: {template: {spec: {volumes: [
  {name: root, persistentVolumeClaim: {claimName: old-root}}, {name: sa, serviceAccount: {serviceAccountName: robot}}]}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, []string{"robot"}, r.Needs.ServiceAccounts)
			},
		},
		{
			name:    "node-selector",
			overlay: `spec: {template: {spec: {nodeSelector: {kubernetes.io/hostname: node1}}}}`,
			check:   func(t *testing.T, r vmspec.Result) { noted(t, r, "runs on node node1 only") },
		},
		{
			name:    "resource-claim",
			overlay: `spec: {template: {spec: {resourceClaims: [{name: gpu, resourceClaimName: gpu-7}]}}}`,
			check:   func(t *testing.T, r vmspec.Result) { noted(t, r, "same resource claim gpu-7") },
		},
	}
}

func copyRules() []rule {
	withVolume := func(v string) string {
		return `spec: {template: {spec: {volumes: [{name: root, persistentVolumeClaim: {claimName: old-root}}, ` + v + `]}}}`
	}
	return []rule{
		{
			name:    "cloud-init-secrets",
			overlay: withVolume(`{name: seed, cloudInitNoCloud: {secretRef: {name: old-seed}, networkDataSecretRef: {name: old-net}}}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]string{"old-seed": "new-old-seed", "old-net": "new-old-net"}, r.Secrets)
				assert.Equal(t, map[string]any{
					"secretRef": map[string]any{"name": "new-old-seed"}, "networkDataSecretRef": map[string]any{"name": "new-old-net"},
				}, inSpec(t, r, "volumes", 1, "cloudInitNoCloud"))
				noted(t, r, "own copies of 2 Secrets and ConfigMaps")
			},
		},
		{
			name: "access-credentials",
			overlay: `
spec: {template: {spec: {accessCredentials: [
  {sshPublicKey: {source: {secret: {secretName: keys}}, propagationMethod: {noCloud: {}}}},
  {userPassword: {source: {secret: {secretName: words}}, propagationMethod: {qemuGuestAgent: {}}}}]}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]string{"keys": "new-keys", "words": "new-words"}, r.Secrets)
				assert.Equal(t, "new-keys", inSpec(t, r, "accessCredentials", 0, "sshPublicKey", "source", "secret", "secretName"))
				assert.Equal(t, "new-words", inSpec(t, r, "accessCredentials", 1, "userPassword", "source", "secret", "secretName"))
			},
		},
		{
			name:    "sysprep",
			overlay: withVolume(`{name: prep, sysprep: {configMap: {name: unattend}}}, {name: prep2, sysprep: {secret: {name: unattend}}}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, map[string]string{"unattend": "new-unattend"}, r.ConfigMaps)
				assert.Equal(t, map[string]string{"unattend": "new-unattend"}, r.Secrets)
				assert.Equal(t, "new-unattend", inSpec(t, r, "volumes", 1, "sysprep", "configMap", "name"))
				assert.Equal(t, "new-unattend", inSpec(t, r, "volumes", 2, "sysprep", "secret", "name"))
			},
		},
		{
			name:    "config-volumes",
			overlay: withVolume(`{name: conf, configMap: {name: app}}, {name: cert, secret: {secretName: tls}}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "new-app", inSpec(t, r, "volumes", 1, "configMap", "name"))
				assert.Equal(t, "new-tls", inSpec(t, r, "volumes", 2, "secret", "secretName"))
				assert.Equal(t, map[string]string{"app": "new-app"}, r.ConfigMaps)
				assert.Equal(t, map[string]string{"tls": "new-tls"}, r.Secrets)
			},
		},
		{
			name:    "optional-secret",
			overlay: withVolume(`{name: cert, secret: {secretName: absent, optional: true}}`),
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "new-absent", inSpec(t, r, "volumes", 1, "secret", "secretName"))
				assert.Empty(t, r.Secrets, "a Secret that was not captured cannot be made")
			},
		},
		{
			name:    "missing-secret",
			overlay: withVolume(`{name: cert, secret: {secretName: lost}}, {name: cert2, secret: {secretName: lost}}`),
			source:  func(s *vmspec.Source) { s.Secrets = nil },
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "new-lost", inSpec(t, r, "volumes", 1, "secret", "secretName"))
				assert.Empty(t, r.Secrets)
				assert.Equal(t, []string{"the backup does not hold Secret lost, which the VM needs: make it as new-lost before the VM starts"}, r.Notes)
			},
		},
		{
			name:    "image-pull-secret",
			overlay: withVolume(`{name: tools, containerDisk: {image: "tools:1", imagePullSecret: registry}}`) + "\n",
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "new-registry", inSpec(t, r, "volumes", 1, "containerDisk", "imagePullSecret"))
				assert.Equal(t, map[string]string{"registry": "new-registry"}, r.Secrets)
			},
		},
		{
			name:    "kernel-boot-pull-secret",
			overlay: `spec: {template: {spec: {domain: {firmware: {kernelBoot: {container: {image: k, imagePullSecret: registry}}}}}}}`,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "new-registry", inSpec(t, r, "domain", "firmware", "kernelBoot", "container", "imagePullSecret"))
			},
		},
	}
}

// stateClaim is KubeVirt's claim for the state of VM "old".
func stateClaim() *corev1.PersistentVolumeClaim {
	return claim("persistent-state-for-old-x7k2p", func(c *corev1.PersistentVolumeClaim) {
		c.Labels = map[string]string{vmspec.LabelPersistentState: "old"}
	})
}

func stateRules() []rule {
	const tpm = `spec: {template: {spec: {domain: {devices: {tpm: {persistent: true}}}}}}`
	const efi = `spec: {template: {spec: {domain: {firmware: {uuid: 5d307ca9-b3ef-428c-8861-06e72d69f223, bootloader: {efi: {persistent: true}}}}}}}`
	state := []*corev1.PersistentVolumeClaim{stateClaim()}
	return []rule{
		{
			name: "persistent-state", overlay: tpm, claims: state,
			check: func(t *testing.T, r vmspec.Result) {
				name := r.Claims["persistent-state"]
				assert.Regexp(t, `^persistent-state-for-new-[0-9a-f]{5}$`, name)
				c := pvc(t, r, name)
				assert.Equal(t, "new", c.Labels[vmspec.LabelPersistentState])
				assert.Equal(t, "pv-persistent-state", c.Spec.VolumeName)
				assert.Len(t, inSpec(t, r, "volumes"), 1, "KubeVirt finds the state by its label, not by a volume")
			},
		},
		{
			name: "persistent-state-unlabelled", overlay: tpm,
			claims: []*corev1.PersistentVolumeClaim{claim("persistent-state-for-old")},
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "new", pvc(t, r, r.Claims["persistent-state"]).Labels[vmspec.LabelPersistentState])
			},
		},
		{
			name: "persistent-tpm-uuid", overlay: tpm, claims: state,
			check: func(t *testing.T, r vmspec.Result) {
				// The UUID that KubeVirt derives for a VM called "old".
				assert.Equal(t, "bf0d3331-c546-50a2-8f73-dc60b009fd36", inSpec(t, r, "domain", "firmware", "uuid"))
				noted(t, r, "TPM state is found by it")
			},
		},
		{
			name: "persistent-efi-name", overlay: efi, claims: state,
			check: func(t *testing.T, r vmspec.Result) {
				assert.Equal(t, "5d307ca9-b3ef-428c-8861-06e72d69f223", inSpec(t, r, "domain", "firmware", "uuid"))
				noted(t, r, "restore to the name old to keep them")
			},
		},
		{
			name: "persistent-efi-same-name", overlay: efi, claims: state,
			options: func(o *vmspec.Options) { o.NewName = "old" },
			check: func(t *testing.T, r vmspec.Result) {
				for _, n := range r.Notes {
					assert.NotContains(t, n, "EFI variables")
				}
			},
		},
	}
}
