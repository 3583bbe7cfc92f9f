package vmspec

import (
	"encoding/base64"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
)

// runStrategy says whether the new VM is started.
func (r *rebuilder) runStrategy(spec object) {
	strategy := text(spec, "runStrategy")
	switch {
	case r.o.Halt:
		r.set(spec, "Halted")
		r.note("the VM was left stopped, as asked for")
	case strategy == "WaitAsReceiver":
		r.set(spec, "Halted")
		r.note("run strategy WaitAsReceiver became Halted: no migration will come for the new VM")
	case strategy != "":
		// KubeVirt refuses a VM that has both.
		delete(spec, "running")
	}
}

func (r *rebuilder) set(spec object, strategy string) {
	delete(spec, "running")
	spec["runStrategy"] = strategy
}

// template keeps the labels and annotations of the VM's pods.
func (r *rebuilder) template(template object) {
	old := child(template, "metadata")
	kept := object{}
	if labels := relabel(stringMap(old, "labels"), r.o.NewName); len(labels) > 0 {
		kept["labels"] = anyMap(labels)
	}
	annotations := carry(stringMap(old, "annotations"), r.dropped()...)
	if r.o.Replace != nil {
		now := child(r.o.Replace.Object, "spec", "template", "metadata")
		maps.Copy(annotations, keep(stringMap(now, "annotations"), address))
	}
	if len(annotations) > 0 {
		kept["annotations"] = anyMap(annotations)
	}
	template["metadata"] = kept
}

// volumes puts the restored claims in the place of the captured ones and takes
// away what would fill them again.
func (r *rebuilder) volumes(vmSpec, spec object) {
	if len(list(vmSpec, "dataVolumeTemplates")) > 0 {
		r.note("dataVolumeTemplates were removed: they would fill the restored disks again")
	}
	delete(vmSpec, "dataVolumeTemplates")
	delete(vmSpec, "updateVolumesStrategy")

	var kept []any
	for _, v := range children(spec, "volumes") {
		if v["memoryDump"] != nil {
			r.note("memory dump %s was removed from the VM: it is not backed up", text(v, "name"))
			continue
		}
		if claim := claimOf(v); claim != "" && !r.kept[text(v, "name")] {
			source := child(v, "persistentVolumeClaim")
			if source == nil {
				source = object{}
				if truth(child(v, "dataVolume"), "hotpluggable") {
					source["hotpluggable"] = true
				}
			}
			source["claimName"] = r.claims[claim]
			delete(v, "dataVolume")
			v["persistentVolumeClaim"] = source
		}
		kept = append(kept, v)
	}
	if spec["volumes"] != nil {
		spec["volumes"] = kept
	}
}

// addresses clears MAC addresses unless they are to be kept.
func (r *rebuilder) addresses(spec object) {
	if r.o.Replace != nil {
		r.ownAddresses(spec)
		return
	}
	if r.o.KeepMACs {
		return
	}
	var cleared []string
	for _, i := range children(child(spec, "domain", "devices"), "interfaces") {
		if mac := text(i, "macAddress"); mac != "" {
			cleared = append(cleared, mac)
		}
		delete(i, "macAddress")
	}
	if len(cleared) == 0 {
		return
	}
	r.note("%d MAC addresses were cleared: the VM gets new ones", len(cleared))
	for _, v := range children(spec, "volumes") {
		for _, source := range []string{"cloudInitNoCloud", "cloudInitConfigDrive"} {
			if mentions(child(v, source), cleared) {
				r.note("cloud-init volume %s names a MAC address that the new VM does not have: adapt its network data", text(v, "name"))
			}
		}
	}
}

// mentions is true when inline cloud-init data holds one of the addresses.
func mentions(cloudInit object, macs []string) bool {
	data := text(cloudInit, "networkData") + "\n" + text(cloudInit, "userData")
	for _, key := range []string{"networkDataBase64", "userDataBase64"} {
		if plain, err := base64.StdEncoding.DecodeString(text(cloudInit, key)); err == nil {
			data += "\n" + string(plain)
		}
	}
	data = strings.ToLower(data)
	for _, mac := range macs {
		mac = strings.ToLower(mac)
		if strings.Contains(data, mac) || strings.Contains(data, strings.ReplaceAll(mac, "-", ":")) {
			return true
		}
	}
	return false
}

// identity gives the new VM its own firmware identity, except where the TPM's
// state depends on the old one.
func (r *rebuilder) identity(spec object) {
	switch {
	case r.state:
		r.keepIdentity(spec)
	case r.o.Replace != nil:
		r.ownIdentity(spec)
	default:
		r.clearIdentity(child(spec, "domain", "firmware"))
	}
	if r.o.Replace != nil {
		return // neither its name nor its instance ID changes
	}
	if host := text(spec, "hostname"); host != "" {
		r.note("hostname %s was kept: it is set in the VM's spec", host)
	}
	for _, v := range children(spec, "volumes") {
		if v["cloudInitNoCloud"] != nil || v["cloudInitConfigDrive"] != nil {
			r.note("cloud-init sees a new instance and runs its first-boot steps again: KubeVirt derives the instance's ID from the VM's name")
			break
		}
	}
}

// keepIdentity is for a VM with persistent state. libvirt keeps the TPM's in a
// directory named by the firmware UUID, KubeVirt the EFI variables in a file
// named by the VM; a seal of the TPM can cover UUID and serial number.
func (r *rebuilder) keepIdentity(spec object) {
	domain := child(spec, "domain")
	firmware := child(domain, "firmware")
	if firmware == nil && domain != nil {
		firmware = object{}
		domain["firmware"] = firmware
	}
	if firmware != nil && text(firmware, "uuid") == "" {
		firmware["uuid"] = derivedUUID(r.oldName)
	}
	if r.same && text(child(r.o.Replace.Object, "spec", "template", "spec", "domain", "firmware"), "uuid") == text(firmware, "uuid") {
		return
	}
	r.note("the firmware UUID is that of the source VM: the restored TPM state is found by it, and without it BitLocker would ask for its recovery key")
	if persistentEFI(spec) && r.o.NewName != r.oldName {
		r.note("KubeVirt finds persistent EFI variables by the VM's name, so %s starts with fresh ones (boot entries, Secure Boot keys): restore to the name %s to keep them", r.o.NewName, r.oldName)
	}
}

func (r *rebuilder) clearIdentity(firmware object) {
	if text(firmware, "serial") != "" {
		r.note("the firmware serial number was cleared: it belongs to the source VM")
	}
	if text(firmware, "uuid") != "" {
		r.note("the firmware UUID was cleared: the VM gets its own; software licensed to the old one may ask for activation")
	}
	delete(firmware, "serial")
	delete(firmware, "uuid")
}

// matchers lets instancetype and preference be looked up by name again: the
// revision that the source was pinned to belongs to it and may be gone.
func (r *rebuilder) matchers(vmSpec object) {
	for _, m := range []struct {
		key, kind string
		needs     *[]string
	}{
		{"instancetype", "VirtualMachineClusterInstancetype", &r.out.Needs.Instancetypes},
		{"preference", "VirtualMachineClusterPreference", &r.out.Needs.Preferences},
	} {
		matcher := child(vmSpec, m.key)
		if r.same && equality.Semantic.DeepEqual(matcher, child(r.o.Replace.Object, "spec", m.key)) {
			continue // the VM has it now, so it is there
		}
		if text(matcher, "revisionName") != "" {
			r.note("the %s is looked up anew: revision %s was dropped", m.key, text(matcher, "revisionName"))
		}
		delete(matcher, "revisionName")
		name := text(matcher, "name")
		if name == "" {
			continue
		}
		kind := text(matcher, "kind")
		if kind == "" {
			kind = m.kind
		}
		*m.needs = append(*m.needs, kind+"/"+name)
	}
}

// surroundings lists what the VM refers to in its cluster.
func (r *rebuilder) surroundings(spec object) {
	for _, v := range children(spec, "volumes") {
		if account := text(child(v, "serviceAccount"), "serviceAccountName"); account != "" {
			r.out.Needs.ServiceAccounts = append(r.out.Needs.ServiceAccounts, account)
		}
	}
	if node := text(child(spec, "nodeSelector"), "kubernetes.io/hostname"); node != "" {
		r.note("the VM runs on node %s only: its node selector was kept", node)
	}
	for _, c := range children(spec, "resourceClaims") {
		if name := text(c, "resourceClaimName"); name != "" {
			r.note("the VM asks for the same resource claim %s as its source", name)
		}
	}
}

// stringMap is o[key] as a map of strings.
func stringMap(o object, key string) map[string]string {
	out := map[string]string{}
	for k, v := range child(o, key) {
		if s, ok := v.(string); ok {
			out[k] = s
		}
	}
	return out
}

// anyMap is m as a JSON object.
func anyMap(m map[string]string) object {
	out := object{}
	for k, v := range m {
		out[k] = v
	}
	return out
}
