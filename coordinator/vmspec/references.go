package vmspec

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// The kinds of object, other than claims, that a VM's spec refers to by name.
const (
	kindSecret    = "Secret"
	kindConfigMap = "ConfigMap"
)

// reference is one place in a VM's spec that names a Secret or ConfigMap. Both
// Inspect and Rebuild go through these, so that what is collected and what is
// rewritten cannot differ.
type reference struct {
	kind     string
	optional bool
	// holder[key] is the name.
	holder object
	key    string
}

func (r reference) name() string    { return text(r.holder, r.key) }
func (r reference) set(name string) { r.holder[r.key] = name }

// references lists every Secret and ConfigMap that spec (a
// VirtualMachineInstanceSpec) names, in the order of the spec.
func references(spec object) []reference {
	var refs []reference
	add := func(kind string, holder object, key string) {
		if text(holder, key) != "" {
			refs = append(refs, reference{kind: kind, holder: holder, key: key})
		}
	}
	optional := func(kind string, holder object, key string) {
		if text(holder, key) != "" {
			refs = append(refs, reference{kind: kind, optional: truth(holder, "optional"), holder: holder, key: key})
		}
	}
	for _, v := range children(spec, "volumes") {
		for _, source := range []string{"cloudInitNoCloud", "cloudInitConfigDrive"} {
			add(kindSecret, child(v, source, "secretRef"), "name")
			add(kindSecret, child(v, source, "networkDataSecretRef"), "name")
		}
		add(kindSecret, child(v, "sysprep", "secret"), "name")
		add(kindConfigMap, child(v, "sysprep", "configMap"), "name")
		optional(kindSecret, child(v, "secret"), "secretName")
		optional(kindConfigMap, child(v, "configMap"), "name")
		add(kindSecret, child(v, "containerDisk"), "imagePullSecret")
	}
	for _, c := range children(spec, "accessCredentials") {
		add(kindSecret, child(c, "sshPublicKey", "source", "secret"), "secretName")
		add(kindSecret, child(c, "userPassword", "source", "secret"), "secretName")
	}
	add(kindSecret, child(spec, "domain", "firmware", "kernelBoot", "container"), "imagePullSecret")
	return refs
}

// AddReferences notes the Secrets and ConfigMaps that a VM names.
func AddReferences(vm *unstructured.Unstructured, secrets, configMaps map[string]bool) {
	for _, r := range references(child(vm.Object, "spec", "template", "spec")) {
		if r.kind == kindSecret {
			secrets[r.name()] = true
		} else {
			configMaps[r.name()] = true
		}
	}
}

// collect sorts the names of a kind into needed and optional ones.
func collect(refs []reference, kind string) (needed, optional []string) {
	need := map[string]bool{} // name -> whether a place needs it
	for _, r := range refs {
		if r.kind == kind {
			need[r.name()] = need[r.name()] || !r.optional
		}
	}
	for _, name := range sortedKeys(need) {
		if need[name] {
			needed = append(needed, name)
		} else {
			optional = append(optional, name)
		}
	}
	return needed, optional
}
