package vmspec

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/names"
)

// maxName bounds the names made here. Kubernetes allows 253 for these kinds,
// but other programs put claim names into label values, which hold 63.
const maxName = 63

// ClaimName is the claim of a disk of a restored VM: "<vm>-<disk>".
func ClaimName(vm, disk string) string { return bounded(vm + "-" + disk) }

// CopyName is a restored VM's own copy of a Secret or ConfigMap: "<vm>-<name>".
func CopyName(vm, name string) string { return bounded(vm + "-" + name) }

// StateClaimName is the claim for a restored VM's TPM and EFI state, in the
// form that KubeVirt gives them: "persistent-state-for-<vm>-xxxxx".
func StateClaimName(vm string, restore types.UID) string {
	return bounded(LabelPersistentState + "-" + vm + suffix(restore))
}

// suffix tells apart what different restores of one VM make.
func suffix(restore types.UID) string { return "-" + names.Short(string(restore))[:5] }

// copyName is the name of the VM's own copy of a captured Secret or ConfigMap.
// One of a VM that is replaced must not meet the original, which is never
// overwritten.
func (o Options) copyName(old string) string {
	if o.Replace != nil {
		return bounded(old + suffix(o.RestoreUID))
	}
	return CopyName(o.NewName, old)
}

// claimName is the new name of a disk's claim.
func (o Options) claimName(d Disk) string {
	switch {
	case d.Kind == KindPersistentState:
		return StateClaimName(o.NewName, o.RestoreUID)
	case o.Replace != nil:
		return bounded(o.NewName + "-" + d.Name + suffix(o.RestoreUID))
	}
	return ClaimName(o.NewName, d.Name)
}

// bounded shortens a name that is too long to its beginning and a digest of
// the whole, so that different names stay different.
func bounded(name string) string {
	if len(name) <= maxName {
		return name
	}
	digest := names.Short(name)
	return strings.TrimRight(name[:maxName-len(digest)-1], "-.") + "-" + digest
}
