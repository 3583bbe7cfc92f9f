package subresource

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func (s *Server) ofMachines() map[string]action { // subresource -> what it does
	return map[string]action{"start": s.start, "stop": s.stop, "restart": s.restart}
}

// start changes the run strategy of a halted VM, and leaves a request for the controller otherwise.
func (s *Server) start(r *http.Request, namespace, name string) (int, error) {
	var options virt.StartOptions
	if err := decode(r, &options); err != nil {
		return 0, err
	}
	if options.Paused {
		return 0, apierrors.NewBadRequest("paused: true cannot be asked for here: this is a stand-in for KubeVirt that starts no VM paused")
	}
	vm, vmi, strategy, err := s.read(r.Context(), namespace, name)
	if err != nil {
		return 0, err
	}
	if vmi != nil && !vmi.IsFinal() && vmi.Status.Phase != virt.Unknown && vmi.Status.Phase != virt.VmPhaseUnset {
		return 0, conflict(name, "VM is already running")
	}
	again := virt.VirtualMachineStateChangeRequest{Action: virt.StartRequest}
	switch strategy {
	case virt.RunStrategyHalted:
		return s.setRunning(r.Context(), vm, true)
	case virt.RunStrategyRerunOnFailure, virt.RunStrategyManual:
		if vmi == nil {
			return s.ask(r.Context(), vm, again)
		}
		if strategy == virt.RunStrategyRerunOnFailure && vmi.Status.Phase == virt.Failed {
			return 0, conflict(name, fmt.Sprintf("%v does not support starting VM from failed state", strategy))
		}
		return s.ask(r.Context(), vm, virt.VirtualMachineStateChangeRequest{Action: virt.StopRequest, UID: &vmi.UID}, again)
	default:
		return 0, conflict(name, fmt.Sprintf("%v does not support manual start requests", strategy))
	}
}

// stop changes the run strategy of a VM that would come back, and leaves a request otherwise.
func (s *Server) stop(r *http.Request, namespace, name string) (int, error) {
	var options virt.StopOptions
	if err := decode(r, &options); err != nil {
		return 0, err
	}
	vm, vmi, strategy, err := s.read(r.Context(), namespace, name)
	if err != nil {
		return 0, err
	}
	switch strategy {
	case virt.RunStrategyAlways, virt.RunStrategyOnce:
		return s.setRunning(r.Context(), vm, false)
	}
	if vmi == nil || vmi.IsFinal() {
		return 0, conflict(name, "VM is not running")
	}
	if strategy == virt.RunStrategyHalted && options.GracePeriod == nil {
		return 0, conflict(name, fmt.Sprintf("%v only supports manual stop requests with a shorter graceperiod", strategy))
	}
	return s.ask(r.Context(), vm, virt.VirtualMachineStateChangeRequest{Action: virt.StopRequest, UID: &vmi.UID})
}

// restart leaves two requests.
func (s *Server) restart(r *http.Request, namespace, name string) (int, error) {
	var options virt.RestartOptions
	if err := decode(r, &options); err != nil {
		return 0, err
	}
	switch seconds := options.GracePeriodSeconds; {
	case seconds == nil:
	case *seconds > 0:
		return 0, apierrors.NewBadRequest("For force restart, only gracePeriod=0 is supported for now")
	case *seconds < 0:
		return 0, apierrors.NewBadRequest("gracePeriod has to be greater or equal to 0")
	}
	vm, vmi, strategy, err := s.read(r.Context(), namespace, name)
	if err != nil {
		return 0, err
	}
	if strategy == virt.RunStrategyHalted || strategy == virt.RunStrategyOnce {
		return 0, conflict(name, fmt.Sprintf("RunStategy %v does not support manual restart requests", strategy))
	}
	if vmi == nil {
		return 0, conflict(name, fmt.Sprintf("VM is not running: %v", virt.RunStrategyHalted))
	}
	return s.ask(r.Context(), vm,
		virt.VirtualMachineStateChangeRequest{Action: virt.StopRequest, UID: &vmi.UID},
		virt.VirtualMachineStateChangeRequest{Action: virt.StartRequest})
}

// read reads a VM and its instance, which is nil when there is none.
func (s *Server) read(ctx context.Context, namespace, name string) (*virt.VirtualMachine, *virt.VirtualMachineInstance, virt.VirtualMachineRunStrategy, error) {
	key := client.ObjectKey{Namespace: namespace, Name: name}
	var vm virt.VirtualMachine
	if err := s.client.Get(ctx, key, &vm); err != nil {
		return nil, nil, "", err
	}
	strategy, err := vm.RunStrategy()
	if err != nil {
		return nil, nil, "", apierrors.NewInternalError(err)
	}
	var vmi virt.VirtualMachineInstance
	err = s.client.Get(ctx, key, &vmi)
	if apierrors.IsNotFound(err) {
		return &vm, nil, strategy, nil
	}
	if err != nil {
		return nil, nil, "", apierrors.NewInternalError(err)
	}
	return &vm, &vmi, strategy, nil
}

// setRunning changes the spec in the form that it has. A VM that somebody changed meanwhile is a conflict.
func (s *Server) setRunning(ctx context.Context, vm *virt.VirtualMachine, isRunning bool) (int, error) {
	before := client.MergeFromWithOptions(vm.DeepCopy(), client.MergeFromWithOptimisticLock{})
	if vm.Spec.RunStrategy == nil {
		vm.Spec.Running = &isRunning
	} else {
		vm.Spec.RunStrategy = new(virt.RunStrategyHalted)
		if isRunning {
			vm.Spec.RunStrategy = new(virt.RunStrategyAlways)
		}
	}
	return http.StatusAccepted, s.client.Patch(ctx, vm, before)
}

// ask leaves requests in the VM's status. A single one to stop takes the place of those that are there.
func (s *Server) ask(ctx context.Context, vm *virt.VirtualMachine, changes ...virt.VirtualMachineStateChangeRequest) (int, error) {
	isStop := len(changes) == 1 && changes[0].Action == virt.StopRequest
	if len(vm.Status.StateChangeRequests) > 0 && !isStop {
		return 0, apierrors.NewInternalError(errors.New("unable to complete request: stop/start already underway"))
	}
	before := client.MergeFromWithOptions(vm.DeepCopy(), client.MergeFromWithOptimisticLock{})
	vm.Status.StateChangeRequests = changes
	vm.Status.StartFailure = nil
	return http.StatusAccepted, s.client.Status().Patch(ctx, vm, before)
}

func conflict(name, message string) error {
	return apierrors.NewConflict(machineResource, name, errors.New(message))
}
