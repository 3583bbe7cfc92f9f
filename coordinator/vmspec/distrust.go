package vmspec

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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

// hostDevices are the lists in which KubeVirt has devices of the nodes.
var hostDevices = []string{"hostDevices", "gpus"}

// DevicesOf are the devices of the nodes that an instance type gives to its VMs.
func DevicesOf(instancetype *unstructured.Unstructured) (names []string) {
	for _, kind := range hostDevices {
		for _, d := range children(child(instancetype.Object, "spec"), kind) {
			names = append(names, text(d, "name"))
		}
	}
	return names
}

func (r *rebuilder) withoutHostDevices(spec object) {
	var names []string
	devices := child(spec, "domain", "devices")
	for _, kind := range hostDevices {
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

// withoutPodSettings keeps only the annotations that KubeVirt and Harvester read, and
// of labels theirs, Kubernetes' own and those that are nobody's: those of the template
// are the pod's too, where programs beside KubeVirt act on them.
func (r *rebuilder) withoutPodSettings(template, spec object) {
	var names []string
	annotations := child(template, "metadata", "annotations")
	for _, key := range sortedKeys(annotations) {
		if !harmless(key) && !address(key) {
			names = append(names, key)
			delete(annotations, key)
		}
	}
	labels := child(template, "metadata", "labels")
	for _, key := range sortedKeys(labels) {
		prefix, _, named := strings.Cut(key, "/")
		if named && !harmless(key) && !under(prefix, "kubernetes.io") && !under(prefix, "k8s.io") {
			names = append(names, "label "+key)
			delete(labels, key)
		}
	}
	if class := text(spec, "priorityClassName"); strings.HasPrefix(class, "system-") {
		names = append(names, "priority class "+class)
		delete(spec, "priorityClassName")
	}
	r.left("settings of the VM's pod", "they act on more than the VM", names, v1alpha1.AllowPodSettings)
}

// harmless are keys of a template's annotations and labels that only KubeVirt and
// Harvester read. With
// those of hooks.kubevirt.io KubeVirt starts containers.
func harmless(key string) bool {
	prefix, _, named := strings.Cut(key, "/")
	if !named || prefix == "hooks.kubevirt.io" {
		return false
	}
	return under(prefix, "kubevirt.io") || under(prefix, "harvesterhci.io")
}

// under tells whether a domain is another one, or below it.
func under(domain, of string) bool { return domain == of || strings.HasSuffix(domain, "."+of) }
