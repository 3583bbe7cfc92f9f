package quiesce

import (
	"context"
	"fmt"
	"slices"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Volumes tells who has a Longhorn volume.
type Volumes interface {
	// Use is the PersistentVolume of a volume, "" when Longhorn does not say it, and
	// the nodes on which workloads have it attached.
	Use(ctx context.Context, volume string) (persistent string, nodes []string, err error)
}

// use is what Volumes says of a volume.
type use struct {
	volume, persistent string
	nodes              []string
}

// pausesOthers: what else has the disks of a VM mounted is to be paused. A point that
// requires its guest to be frozen asks for no pause, as one that only freezes.
func pausesOthers(g v1alpha1.CutGuest) bool {
	if g.Policy == v1alpha1.QuiesceNever || g.Method == v1alpha1.QuiesceFreeze {
		return false
	}
	return g.Method == v1alpha1.QuiescePause || g.Policy != v1alpha1.QuiesceRequired
}

// beside adds to what was found of a guest how to pause what else has its disks, by
// the agent of node. Nothing can have a disk mounted on a node where Kubernetes has not
// asked for its volume. A VM whose disks others go on writing to is not paused: it would
// be of one moment with nothing.
func beside(found Guest, node string, uses []use) Guest {
	for _, u := range uses {
		for _, on := range u.nodes {
			switch {
			case on == node && u.persistent == "":
				found.Unreached = fmt.Sprintf("Longhorn does not say yet of which PersistentVolume volume %s is, so what has it mounted is not known", u.volume)
			case on == node:
				found.Beside = append(found.Beside, u.persistent)
			case !found.isOn(on):
				found.Unreached = fmt.Sprintf("volume %s is attached on node %q for something else, and the agent of node %q cuts the disks, which can pause nothing there", u.volume, on, node)
			}
			if !found.isOn(on) && !slices.Contains(found.UsedOn, on) {
				found.UsedOn = append(found.UsedOn, on)
			}
		}
	}
	if found.Way == ByPause && found.Unreached != "" {
		found.Way, found.Why = "", found.Unreached
		found.Beside, found.Unreached = nil, ""
	}
	return found
}

// isOn: the VM runs on that node, or comes to it.
func (g Guest) isOn(node string) bool {
	if g.Running && g.Node == node {
		return true
	}
	for _, on := range g.Pods {
		if on == node {
			return true
		}
	}
	return false
}
