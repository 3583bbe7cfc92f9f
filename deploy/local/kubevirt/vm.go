package kubevirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	virt "kubevirt.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Annotations on a VM that are this stand-in's own.
const (
	WriteIntervalAnnotation = "local.hayloft.dev/write-interval"
	NodeAnnotation          = "local.hayloft.dev/node"
	GuestAgentAnnotation    = "local.hayloft.dev/guest-agent"
	FreezeFaultAnnotation   = "local.hayloft.dev/freeze-fault"
	MigrationAnnotation     = "local.hayloft.dev/migration"
	ContainerdAnnotation    = "local.hayloft.dev/containerd"
	PodAnnotation           = "local.hayloft.dev/pod"
)

// AgentConnected is the annotation's value for a guest with an agent. All others are without one.
const AgentConnected = "connected"

// waitInterval is how often something that no watched object tells is looked at again.
const waitInterval = 250 * time.Millisecond

// vms takes care of the VirtualMachines.
type vms struct {
	client client.Client
	claims claims
	log    *slog.Logger
}

// syncError is a failure that the VM's condition Failure shows under a reason.
type syncError struct {
	reason string
	err    error
}

func (e *syncError) Error() string { return e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

func (r *vms) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("virtualmachine").
		For(&virt.VirtualMachine{}).
		Owns(&virt.VirtualMachineInstance{}).
		Complete(r)
}

// Reconcile brings a VM's instance in line with its spec and then tells the VM's status.
func (r *vms) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var vm virt.VirtualMachine
	if err := r.client.Get(ctx, req.NamespacedName, &vm); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	vmi, err := r.instance(ctx, &vm)
	if err != nil {
		return ctrl.Result{}, err
	}
	before := vm.DeepCopy()
	var wait time.Duration
	var failure *syncError
	if vm.DeletionTimestamp != nil {
		err = r.end(ctx, &vm, vmi)
	} else {
		wait, failure, err = r.sync(ctx, &vm, vmi)
	}
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: waitInterval}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if failure != nil {
		wait = time.Second // what it needs may appear; nothing tells
	}
	if err := r.tell(ctx, before, &vm, failure); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: wait}, nil
}

// instance is the VM's instance, nil for none. One of that name that belongs to somebody else is an error.
func (r *vms) instance(ctx context.Context, vm *virt.VirtualMachine) (*virt.VirtualMachineInstance, error) {
	var vmi virt.VirtualMachineInstance
	err := r.client.Get(ctx, client.ObjectKeyFromObject(vm), &vmi)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !metav1.IsControlledBy(&vmi, vm) {
		return nil, fmt.Errorf("the instance %s is not this VM's", vmi.Name)
	}
	return &vmi, nil
}

// end lets a deleted VM go once its instance is gone.
func (r *vms) end(ctx context.Context, vm *virt.VirtualMachine, vmi *virt.VirtualMachineInstance) error {
	if vmi != nil {
		return r.stop(ctx, vmi)
	}
	return r.setFinalizers(ctx, vm, slices.DeleteFunc(slices.Clone(vm.Finalizers), func(f string) bool {
		return f == virt.VirtualMachineControllerFinalizer
	}))
}

// sync does one step. It asks to be called again after wait, if that is not 0.
func (r *vms) sync(ctx context.Context, vm *virt.VirtualMachine, vmi *virt.VirtualMachineInstance) (wait time.Duration, _ *syncError, _ error) {
	if !slices.Contains(vm.Finalizers, virt.VirtualMachineControllerFinalizer) {
		err := r.setFinalizers(ctx, vm, append(slices.Clone(vm.Finalizers), virt.VirtualMachineControllerFinalizer))
		if err != nil {
			return 0, nil, err
		}
	}
	strategy, err := vm.RunStrategy()
	if err != nil {
		return 0, &syncError{"FailedCreate", err}, nil
	}
	if vm.Spec.Template == nil {
		return 0, &syncError{"FailedCreate", errors.New("spec.template is missing")}, nil
	}
	if failure, err := findInstancetypes(ctx, r.client, vm); failure != nil || err != nil {
		return 0, failure, err
	}
	ready, err := r.claims.ensure(ctx, vm)
	if err != nil {
		return 0, &syncError{"FailedCreate", fmt.Errorf("making the VM's claims: %w", err)}, nil
	}
	if !ready && strategy != virt.RunStrategyHalted {
		return waitInterval, nil, nil
	}
	act, err := decide(vm, vmi, strategy, time.Now())
	if err != nil {
		return 0, &syncError{"FailedCreate", err}, nil
	}
	wait = act.wait
	if !ready {
		wait = waitInterval
	}
	switch {
	case act.stop:
		if act.again {
			if err := r.askForStart(ctx, vm); err != nil {
				return 0, nil, err
			}
		}
		return wait, nil, r.stop(ctx, vmi)
	case act.unhalt:
		return wait, nil, r.unhalt(ctx, vm)
	case act.start:
		if _, err := writeInterval(vm.Annotations); err != nil {
			return 0, &syncError{"FailedCreate", err}, nil
		}
		err := r.client.Create(ctx, newInstance(vm))
		if apierrors.IsAlreadyExists(err) {
			return waitInterval, nil, nil
		}
		if err != nil {
			return 0, &syncError{"FailedCreate", fmt.Errorf("failure while starting VMI: %w", err)}, nil
		}
		r.log.Info("starting VM", "namespace", vm.Namespace, "vm", vm.Name)
	}
	return wait, nil, nil
}

func (r *vms) stop(ctx context.Context, vmi *virt.VirtualMachineInstance) error {
	if vmi.DeletionTimestamp != nil {
		return nil
	}
	r.log.Info("stopping VM", "namespace", vmi.Namespace, "vm", vmi.Name, "phase", vmi.Status.Phase)
	err := r.client.Delete(ctx, vmi, client.Preconditions{UID: &vmi.UID})
	return client.IgnoreNotFound(err)
}

// askForStart leaves a start request behind the instance that is about to be deleted. It is written first: without it
// nobody would know later that there is to be a next instance.
func (r *vms) askForStart(ctx context.Context, vm *virt.VirtualMachine) error {
	if asked := request(vm); asked != nil && asked.Action == virt.StartRequest {
		return nil
	}
	updated := vm.DeepCopy()
	updated.Status.StateChangeRequests = append(updated.Status.StateChangeRequests, virt.VirtualMachineStateChangeRequest{Action: virt.StartRequest})
	if err := r.client.Status().Update(ctx, updated); err != nil {
		return fmt.Errorf("asking for the next start of VM %s: %w", vm.Name, err)
	}
	vm.ResourceVersion, vm.Status = updated.ResourceVersion, updated.Status
	return nil
}

// unhalt turns a start request for a halted VM into its spec.
func (r *vms) unhalt(ctx context.Context, vm *virt.VirtualMachine) error {
	spec := map[string]any{"running": true}
	if vm.Spec.RunStrategy != nil {
		spec = map[string]any{"runStrategy": virt.RunStrategyAlways}
	}
	return r.patch(ctx, vm, map[string]any{"spec": spec})
}

func (r *vms) setFinalizers(ctx context.Context, vm *virt.VirtualMachine, finalizers []string) error {
	err := r.patch(ctx, vm, map[string]any{"metadata": map[string]any{"finalizers": finalizers, "resourceVersion": vm.ResourceVersion}})
	return client.IgnoreNotFound(err)
}

// patch changes only what it names: an update would drop fields of the VM that this program does not know. Status, which the
// caller may have changed already, is kept.
func (r *vms) patch(ctx context.Context, vm *virt.VirtualMachine, change map[string]any) error {
	raw, err := json.Marshal(change)
	if err != nil {
		return err
	}
	patched := vm.DeepCopy()
	if err := r.client.Patch(ctx, patched, client.RawPatch(types.MergePatchType, raw)); err != nil {
		return fmt.Errorf("changing VM %s: %w", vm.Name, err)
	}
	vm.ObjectMeta, vm.Spec = patched.ObjectMeta, patched.Spec
	return nil
}

// tell writes the VM's status, if it changed.
func (r *vms) tell(ctx context.Context, before, vm *virt.VirtualMachine, failure *syncError) error {
	vmi, err := r.instance(ctx, vm)
	if err != nil {
		return err
	}
	if vm.DeletionTimestamp != nil && len(vm.Finalizers) == 0 {
		return nil // it is gone
	}
	f := facts{now: time.Now(), failure: failure, isPopulating: r.claims.populator.isBusy(vm)}
	if f.hasUnbound, err = r.claims.hasUnbound(ctx, vm); err != nil {
		return err
	}
	setStatus(vm, vmi, f)
	if !equality.Semantic.DeepEqual(before.Status, vm.Status) {
		if err := r.client.Status().Update(ctx, vm.DeepCopy()); err != nil {
			if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
				return nil // there is an event for what changed it
			}
			return fmt.Errorf("writing the status of VM %s: %w", vm.Name, err)
		}
	}
	return nil
}

// newInstance is the instance of a VM, from its template.
func newInstance(vm *virt.VirtualMachine) *virt.VirtualMachineInstance {
	vmi := &virt.VirtualMachineInstance{
		ObjectMeta: *vm.Spec.Template.ObjectMeta.DeepCopy(),
		Spec:       *vm.Spec.Template.Spec.DeepCopy(),
	}
	vmi.Name, vmi.GenerateName, vmi.Namespace = vm.Name, "", vm.Namespace
	vmi.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(vm, virt.VirtualMachineGroupVersionKind)}
	vmi.Finalizers = append(vmi.Finalizers, virt.VirtualMachineInstanceFinalizer)
	for _, own := range []string{WriteIntervalAnnotation, NodeAnnotation, GuestAgentAnnotation, ContainerdAnnotation, PodAnnotation} {
		if value, ok := vm.Annotations[own]; ok {
			if vmi.Annotations == nil {
				vmi.Annotations = map[string]string{}
			}
			vmi.Annotations[own] = value
		}
	}
	return vmi
}

func hasAgent(vmi *virt.VirtualMachineInstance) bool {
	return vmi.Annotations[GuestAgentAnnotation] == AgentConnected
}

// writeInterval reads the annotation; without one it is 50 ms.
func writeInterval(annotations map[string]string) (time.Duration, error) {
	value, ok := annotations[WriteIntervalAnnotation]
	if !ok {
		return 50 * time.Millisecond, nil
	}
	interval, err := time.ParseDuration(value)
	if err != nil || interval < 0 {
		return 0, fmt.Errorf("annotation %s: %q is not a duration such as 50ms", WriteIntervalAnnotation, value)
	}
	return interval, nil
}
