package vmspec

import (
	"slices"
	"strings"

	"hayloft.dev/pkg/api/v1alpha1"
)

// distrust leaves out of a VM that was found on a target what gives its guest, whose
// disks came from there too, something of this cluster's: devices of a node, an
// account's token, containers and networks in its pod.
func (r *rebuilder) distrust(template, spec object) {
	if !r.o.Found {
		return
	}
	if !slices.Contains(r.o.Allow, v1alpha1.AllowHostDevices) {
		r.withoutHostDevices(spec)
	}
	if !slices.Contains(r.o.Allow, v1alpha1.AllowServiceAccounts) {
		r.withoutAccounts(spec)
	}
	if !slices.Contains(r.o.Allow, v1alpha1.AllowPodSettings) {
		r.withoutPodSettings(template, spec)
	}
}

// left says that something was left out, and what would have kept it.
func (r *rebuilder) left(what, why string, names []string, word v1alpha1.Allowance) {
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	r.note("%s %s: left out, since the point was found on a target and %s (spec.allow %s keeps them)", what, strings.Join(names, ", "), why, word)
}

func (r *rebuilder) withoutHostDevices(spec object) {
	var names []string
	devices := child(spec, "domain", "devices")
	for _, kind := range []string{"hostDevices", "gpus"} {
		for _, d := range children(devices, kind) {
			names = append(names, text(d, "name"))
		}
		delete(devices, kind)
	}
	for _, c := range children(spec, "resourceClaims") {
		names = append(names, text(c, "name"))
	}
	delete(spec, "resourceClaims")
	r.left("devices", "they are the nodes'", names, v1alpha1.AllowHostDevices)
}

func (r *rebuilder) withoutAccounts(spec object) {
	var names []string
	var kept []any
	for _, v := range list(spec, "volumes") {
		volume, _ := v.(object)
		if volume["serviceAccount"] == nil {
			kept = append(kept, v)
			continue
		}
		names = append(names, text(volume, "name"))
		device(spec, text(volume, "name"), nil)
	}
	if len(names) > 0 {
		spec["volumes"] = kept
	}
	r.left("volumes", "they hold the token of an account of this cluster", names, v1alpha1.AllowServiceAccounts)
}

// withoutPodSettings keeps only the annotations that KubeVirt and Harvester read:
// those of the template are the pod's too, where programs beside KubeVirt act on them.
func (r *rebuilder) withoutPodSettings(template, spec object) {
	var names []string
	annotations := child(template, "metadata", "annotations")
	for _, key := range sortedKeys(annotations) {
		if !harmless(key) && !address(key) {
			names = append(names, key)
			delete(annotations, key)
		}
	}
	if class := text(spec, "priorityClassName"); strings.HasPrefix(class, "system-") {
		names = append(names, "priority class "+class)
		delete(spec, "priorityClassName")
	}
	r.left("settings of the VM's pod", "they act on more than the VM", names, v1alpha1.AllowPodSettings)
}

// harmless are annotations of a template that only KubeVirt and Harvester read. With
// those of hooks.kubevirt.io KubeVirt starts containers.
func harmless(annotation string) bool {
	prefix, _, named := strings.Cut(annotation, "/")
	if !named || prefix == "hooks.kubevirt.io" {
		return false
	}
	for _, of := range []string{"kubevirt.io", "harvesterhci.io"} {
		if prefix == of || strings.HasSuffix(prefix, "."+of) {
			return true
		}
	}
	return false
}
