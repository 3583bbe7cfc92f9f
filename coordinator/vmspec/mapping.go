package vmspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// networks puts mapped networks in the place of the captured ones and lists
// what the VM needs. A network without a namespace is one of the VM's own.
func (r *rebuilder) networks(spec object, sourceNamespace string) {
	for _, n := range children(spec, "networks") {
		multus := child(n, "multus")
		network := text(multus, "networkName")
		if network == "" {
			continue
		}
		full := qualified(network, sourceNamespace)
		r.network[full] = true
		if mapped, ok := r.o.Networks[full]; ok {
			network = mapped
			multus["networkName"] = mapped
		}
		r.out.Needs.Networks = append(r.out.Needs.Networks, qualified(network, r.o.Namespace))
	}
}

func qualified(network, namespace string) string {
	if strings.Contains(network, "/") {
		return network
	}
	return namespace + "/" + network
}

// mapped refuses entries of the maps that name nothing in the source: whoever
// wrote them expects something else of the result.
func (r *rebuilder) mapped(in Source) error {
	classes := map[string]bool{}
	for _, d := range in.Disks {
		if c := in.PVCs[d.Claim]; c != nil {
			classes[StorageClass(c)] = true
		}
	}
	for _, m := range []struct {
		field, what string
		entries     map[string]string
		have        map[string]bool
	}{
		{"storageClasses", "StorageClass", r.o.StorageClasses, classes},
		{"networks", "network", r.o.Networks, r.network},
	} {
		for _, key := range sortedKeys(m.entries) {
			switch {
			case !m.have[key]:
				return fmt.Errorf("spec.%s names %q, but no such %s is in the backup (it has: %s): correct the entry or remove it", m.field, key, m.what, orNone(m.have))
			case m.entries[key] == "":
				return fmt.Errorf("spec.%s maps %q to nothing: name the %s to use", m.field, key, m.what)
			}
		}
	}
	return nil
}

func orNone(names map[string]bool) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}
