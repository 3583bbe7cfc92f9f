package kubevirt

import (
	"fmt"
	"time"

	virt "kubevirt.io/api/core/v1"
)

// action is what a VM's run strategy wants now.
type action struct {
	start, stop bool
	again       bool          // with stop: ask for a new instance once this one is gone
	unhalt      bool          // change runStrategy Halted to Always
	wait        time.Duration // look again after this long; 0: when something changes
}

// decide applies the run strategy. vmi is nil when there is no instance.
func decide(vm *virt.VirtualMachine, vmi *virt.VirtualMachineInstance, strategy virt.VirtualMachineRunStrategy, now time.Time) (action, error) {
	asked := request(vm)
	mustStop := vmi != nil && asked != nil && asked.Action == virt.StopRequest && asked.UID != nil && *asked.UID == vmi.UID
	mustStart := asked != nil && asked.Action == virt.StartRequest
	if vmi != nil && vmi.DeletionTimestamp != nil {
		return action{}, nil // its end is awaited
	}
	switch strategy {
	case virt.RunStrategyAlways:
		if vmi != nil {
			return action{stop: mustStop || vmi.IsFinal()}, nil
		}
		return startAfterBackoff(vm, now), nil
	case virt.RunStrategyRerunOnFailure:
		if vmi != nil {
			return action{stop: mustStop || vmi.IsFinal(), again: vmi.Status.Phase == virt.Failed}, nil
		}
		// Without a request it starts only when the VM comes here from another strategy.
		if !mustStart && vm.Status.RunStrategy == strategy {
			return action{}, nil
		}
		return startAfterBackoff(vm, now), nil
	case virt.RunStrategyManual:
		return action{stop: mustStop, start: vmi == nil && mustStart}, nil
	case virt.RunStrategyHalted:
		return action{stop: vmi != nil, unhalt: vmi == nil && mustStart}, nil
	case virt.RunStrategyOnce:
		return action{start: vmi == nil}, nil
	default:
		return action{}, fmt.Errorf("run strategy %q is not one that is known here", strategy)
	}
}

// request is the first of the VM's state change requests: one is looked at at a time.
func request(vm *virt.VirtualMachine) *virt.VirtualMachineStateChangeRequest {
	if len(vm.Status.StateChangeRequests) == 0 {
		return nil
	}
	return &vm.Status.StateChangeRequests[0]
}

// isRequestDone tells whether the first request has been met or makes no sense any more.
func isRequestDone(vm *virt.VirtualMachine, vmi *virt.VirtualMachineInstance) bool {
	asked := request(vm)
	switch {
	case asked == nil:
		return false
	case asked.Action == virt.StopRequest:
		return vmi == nil || asked.UID == nil || *asked.UID != vmi.UID
	case asked.Action == virt.StartRequest:
		return vmi != nil && vmi.DeletionTimestamp == nil && !vmi.IsFinal()
	default:
		return false
	}
}

// isSetToStart tells whether an instance is wanted, for the VM's status.
func isSetToStart(vm *virt.VirtualMachine, vmi *virt.VirtualMachineInstance, strategy virt.VirtualMachineRunStrategy) bool {
	asked := request(vm)
	switch strategy {
	case virt.RunStrategyAlways:
		return true
	case virt.RunStrategyManual:
		if vmi != nil {
			return asked == nil || asked.Action != virt.StopRequest
		}
		return asked != nil && asked.Action == virt.StartRequest
	case virt.RunStrategyRerunOnFailure:
		return vmi == nil || vmi.Status.Phase != virt.Succeeded
	case virt.RunStrategyOnce:
		return vmi == nil
	default:
		return false
	}
}

// startBackoff is added for each start in a row that failed before the guest was up.
const startBackoff = time.Second

// maxStartBackoff bounds it.
const maxStartBackoff = 30 * time.Second

func startAfterBackoff(vm *virt.VirtualMachine, now time.Time) action {
	if f := vm.Status.StartFailure; f != nil && f.RetryAfterTimestamp != nil {
		if left := f.RetryAfterTimestamp.Sub(now); left > 0 {
			return action{wait: left}
		}
	}
	return action{start: true}
}

// backoff is how long the next start waits after so many failed ones.
func backoff(failures int) time.Duration {
	return min(time.Duration(failures)*startBackoff, maxStartBackoff)
}

// wasRunning tells whether an instance ever got as far.
func wasRunning(vmi *virt.VirtualMachineInstance) bool {
	for _, t := range vmi.Status.PhaseTransitionTimestamps {
		if t.Phase == virt.Running {
			return true
		}
	}
	return false
}
