package vmspec

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hayloft.dev/pkg/api/v1alpha1"
)

// AnnotationRunStrategy holds, on a VM that has just taken another's place, the
// run strategy that it gets once its former claims are let go.
const AnnotationRunStrategy = "hayloft.dev/run-strategy"

// strategyHalted is KubeVirt's run strategy of a VM that does not run.
const strategyHalted = "Halted"

// takePlace makes the result an update of the VM that is replaced: its identity
// stays, and with it what other programs keep about the object.
func (r *rebuilder) takePlace(source object, labels, annotations map[string]string) {
	vm := r.o.Replace.DeepCopy()
	maps.Copy(labels, keep(vm.GetLabels(), others))
	vm.SetLabels(labels)
	kept := carry(annotations, r.dropped()...)
	maps.Copy(kept, keep(vm.GetAnnotations(), func(key string) bool { return others(key) || address(key) || standing(key) }))
	spec := child(source, "spec")
	// A VM whose run strategy stays the same does not start by itself, and one
	// that starts at once could find the former TPM state: so it is halted first.
	strategy := text(spec, "runStrategy")
	if strategy == "" && truth(spec, "running") {
		strategy = "Always"
	}
	r.set(spec, strategyHalted)
	if strategy != "" && strategy != strategyHalted {
		kept[AnnotationRunStrategy] = strategy
	}
	vm.SetAnnotations(kept)
	vm.Object["spec"] = spec
	r.out.VM = vm
}

// others are the marks of deployment tools: those of the VM as it is count, not
// those that it had when the point was taken.
func others(key string) bool {
	return foreign(key) && !strings.HasPrefix(key, "hayloft.dev/")
}

// standing are the annotations by which KubeVirt and pools know the VM.
func standing(annotation string) bool {
	switch annotation {
	case "kubevirt.io/latest-observed-api-version", "kubevirt.io/storage-observed-api-version", "kubevirt.io/vm-pool-revision-name":
		return true
	}
	return false
}

// ownAddresses gives each interface the address that the VM has on it now. One
// that it does not have keeps the captured address only if that was this VM's.
func (r *rebuilder) ownAddresses(spec object) {
	now := map[string]object{} // interface -> as it is
	for _, i := range children(child(r.o.Replace.Object, "spec", "template", "spec", "domain", "devices"), "interfaces") {
		now[text(i, "name")] = i
	}
	for _, i := range children(child(spec, "domain", "devices"), "interfaces") {
		mac := text(i, "macAddress")
		has, known := now[text(i, "name")]
		switch {
		case known && text(has, "macAddress") != "":
			i["macAddress"] = text(has, "macAddress")
		case known:
			delete(i, "macAddress")
		case !r.same && mac != "":
			delete(i, "macAddress")
			r.note("the MAC address of interface %s was cleared: the VM did not have the interface, and the backup is of another VM", text(i, "name"))
		}
	}
}

// ownIdentity keeps the firmware identity of the VM when the backup is of
// another one of its name.
func (r *rebuilder) ownIdentity(spec object) {
	domain := child(spec, "domain")
	if r.same || domain == nil {
		return
	}
	now := child(r.o.Replace.Object, "spec", "template", "spec", "domain", "firmware")
	firmware := child(domain, "firmware")
	for _, key := range []string{"uuid", "serial"} {
		switch {
		case text(now, key) == "":
			delete(firmware, key)
			continue
		case firmware == nil:
			firmware = object{}
			domain["firmware"] = firmware
		}
		firmware[key] = text(now, key)
	}
}

// ClaimsOf are the claims that a VM's disks are on, whether they could be backed
// up or not, and that of its TPM and EFI state. claims are those of its
// namespace.
func ClaimsOf(vm *unstructured.Unstructured, claims []corev1.PersistentVolumeClaim) []Disk {
	var out []Disk
	taken := map[string]bool{}
	for _, v := range children(child(vm.Object, "spec", "template", "spec"), "volumes") {
		taken[text(v, "name")] = true
		if claim := claimOf(v); claim != "" {
			out = append(out, Disk{Name: text(v, "name"), Claim: claim, Kind: KindDisk})
		}
	}
	if claim, _ := findState(vm, nil, claims); claim != "" {
		out = append(out, Disk{Name: stateName(taken), Claim: claim, Kind: KindPersistentState})
	}
	return out
}

// FormerLabels are the labels of a claim that VM vm had as a disk and has not
// any more: those by which programs take it for the VM's are gone.
func FormerLabels(labels map[string]string, vm, disk string) map[string]string {
	out := map[string]string{}
	for k, v := range labels {
		if !follows(k) || v != vm {
			out[k] = v
		}
	}
	out[v1alpha1.LabelFormerVM], out[v1alpha1.LabelFormerDisk] = vm, disk
	return out
}
