package vmspec

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Off says in a sentence why a VM does not count as switched off, and what to
// do; "": it is off, and only a change of the VM can start it. vmi is its
// instance, read after the VM; nil: there is none. The rules are those by which
// KubeVirt's VM controller starts instances.
func Off(vm, vmi *unstructured.Unstructured) string {
	name := vm.GetName()
	phase := ""
	if vmi != nil {
		phase = text(child(vmi.Object, "status"), "phase")
	}
	over := phase == "Succeeded" || phase == "Failed" // the guest has ended
	if vmi != nil && !over {
		return fmt.Sprintf("VirtualMachine %s is running (%s): shut it down, or stop it (virtctl stop %s), and create the restore again", name, orStarting(phase), name)
	}
	spec, status := child(vm.Object, "spec"), child(vm.Object, "status")
	strategy := text(spec, "runStrategy")
	if strategy == "" && truth(spec, "running") {
		strategy = "Always"
	}
	for _, r := range children(status, "stateChangeRequests") {
		if text(r, "action") == "Start" {
			return fmt.Sprintf("VirtualMachine %s was asked to start: stop it (virtctl stop %s), and create the restore again", name, name)
		}
	}
	byItself := false
	switch strategy {
	case "Always":
		byItself = true
	case "RerunOnFailure":
		// It starts when it comes from another strategy, and after a failure.
		byItself = text(status, "runStrategy") != strategy || phase == "Failed"
	case "Once":
		byItself = vmi == nil
	}
	if byItself {
		return fmt.Sprintf("VirtualMachine %s starts by itself (run strategy %s): stop it (virtctl stop %s), and create the restore again", name, strategy, name)
	}
	// Any other word of printableStatus follows from the instance, and may lag.
	if text(status, "printableStatus") == "Provisioning" {
		return fmt.Sprintf("the disks of VirtualMachine %s are being filled (Provisioning): wait until it is Stopped, and create the restore again", name)
	}
	return ""
}

func orStarting(phase string) string {
	if phase == "" {
		return "Starting"
	}
	return phase
}
