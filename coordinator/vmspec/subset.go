package vmspec

import (
	"errors"
	"fmt"
	"slices"
)

// captured are the disks of the spec whose data is there. A point may have been
// taken of some disks only, but never of one that its VM does not have.
func captured(spec, have []Disk) ([]Disk, error) {
	if len(have) == 0 {
		return nil, errors.New("the backup holds no disk of the VM")
	}
	left := slices.Clone(have)
	var out []Disk
	for _, d := range spec {
		if i := slices.Index(left, d); i >= 0 {
			out = append(out, d)
			left = slices.Delete(left, i, i+1)
		}
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("the backup holds disk %s (claim %s), which the VM does not have", left[0].Name, left[0].Claim)
	}
	return out, nil
}

// leftOut splits refusals: those of disks that were left out of the point do not
// matter, since such a disk is not restored; the others do.
func leftOut(have []Disk, refusals []Refusal) (unfit map[string]bool, refused string) {
	unfit = map[string]bool{}
	for _, r := range refusals {
		if r.Disk == "" || slices.ContainsFunc(have, func(d Disk) bool { return d.Name == r.Disk }) {
			return nil, r.Sentence
		}
		unfit[r.Disk] = true
	}
	return unfit, ""
}

// leaveOut takes care of the disks that the point does not hold: a new VM is
// without them, one that is replaced keeps them as it has them now.
func (r *rebuilder) leaveOut(spec object, unfit map[string]bool) {
	now := map[string]object{} // volume -> as the replaced VM has it
	var devicesNow object
	if r.o.Replace != nil {
		template := child(r.o.Replace.Object, "spec", "template", "spec")
		devicesNow = child(template, "domain", "devices")
		for _, v := range children(template, "volumes") {
			now[text(v, "name")] = v
		}
	}
	var volumes []any
	for _, v := range children(spec, "volumes") {
		name := text(v, "name")
		if _, restored := r.out.Claims[name]; restored || claimOf(v) == "" && !unfit[name] {
			volumes = append(volumes, v)
			continue
		}
		mine, stays := now[name]
		if !stays {
			r.note("disk %s is not in the backup: the VM is restored without it", name)
			device(spec, name, nil)
			continue
		}
		volumes = append(volumes, standalone(mine))
		r.kept[name] = true
		device(spec, name, devicesNow)
		on := ""
		if claim := claimOf(mine); claim != "" {
			on = ", on claim " + claim
		}
		r.note("disk %s is not in the backup: it stays as it is%s", name, on)
	}
	if spec["volumes"] != nil {
		spec["volumes"] = volumes
	}
}

// standalone is a volume on the claim of its DataVolume, if it has one: no
// template makes that again.
func standalone(v object) object {
	dv := child(v, "dataVolume")
	if dv == nil {
		return v
	}
	source := object{"claimName": text(dv, "name")}
	if truth(dv, "hotpluggable") {
		source["hotpluggable"] = true
	}
	return object{"name": text(v, "name"), "persistentVolumeClaim": source}
}

// device replaces the devices of a volume by those that it has among from.
func device(spec object, name string, from object) {
	devices := child(spec, "domain", "devices")
	for _, kind := range []string{"disks", "filesystems"} {
		of := func(e any) bool { m, _ := e.(object); return text(m, "name") == name }
		had := list(devices, kind)
		kept := slices.DeleteFunc(slices.Clone(had), of)
		for _, d := range children(from, kind) {
			if text(d, "name") == name {
				kept = append(kept, d)
			}
		}
		if len(had) > 0 || len(kept) > 0 {
			devices[kind] = kept
		}
	}
}
