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
	return bounded(LabelPersistentState + "-" + vm + "-" + names.Short(string(restore))[:5])
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
