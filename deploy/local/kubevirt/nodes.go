package kubevirt

import (
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	virt "kubevirt.io/api/core/v1"
)

// nodes chooses where instances run.
type nodes struct {
	names []string

	mu   sync.Mutex
	next int
}

// choose gives an instance the node that it names, by annotation or nodeSelector, or the next one in turn. The second
// result says why there is none, in the scheduler's place.
func (n *nodes) choose(vmi *virt.VirtualMachineInstance) (node, problem string) {
	wanted := vmi.Annotations[NodeAnnotation]
	if wanted == "" {
		wanted = vmi.Spec.NodeSelector[corev1.LabelHostname]
	}
	if wanted == "" {
		n.mu.Lock()
		defer n.mu.Unlock()
		node = n.names[n.next%len(n.names)]
		n.next++
		return node, ""
	}
	if !slices.Contains(n.names, wanted) {
		return "", fmt.Sprintf("0/%d nodes are available: %d node(s) didn't match the node selector %q", len(n.names), len(n.names), wanted)
	}
	return wanted, ""
}

// other gives an instance that migrates another node than its own, "" when there is none that it may run on. The
// stand-in's annotation says only where it starts.
func (n *nodes) other(vmi *virt.VirtualMachineInstance, added map[string]string) string {
	wanted := vmi.Spec.NodeSelector[corev1.LabelHostname]
	if wanted == "" {
		wanted = added[corev1.LabelHostname]
	}
	own := slices.Index(n.names, vmi.Status.NodeName)
	for i := range n.names {
		next := n.names[(own+1+i)%len(n.names)]
		if next != vmi.Status.NodeName && (wanted == "" || wanted == next) {
			return next
		}
	}
	return ""
}
