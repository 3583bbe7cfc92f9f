package kubevirt

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	virt "kubevirt.io/api/core/v1"
)

// pvcNotFound is the reason of an instance that waits for a claim.
const pvcNotFound = "FailedPvcNotFound"

// facts is what a VM's status depends on besides the VM and its instance.
type facts struct {
	now          time.Time
	failure      *syncError // why the last step failed; nil: it did not
	isPopulating bool       // a DataVolume of the VM is being written
	hasUnbound   bool       // a claim of the VM exists and is not bound
}

// setStatus computes the VM's status. vmi is nil when there is no instance.
func setStatus(vm *virt.VirtualMachine, vmi *virt.VirtualMachineInstance, f facts) {
	s := &vm.Status
	strategy, _ := vm.RunStrategy() // an error is in f.failure
	s.Created = vmi != nil
	s.Ready = vmi != nil && hasCondition(vmi, virt.VirtualMachineInstanceReady, corev1.ConditionTrue, "")
	if s.RunStrategy != "" || s.Created {
		s.RunStrategy = strategy // empty for a VM that never started
	}
	if s.Created {
		s.ObservedGeneration, s.DesiredGeneration = vm.Generation, vm.Generation
	}
	if isRequestDone(vm, vmi) {
		s.StateChangeRequests = s.StateChangeRequests[1:]
	}
	if len(s.StateChangeRequests) == 0 {
		s.StateChangeRequests = nil // as it is read back
	}
	setStartFailure(vm, vmi, strategy, f.now)
	setConditions(vm, vmi, f)
	s.PrintableStatus = printable(vm, vmi, strategy, f)
}

// printable is the status in a word. Several may be true; the order is KubeVirt's.
func printable(vm *virt.VirtualMachine, vmi *virt.VirtualMachineInstance, strategy virt.VirtualMachineRunStrategy, f facts) virt.VirtualMachinePrintableStatus {
	switch {
	case vm.DeletionTimestamp != nil:
		return virt.VirtualMachineStatusTerminating
	case vmi != nil && !vmi.IsFinal() && vmi.DeletionTimestamp != nil:
		return virt.VirtualMachineStatusStopping
	case vmi != nil && isMigrating(vmi):
		return virt.VirtualMachineStatusMigrating
	case hasCondition(vmi, virt.VirtualMachineInstancePaused, corev1.ConditionTrue, ""):
		return virt.VirtualMachineStatusPaused
	case vmi != nil && vmi.IsRunning():
		return virt.VirtualMachineStatusRunning
	case hasCondition(vmi, virt.VirtualMachineInstanceSynchronized, corev1.ConditionFalse, pvcNotFound):
		return virt.VirtualMachineStatusPvcNotFound
	case hasCondition(vmi, virt.VirtualMachineInstanceConditionType(corev1.PodScheduled), corev1.ConditionFalse, corev1.PodReasonUnschedulable):
		return virt.VirtualMachineStatusUnschedulable
	case f.isPopulating:
		return virt.VirtualMachineStatusProvisioning
	case f.hasUnbound && isSetToStart(vm, vmi, strategy):
		return virt.VirtualMachineStatusWaitingForVolumeBinding
	case vmi != nil && !vmi.IsFinal():
		return virt.VirtualMachineStatusStarting
	case vm.Status.StartFailure != nil && vm.Status.StartFailure.ConsecutiveFailCount > 0 && restarts(strategy):
		return virt.VirtualMachineStatusCrashLoopBackOff
	default:
		return virt.VirtualMachineStatusStopped
	}
}

func restarts(strategy virt.VirtualMachineRunStrategy) bool {
	return strategy == virt.RunStrategyAlways || strategy == virt.RunStrategyRerunOnFailure || strategy == virt.RunStrategyOnce
}

// setStartFailure counts starts in a row that failed before the guest was up.
func setStartFailure(vm *virt.VirtualMachine, vmi *virt.VirtualMachineInstance, strategy virt.VirtualMachineRunStrategy, now time.Time) {
	if vmi != nil && wasRunning(vmi) || !restarts(strategy) {
		vm.Status.StartFailure = nil
		return
	}
	if vmi == nil || !vmi.IsFinal() {
		return
	}
	count := 1
	if former := vm.Status.StartFailure; former != nil {
		if former.LastFailedVMIUID == vmi.UID {
			return // counted already
		}
		count += former.ConsecutiveFailCount
	}
	retry := metav1.NewTime(now.Add(backoff(count)))
	vm.Status.StartFailure = &virt.VirtualMachineStartFailure{
		ConsecutiveFailCount: count, LastFailedVMIUID: vmi.UID, RetryAfterTimestamp: &retry,
	}
}

// setConditions copies the instance's conditions and says what failed.
func setConditions(vm *virt.VirtualMachine, vmi *virt.VirtualMachineInstance, f facts) {
	now := metav1.NewTime(f.now)
	var wanted []virt.VirtualMachineCondition
	if vmi == nil {
		wanted = append(wanted, virt.VirtualMachineCondition{
			Type: virt.VirtualMachineReady, Status: corev1.ConditionFalse, Reason: "VMINotExists", Message: "VMI does not exist",
		})
	} else {
		for _, c := range vmi.Status.Conditions {
			wanted = append(wanted, virt.VirtualMachineCondition{
				Type: virt.VirtualMachineConditionType(c.Type), Status: c.Status, Reason: c.Reason, Message: c.Message,
				LastTransitionTime: c.LastTransitionTime,
			})
		}
	}
	if f.failure != nil {
		wanted = append(wanted, virt.VirtualMachineCondition{
			Type: virt.VirtualMachineFailure, Status: corev1.ConditionTrue, Reason: f.failure.reason, Message: f.failure.Error(),
		})
	}
	for i := range wanted {
		w := &wanted[i]
		if w.LastTransitionTime.IsZero() {
			w.LastTransitionTime = now
		}
		for _, had := range vm.Status.Conditions {
			if had.Type == w.Type && had.Status == w.Status {
				w.LastTransitionTime = had.LastTransitionTime
			}
		}
	}
	vm.Status.Conditions = wanted
}

// hasCondition tells whether an instance, which may be nil, has a condition with a status and, if one is given, a reason.
func hasCondition(vmi *virt.VirtualMachineInstance, kind virt.VirtualMachineInstanceConditionType, status corev1.ConditionStatus, reason string) bool {
	if vmi == nil {
		return false
	}
	for _, c := range vmi.Status.Conditions {
		if c.Type == kind && c.Status == status && (reason == "" || c.Reason == reason) {
			return true
		}
	}
	return false
}
