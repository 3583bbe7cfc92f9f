package vmspec

import (
	"fmt"
	"slices"
	"strings"
)

// Select narrows what Inspect found to the disks that are wanted: those in
// include, or all but those in exclude; with neither, all. What is wrong with a
// disk that is left out does not matter any more; a name that the VM does not
// have does, since it may be a slip that leaves the wrong disk out.
func Select(c Contents, refusals []Refusal, include, exclude []string) (Contents, []Refusal) {
	if len(include)+len(exclude) == 0 {
		return c, refusals
	}
	known := map[string]bool{}
	var names []string
	note := func(name string) {
		if name != "" && !known[name] {
			known[name] = true
			names = append(names, name)
		}
	}
	for _, d := range c.Disks {
		note(d.Name)
	}
	for _, r := range refusals {
		note(r.Disk)
	}
	wanted := func(name string) bool {
		if len(include) > 0 {
			return slices.Contains(include, name)
		}
		return !slices.Contains(exclude, name)
	}

	var kept []Refusal
	for _, r := range refusals {
		if r.Disk == "" || wanted(r.Disk) {
			kept = append(kept, r)
		}
	}
	field, listed := "spec.includeDisks", include
	if len(include) == 0 {
		field, listed = "spec.excludeDisks", exclude
	}
	for _, name := range listed {
		if !known[name] {
			kept = append(kept, Refusal{Sentence: fmt.Sprintf("%s: the VM has no disk %q: its disks are %s", field, name, strings.Join(names, ", "))})
		}
	}

	all := c.Disks
	c.Disks = nil
	c.Warnings = slices.Clone(c.Warnings)
	for _, d := range all {
		if wanted(d.Name) {
			c.Disks = append(c.Disks, d)
			continue
		}
		c.Warnings = append(c.Warnings, fmt.Sprintf("disk %s (claim %s) was left out as %s says: a new VM that is made of the point lacks it", d.Name, d.Claim, field))
	}
	if len(c.Disks) == 0 && len(all) > 0 {
		kept = append(kept, Refusal{Sentence: fmt.Sprintf("%s leaves out every disk of the VM: there is nothing to back up", field)})
	}
	return c, kept
}
