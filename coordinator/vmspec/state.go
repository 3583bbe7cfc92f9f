package vmspec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// LabelPersistentState is KubeVirt's label, by which it finds a VM's claim for
// TPM and EFI state; its value is the VM's name.
const LabelPersistentState = "persistent-state-for"

// stateDisk is the disk name of the persistent state.
const stateDisk = "persistent-state"

func persistentTPM(spec object) bool {
	return truth(child(spec, "domain", "devices", "tpm"), "persistent")
}

func persistentEFI(spec object) bool {
	return truth(child(spec, "domain", "firmware", "bootloader", "efi"), "persistent")
}

// findState finds the claim with the VM's TPM and EFI state. It is taken along
// whenever it is there, since a preference can ask for a persistent TPM that
// the VM's own spec does not mention. "" and no refusal: there is none yet.
func findState(vm, vmi *unstructured.Unstructured, claims []corev1.PersistentVolumeClaim) (string, *Refusal) {
	var labelled []string
	legacy := ""
	for i := range claims {
		c := &claims[i]
		if c.DeletionTimestamp != nil || (c.Namespace != "" && vm.GetNamespace() != "" && c.Namespace != vm.GetNamespace()) {
			continue
		}
		switch {
		case c.Labels[LabelPersistentState] == vm.GetName():
			labelled = append(labelled, c.Name)
		case c.Name == LabelPersistentState+"-"+vm.GetName():
			// Older versions of KubeVirt knew the claim by its name alone.
			legacy = c.Name
		}
	}
	if used := stateInUse(vmi); used != "" && (slices.Contains(labelled, used) || used == legacy) {
		return used, nil
	}
	switch len(labelled) {
	case 0:
		return legacy, nil
	case 1:
		return labelled[0], nil
	}
	slices.Sort(labelled)
	return "", &Refusal{Disk: stateDisk, Sentence: fmt.Sprintf(
		"claims %s are all labelled %s=%s, and nothing tells which one holds the TPM and EFI state in use: remove the label from those that a migration left behind",
		strings.Join(labelled, ", "), LabelPersistentState, vm.GetName())}
}

// stateInUse is the state claim that a running VMI says it uses.
func stateInUse(vmi *unstructured.Unstructured) string {
	if vmi == nil {
		return ""
	}
	for _, s := range children(child(vmi.Object, "status"), "volumeStatus") {
		if strings.HasPrefix(text(s, "name"), LabelPersistentState) {
			return text(child(s, "persistentVolumeClaimInfo"), "claimName")
		}
	}
	return ""
}

// stateName is a disk name for the state that no volume has.
func stateName(taken map[string]bool) string {
	name := stateDisk
	for i := 2; taken[name]; i++ {
		name = fmt.Sprintf("%s-%d", stateDisk, i)
	}
	return name
}

// uuidSpace is the namespace that KubeVirt derives a VM's firmware UUID in when
// its spec holds none (pkg/virt-controller, "magicUUID").
const uuidSpace = "6a1a24a1-4061-4607-8bf4-a3963d0c5895"

// derivedUUID is the firmware UUID that KubeVirt gave a VM of this name whose
// spec says none.
func derivedUUID(vm string) string {
	return uuid.NewSHA1(uuid.MustParse(uuidSpace), []byte(vm)).String()
}
