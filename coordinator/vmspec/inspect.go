package vmspec

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"hayloft.dev/pkg/words"
)

// Inspect tells what a VM consists of. vmi is the running instance, nil when
// the VM is stopped; claims are those of the VM's namespace, among which the
// persistent TPM and EFI state is found. When there is a refusal, the contents
// are what could be made out and must not be backed up.
func Inspect(vm, vmi *unstructured.Unstructured, claims []corev1.PersistentVolumeClaim) (Contents, []Refusal) {
	if refusal := readable(vm); refusal != nil {
		return Contents{}, []Refusal{*refusal}
	}
	spec := child(vm.Object, "spec", "template", "spec")
	in := inspector{devices: devices(spec), taken: map[string]bool{}, claims: map[string]string{}}
	for i, v := range list(spec, "volumes") {
		volume, ok := v.(object)
		if !ok || text(volume, "name") == "" {
			in.refuse("", "volume %d of the VM's spec has no name: give it one", i+1)
			continue
		}
		in.volume(volume)
	}
	in.otherReferences(spec)
	in.running(spec, vmi)
	if len(in.out.Disks) == 0 && len(in.refusals) == 0 {
		in.refuse("", "the VM has no disk on a PersistentVolumeClaim: there is nothing to back up")
	}
	in.state(spec, vm, vmi, claims)
	refs := references(spec)
	in.out.Secrets, in.out.OptionalSecrets = collect(refs, kindSecret)
	in.out.ConfigMaps, in.out.OptionalConfigMaps = collect(refs, kindConfigMap)
	return in.out, in.refusals
}

// readable refuses what is not a VirtualMachine of KubeVirt's v1 types. Fields
// that those types do not know are fine.
func readable(vm *unstructured.Unstructured) *Refusal {
	if vm == nil || vm.Object == nil {
		return &Refusal{Sentence: "there is no VirtualMachine"}
	}
	if vm.GetKind() != "VirtualMachine" || vm.GroupVersionKind().Group != kubevirtv1.GroupVersion.Group {
		return &Refusal{Sentence: sentence("%s %s is not a VirtualMachine of KubeVirt", vm.GetAPIVersion(), vm.GetKind())}
	}
	if vm.GetName() == "" {
		return &Refusal{Sentence: "the VirtualMachine has no name"}
	}
	data, err := json.Marshal(vm.Object)
	if err == nil {
		err = json.Unmarshal(data, &kubevirtv1.VirtualMachine{})
	}
	if err != nil {
		return &Refusal{Sentence: sentence("the VirtualMachine cannot be read: %v", err)}
	}
	if child(vm.Object, "spec", "template", "spec") == nil {
		return &Refusal{Sentence: "the VirtualMachine has no spec.template.spec: there is nothing to back up"}
	}
	return nil
}

// inspector gathers findings while the volumes are walked.
type inspector struct {
	devices  map[string]object // disk device's name -> device
	taken    map[string]bool   // names of volumes seen
	claims   map[string]string // claim -> volume that has it
	out      Contents
	refusals []Refusal
}

func (in *inspector) refuse(disk, format string, args ...any) {
	in.refusals = append(in.refusals, Refusal{Disk: disk, Sentence: sentence(format, args...)})
}

func (in *inspector) warn(format string, args ...any) {
	in.out.Warnings = append(in.out.Warnings, sentence(format, args...))
}

// maxSentence bounds what is said about a part of a VM, which may hold anything.
const maxSentence = 600

func sentence(format string, args ...any) string {
	return words.Clean(fmt.Sprintf(format, args...), maxSentence)
}

// volume decides about one volume of the spec. A volume of a kind that is not
// listed is refused: what it holds would be lost in silence.
func (in *inspector) volume(v object) {
	name := text(v, "name")
	if in.taken[name] {
		in.refuse(name, "two volumes of the VM are called %s: rename one", name)
		return
	}
	in.taken[name] = true
	if len(validation.IsDNS1123Label(name)) > 0 {
		in.refuse(name, "volume %q has a name that is not a DNS label (lower-case letters, digits and -): rename it", name)
		return
	}
	source, ok := volumeSource(v)
	if !ok {
		in.refuse(name, "volume %s has not exactly one source: repair the VM's spec", name)
		return
	}
	switch source {
	case "persistentVolumeClaim":
		in.disk(name, text(child(v, source), "claimName"))
	case "dataVolume":
		in.disk(name, text(child(v, source), "name"))
	case "cloudInitNoCloud", "cloudInitConfigDrive", "sysprep", "configMap", "secret", "downwardAPI", "downwardMetrics":
		// In the spec itself, or in Secrets and ConfigMaps that references finds.
	case "serviceAccount":
		in.warn("volume %s shows ServiceAccount %s to the guest; the account is not backed up and must exist where the VM is restored", name, text(child(v, source), "serviceAccountName"))
	case "containerDisk":
		in.warn("volume %s comes from container image %s and holds nothing that lasts: the image is not backed up and must be available where the VM is restored", name, text(child(v, source), "image"))
	case "emptyDisk":
		in.warn("volume %s is an empty disk that is lost whenever the VM stops: it is not backed up", name)
	case "memoryDump":
		in.warn("volume %s is a memory dump: it is not backed up, and a restored VM does not have it", name)
	case "hostDisk":
		in.refuse(name, "volume %s is a file on one node (hostDisk), which is not on Longhorn storage: move it to a PersistentVolumeClaim", name)
	case "ephemeral":
		in.refuse(name, "volume %s is an ephemeral copy of claim %s, whose changes are lost whenever the VM stops: use the claim itself", name, text(child(v, source, "persistentVolumeClaim"), "claimName"))
	default:
		in.refuse(name, "volume %s is of a kind (%s) that this version does not know: remove it, or use a newer version of Hayloft", name, source)
	}
}

// disk decides about a volume on a claim.
func (in *inspector) disk(name, claim string) {
	if claim == "" {
		in.refuse(name, "volume %s names no claim: repair the VM's spec", name)
		return
	}
	if other, taken := in.claims[claim]; taken {
		in.refuse(name, "volumes %s and %s are both on claim %s: a restored VM could not be given the same: remove one", other, name, claim)
		return
	}
	in.claims[claim] = name
	device := in.devices[name]
	if truth(device, "shareable") {
		in.refuse(name, "disk %s is shareable: other VMs can write to it, so no moment is a point of this VM alone: back up its data inside the guest", name)
		return
	}
	if lun := child(device, "lun"); lun != nil {
		if truth(lun, "reservation") {
			in.refuse(name, "disk %s is a LUN with persistent reservations, shared with other VMs: back up its data inside the guest", name)
			return
		}
		in.warn("disk %s is a LUN: its data is backed up, SCSI state such as reservations is not", name)
	}
	in.out.Disks = append(in.out.Disks, Disk{Name: name, Claim: claim, Kind: KindDisk})
}

// running compares the running VM's disks with those of its spec.
func (in *inspector) running(spec object, vmi *unstructured.Unstructured) {
	if vmi == nil {
		return
	}
	inSpec := map[string]string{} // volume -> claim
	for _, v := range children(spec, "volumes") {
		inSpec[text(v, "name")] = claimOf(v)
	}
	for _, v := range children(child(vmi.Object, "spec"), "volumes") {
		name, claim := text(v, "name"), claimOf(v)
		want, known := inSpec[name]
		switch {
		case claim == "":
		case !known:
			in.refuse(name, "disk %s (claim %s) was hot-plugged into the running VM and is not in its spec, so it would be missing after a restore: make it permanent (virtctl addvolume --persist) or unplug it", name, claim)
		case want != claim:
			in.refuse(name, "disk %s is on claim %q in the VM's spec but on %q in the running VM: restart the VM or finish the volume migration first", name, want, claim)
		}
	}
}

// state adds the persistent TPM and EFI state.
func (in *inspector) state(spec object, vm, vmi *unstructured.Unstructured, claims []corev1.PersistentVolumeClaim) {
	claim, refusal := findState(vm, vmi, claims)
	wanted := persistentTPM(spec) || persistentEFI(spec)
	switch {
	case refusal != nil:
		in.refusals = append(in.refusals, *refusal)
	case claim != "":
		if _, taken := in.claims[claim]; !taken {
			in.out.Disks = append(in.out.Disks, Disk{Name: stateName(in.taken), Claim: claim, Kind: KindPersistentState})
		}
	case wanted && vmi != nil:
		in.refuse(stateDisk, "the running VM has a persistent TPM or EFI, but no claim labelled %s=%s holds its state: without it BitLocker would ask for its recovery key after a restore", LabelPersistentState, vm.GetName())
	case wanted:
		in.warn("the VM asks for a persistent TPM or EFI and has no state yet (no claim labelled %s=%s): a restored VM starts with a fresh one", LabelPersistentState, vm.GetName())
	}
}

// otherReferences warns of objects that are named but not taken along.
func (in *inspector) otherReferences(spec object) {
	for _, c := range children(spec, "resourceClaims") {
		if name := text(c, "resourceClaimName"); name != "" {
			in.warn("resource claim %s is not backed up: a restored VM asks for the same one", name)
		}
	}
}

// devices maps the names of disk devices to the devices.
func devices(spec object) map[string]object {
	out := map[string]object{}
	for _, d := range children(child(spec, "domain", "devices"), "disks") {
		out[text(d, "name")] = d
	}
	return out
}

// volumeSource is the one key of a volume besides its name.
func volumeSource(v object) (string, bool) {
	var sources []string
	for _, key := range sortedKeys(v) {
		if key != "name" && v[key] != nil {
			sources = append(sources, key)
		}
	}
	if len(sources) != 1 {
		return "", false
	}
	return sources[0], true
}

// claimOf is the claim that a volume's data is on, "" for other volumes.
func claimOf(v object) string {
	if c := text(child(v, "persistentVolumeClaim"), "claimName"); c != "" {
		return c
	}
	return text(child(v, "dataVolume"), "name")
}
