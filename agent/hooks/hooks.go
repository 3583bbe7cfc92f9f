// Package hooks reads from the annotations of a VM's pod what is to be run in it
// before the VM's disks are cut, and what afterwards. The annotations are those of
// Velero under names of Hayloft's: a VM says them in its template, and KubeVirt
// hands them on to the instance and the pod.
//
// It runs nothing. The agent reads them of the instance, to know what a failure
// means for the point; the pauser reads them of the pod itself, to know what to
// run, since nobody else is to tell it commands.
package hooks

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Prefixes of the annotations: each with command, container, timeout and on-error.
const (
	Before = "pre.hook.hayloft.dev"
	After  = "post.hook.hayloft.dev"
)

const (
	// compute is the container of a virt-launcher pod in which the VM runs.
	compute = "compute"
	// usualTimeout is Velero's. maxTimeout leaves both hooks and the cuts time
	// within the deadline of a cut.
	usualTimeout, maxTimeout = 30 * time.Second, 5 * time.Minute
)

// Hook is one command.
type Hook struct {
	Command   []string // program and arguments; no shell is involved
	Container string
	Timeout   time.Duration
	// Must: the point fails with the hook.
	Must bool
}

// Hooks are a VM's; nil: none.
type Hooks struct {
	Before, After *Hook
}

// Ran tells how a hook ended. Its zero value: there was none to run.
type Ran struct {
	Declared bool
	Error    string // empty: it ended with exit code 0
	Took     time.Duration
}

// Parse reads annotations; those that are not about hooks are passed over. An
// error names the annotation, its value and what it may be.
func Parse(annotations map[string]string) (Hooks, error) {
	before, err := parse(annotations, Before)
	if err != nil {
		return Hooks{}, err
	}
	after, err := parse(annotations, After)
	if err != nil {
		return Hooks{}, err
	}
	return Hooks{Before: before, After: after}, nil
}

func parse(annotations map[string]string, prefix string) (*Hook, error) {
	// A point without what its hook was to see to may be worth nothing; when the one
	// afterwards fails, the disks are cut and good.
	h := Hook{Container: compute, Timeout: usualTimeout, Must: prefix == Before}
	said := ""
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		name, ours := strings.CutPrefix(key, prefix+"/")
		if !ours {
			continue
		}
		said = key
		value := annotations[key]
		var err error
		switch name {
		case "command":
			h.Command, err = command(value)
		case "container":
			if h.Container = value; value == "" {
				err = fmt.Errorf("give the name of a container of the pod, or leave it out for %s", compute)
			}
		case "timeout":
			h.Timeout, err = time.ParseDuration(value)
			if err != nil || h.Timeout <= 0 || h.Timeout > maxTimeout {
				err = fmt.Errorf("give a duration of up to %s, such as 30s", maxTimeout)
			}
		case "on-error":
			if h.Must = value == "Fail"; !h.Must && value != "Continue" {
				err = fmt.Errorf("give Fail or Continue")
			}
		default:
			err = fmt.Errorf("there is no such annotation: give command, container, timeout or on-error")
		}
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %q: %w", key, value, err)
		}
	}
	switch {
	case said == "":
		return nil, nil
	case len(h.Command) == 0:
		return nil, fmt.Errorf("annotation %s is without %s/command: give the command to run", said, prefix)
	}
	return &h, nil
}

// command is a JSON array of program and arguments, or a program's path.
func command(value string) ([]string, error) {
	if !strings.HasPrefix(value, "[") {
		if value == "" {
			return nil, fmt.Errorf(`give a program's path, or an array such as ["/bin/sync", "-f", "/data"]`)
		}
		return []string{value}, nil
	}
	var out []string
	if err := json.Unmarshal([]byte(value), &out); err != nil || len(out) == 0 || out[0] == "" {
		return nil, fmt.Errorf(`give a program's path, or an array such as ["/bin/sync", "-f", "/data"]`)
	}
	return out, nil
}
