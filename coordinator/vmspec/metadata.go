package vmspec

import (
	"slices"
	"strings"
)

// follows are the labels whose value is the VM's name and by which programs
// find what belongs to it.
func follows(label string) bool {
	switch label {
	case "harvesterhci.io/vmName", "kubevirt.io/vm", "kubevirt.io/domain", "vm.kubevirt.io/name",
		"vmi.kubevirt.io/id", "kubevirt.io/vmi-name", LabelPersistentState:
		return true
	}
	return false
}

// foreign are the labels and annotations by which another program knows the
// source object as its own, or that record what was done to it. On a copy they
// would let a deployment tool prune the new VM, or continue a job of the old.
func foreign(key string) bool {
	switch key {
	case "kubectl.kubernetes.io/last-applied-configuration",
		"app.kubernetes.io/managed-by", "app.kubernetes.io/instance",
		"k8s.v1.cni.cncf.io/network-status", "k8s.v1.cni.cncf.io/networks-status":
		return true
	}
	prefix, _, _ := strings.Cut(key, "/")
	return slices.Contains([]string{
		"hayloft.dev",
		"argocd.argoproj.io", "meta.helm.sh", "objectset.rio.cattle.io",
		"kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io",
		"restore.kubevirt.io", "snapshot.kubevirt.io", "clone.kubevirt.io",
		"snapshot.storage.kubernetes.io",
	}, prefix)
}

// bound are the annotations of a VM, or of its template, that KubeVirt and
// Harvester keep about the source VM.
func bound(annotation string) bool {
	switch annotation {
	case annotationClaimTemplates,
		// Harvester deletes these claims together with the VM: the source's.
		"harvesterhci.io/removedPersistentVolumeClaims",
		"harvesterhci.io/migrationTargetNodeName", "harvesterhci.io/migrationUID", "harvesterhci.io/migrationState",
		"kubevirt.io/latest-observed-api-version", "kubevirt.io/storage-observed-api-version",
		"kubevirt.io/generation", "kubevirt.io/vm-generation", "kubevirt.io/vm-pool-revision-name",
		"kubevirt.io/restore-run-strategy", "kubevirt.io/immediate-data-volume-creation",
		"kubevirt.io/volume-update-migration", "kubevirt.io/migrationJobName",
		"kubevirt.io/evacuationMigration", "kubevirt.io/workloadUpdateMigration",
		"kubevirt.io/eviction-source", "kubevirt.io/create-migration-target",
		"kubevirt.io/migration-target-ready-timestamp", "kubevirt.io/memory-dump":
		return true
	}
	return false
}

// annotationClaimTemplates holds the claims that Harvester makes for a VM.
const annotationClaimTemplates = "harvesterhci.io/volumeClaimTemplates"

// address are the annotations that fix a MAC or IP address: Harvester's, its
// DHCP controller's, Kube-OVN's (also with a prefix per network) and Calico's.
func address(annotation string) bool {
	switch annotation {
	case "harvesterhci.io/mac-address", "network.harvesterhci.io/ips",
		"cni.projectcalico.org/ipAddrs", "cni.projectcalico.org/ipAddrsNoIpam", "cni.projectcalico.org/hwAddr":
		return true
	}
	key := strings.Replace(annotation, ".kubernetes.io/", "/", 1)
	return strings.HasSuffix(key, "ovn/mac_address") || strings.HasSuffix(key, "ovn/ip_address")
}

// populated are the annotations of a claim that tell how its volume was bound
// and filled: on a claim for a restored volume they would be untrue, or make
// an importer fill it again.
func populated(annotation string) bool {
	switch annotation {
	case "harvesterhci.io/owned-by", "harvesterhci.io/imageId", "harvesterhci.io/volumeForVirtualMachine",
		"harvesterhci.io/storageProvisioner", "kubevirt.io/memory-dump":
		return true
	}
	prefix, _, _ := strings.Cut(annotation, "/")
	return prefix == "cdi.kubevirt.io" || strings.HasSuffix(prefix, ".cdi.kubevirt.io") ||
		slices.Contains([]string{"pv.kubernetes.io", "volume.kubernetes.io", "volume.beta.kubernetes.io"}, prefix)
}

// carry copies the entries that no rule drops.
func carry(in map[string]string, drop ...func(string) bool) map[string]string {
	out := map[string]string{}
	for k, v := range in {
		if !slices.ContainsFunc(drop, func(d func(string) bool) bool { return d(k) }) {
			out[k] = v
		}
	}
	return out
}

// keep copies the entries that a rule names.
func keep(in map[string]string, rule func(string) bool) map[string]string {
	return carry(in, func(key string) bool { return !rule(key) })
}

// relabel copies labels, dropping foreign ones and making those that name the
// VM name the new one.
func relabel(in map[string]string, vm string) map[string]string {
	out := carry(in, foreign)
	for k := range out {
		if follows(k) {
			out[k] = vm
		}
	}
	return out
}
