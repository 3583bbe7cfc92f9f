package kubevirt

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"
	virt "kubevirt.io/api/core/v1"

	"hayloft.dev/deploy/local/guest"
	"hayloft.dev/deploy/local/proc"
)

// noPod is the UID of the pod in which an instance would run on a node whose guest is in none.
func noPod(vmi *virt.VirtualMachineInstance, node string) types.UID {
	return types.UID(fmt.Sprintf("%s-on-%s", vmi.UID, node))
}

// setPods tells in which pods an instance runs, as virt-controller does.
func (g *guests) setPods(vmi *virt.VirtualMachineInstance) {
	uid := noPod(vmi, vmi.Status.NodeName)
	if p, is := g.get(vmi).(*podGuest); is {
		uid = p.pod.UID
	}
	vmi.Status.ActivePods = map[types.UID]string{uid: vmi.Status.NodeName}
}

// spec is the process of a guest: itself, or ctr (of Debian's containerd) that runs it in a container with the labels
// that a kubelet gives the compute container of a virt-launcher pod.
func (g *guests) spec(vmi *virt.VirtualMachineInstance, node string, o guest.Options) (proc.Spec, error) {
	s := proc.Spec{
		Kind: "guest", Name: vmi.Namespace + "-" + vmi.Name, Path: g.self, Args: guest.Args(o),
		Labels: map[string]string{"namespace": vmi.Namespace, "vm": vmi.Name},
	}
	socket := vmi.Annotations[ContainerdAnnotation]
	if socket == "" {
		return s, nil
	}
	self, err := filepath.Abs(g.self)
	if err != nil {
		return s, fmt.Errorf("finding this program: %w", err)
	}
	control := filepath.Dir(o.Control)
	root := filepath.Join(control, string(vmi.UID))
	if err := os.MkdirAll(root, 0o755); err != nil {
		return s, fmt.Errorf("making a root for the guest's container: %w", err)
	}
	args := []string{"--address", socket, "--namespace", "k8s.io", "run", "--rm", "--net-host", "--rootfs"}
	for _, mount := range []string{
		"type=bind,src=" + self + ",dst=/guest,options=bind:ro",
		"type=bind,src=/var/run,dst=/var/run,options=bind:rw", // the engines' sockets
		"type=bind,src=" + control + ",dst=" + control + ",options=bind:rw",
	} {
		args = append(args, "--mount", mount)
	}
	for _, label := range []string{
		"io.cri-containerd.kind=container",
		"io.kubernetes.container.name=compute",
		"io.kubernetes.pod.namespace=" + vmi.Namespace,
		"io.kubernetes.pod.name=virt-launcher-" + vmi.Name,
		"io.kubernetes.pod.uid=" + string(noPod(vmi, node)),
	} {
		args = append(args, "--label", label)
	}
	args = append(args, root, "guest-"+string(vmi.UID), "/guest")
	s.Path, s.Args = "ctr", append(args, s.Args...)
	return s, nil
}
