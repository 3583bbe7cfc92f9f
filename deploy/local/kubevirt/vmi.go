package kubevirt

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	virt "kubevirt.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// fsFrozen is the status of an instance whose filesystems are frozen.
const fsFrozen = "frozen"

// attachInterval is how often an instance that is on its way up is looked at, and longestAttachInterval what that grows to while
// its volumes are being attached: the local stack does that in a tenth of a second, the real Longhorn in many.
const attachInterval, longestAttachInterval = 50 * time.Millisecond, 500 * time.Millisecond

// instances takes care of the VirtualMachineInstances: pod, attaching and guest in one.
type instances struct {
	client  client.Client
	guests  *guests
	tickets tickets
	nodes   *nodes
	log     *slog.Logger
}

func (r *instances) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("virtualmachineinstance").
		For(&virt.VirtualMachineInstance{}).
		WatchesRawSource(source.Channel(r.guests.events, &handler.EnqueueRequestForObject{})).
		Complete(r)
}

// Reconcile brings an instance one phase further.
func (r *instances) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var vmi virt.VirtualMachineInstance
	if err := r.client.Get(ctx, req.NamespacedName, &vmi); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	before := vmi.DeepCopy()
	wait, err := r.step(ctx, &vmi)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !equality.Semantic.DeepEqual(before, &vmi) {
		// The instance's definition has no status subresource: an update is all of it.
		if err := r.client.Update(ctx, &vmi); err != nil {
			if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
				return ctrl.Result{RequeueAfter: attachInterval}, nil
			}
			return ctrl.Result{}, fmt.Errorf("writing instance %s in phase %s: %w", vmi.Name, vmi.Status.Phase, err)
		}
	}
	return ctrl.Result{RequeueAfter: wait}, nil
}

// step changes vmi, which is then written, and asks to be called again after wait, if that is not 0. What has to be
// undone later is written one step before it is done.
func (r *instances) step(ctx context.Context, vmi *virt.VirtualMachineInstance) (wait time.Duration, err error) {
	if !vmi.IsFinal() && vmi.DeletionTimestamp != nil {
		r.shutDown(vmi)
		return 0, nil
	}
	switch vmi.Status.Phase {
	case virt.VmPhaseUnset:
		if !slices.Contains(vmi.Finalizers, virt.VirtualMachineInstanceFinalizer) {
			vmi.Finalizers = append(vmi.Finalizers, virt.VirtualMachineInstanceFinalizer)
		}
		setPhase(vmi, virt.Pending)
		return 0, nil
	case virt.Pending:
		return r.schedule(ctx, vmi)
	case virt.Scheduling:
		return r.attach(ctx, vmi)
	case virt.Scheduled, virt.Running:
		return r.attend(ctx, vmi)
	default:
		return r.cleanUp(ctx, vmi)
	}
}

// schedule waits for the claims, chooses a node and notes which volumes are going to be attached.
func (r *instances) schedule(ctx context.Context, vmi *virt.VirtualMachineInstance) (time.Duration, error) {
	disks, waiting, err := r.resolve(ctx, vmi)
	if err != nil {
		return 0, err
	}
	if waiting != nil {
		setSynchronized(vmi, waiting)
		return waitInterval, nil
	}
	node, problem := r.nodes.choose(vmi)
	if problem != "" {
		setCondition(vmi, virt.VirtualMachineInstanceConditionType(corev1.PodScheduled), corev1.ConditionFalse, corev1.PodReasonUnschedulable, problem)
		return time.Second, nil
	}
	setCondition(vmi, virt.VirtualMachineInstanceConditionType(corev1.PodScheduled), corev1.ConditionTrue, "", "")
	setSynchronized(vmi, nil)
	setVolumeStatus(vmi, disks)
	setMigratable(vmi, disks)
	if err := setAttached(vmi, node, disks); err != nil {
		return 0, err
	}
	setPhase(vmi, virt.Scheduling)
	return 0, nil
}

// attach adds the tickets, waits until all are satisfied and the pod could start, and starts the guest.
func (r *instances) attach(ctx context.Context, vmi *virt.VirtualMachineInstance) (time.Duration, error) {
	held, err := attachedOf(vmi)
	if err != nil {
		return 0, err
	}
	isAttached := true
	for _, d := range held.Disks {
		isSatisfied, err := r.tickets.ensure(ctx, d.Volume, held.Node)
		if err != nil {
			return 0, fmt.Errorf("attaching disk %s: %w", d.Name, err)
		}
		isAttached = isAttached && isSatisfied
	}
	missing, err := r.missingConfig(ctx, vmi)
	if err != nil {
		return 0, err
	}
	if missing != "" {
		setCondition(vmi, virt.VirtualMachineInstanceReady, corev1.ConditionFalse, virt.GuestNotRunningReason, missing)
		return waitInterval, nil
	}
	setCondition(vmi, virt.VirtualMachineInstanceReady, corev1.ConditionFalse, virt.GuestNotRunningReason, "Guest VM is not reported as running")
	if !isAttached {
		return min(max(sincePhase(vmi)/10, attachInterval), longestAttachInterval), nil
	}
	if err := r.guests.start(ctx, vmi, held.Node, held.Disks, r.tickets.size); err != nil {
		r.log.Warn("starting a guest", "namespace", vmi.Namespace, "vm", vmi.Name, "error", err)
		setPhase(vmi, virt.Failed)
		return 0, nil
	}
	vmi.Status.NodeName = held.Node
	if vmi.Labels == nil {
		vmi.Labels = map[string]string{}
	}
	vmi.Labels[virt.NodeNameLabel] = held.Node
	setPhase(vmi, virt.Scheduled)
	return attachInterval, nil
}

// attend looks after a guest: Running when it answers, final when it has ended.
func (r *instances) attend(ctx context.Context, vmi *virt.VirtualMachineInstance) (time.Duration, error) {
	switch state, err := r.guests.look(ctx, vmi); {
	case state == guestGone && err == nil:
		r.log.Info("guest was shut down", "namespace", vmi.Namespace, "vm", vmi.Name)
		setPhase(vmi, virt.Succeeded)
	case state == guestGone:
		r.log.Warn("guest failed", "namespace", vmi.Namespace, "vm", vmi.Name, "error", err)
		vmi.Status.Reason = "GuestFailed"
		setPhase(vmi, virt.Failed)
	case state == guestUp:
		setCondition(vmi, virt.VirtualMachineInstanceReady, corev1.ConditionTrue, "", "")
		if hasAgent(vmi) {
			setCondition(vmi, virt.VirtualMachineInstanceAgentConnected, corev1.ConditionTrue, "", "")
		}
		setPhase(vmi, virt.Running)
		r.guests.setPods(vmi)
		if err := r.leaveOther(ctx, vmi); err != nil {
			return 0, err
		}
		return r.tellHeld(ctx, vmi), nil
	default:
		return attachInterval, nil
	}
	return 0, nil
}

// tellHeld says whether the guest is frozen or paused. While it is frozen it is looked at again: it may thaw by itself.
func (r *instances) tellHeld(ctx context.Context, vmi *virt.VirtualMachineInstance) time.Duration {
	state, err := r.guests.state(ctx, vmi)
	if err != nil {
		return waitInterval // it is asked again, or has ended
	}
	if state.Paused {
		setCondition(vmi, virt.VirtualMachineInstancePaused, corev1.ConditionTrue, "PausedByUser", "VMI was paused by user")
	} else {
		removeCondition(vmi, virt.VirtualMachineInstancePaused)
	}
	vmi.Status.FSFreezeStatus = ""
	if state.Frozen {
		vmi.Status.FSFreezeStatus = fsFrozen
		return waitInterval
	}
	return 0
}

// shutDown ends the guest of an instance that is being deleted.
func (r *instances) shutDown(vmi *virt.VirtualMachineInstance) {
	if err := r.guests.stop(vmi); err != nil {
		r.log.Warn("guest failed while it was stopped", "namespace", vmi.Namespace, "vm", vmi.Name, "error", err)
		setPhase(vmi, virt.Failed)
		return
	}
	setPhase(vmi, virt.Succeeded)
}

// leaveOther removes the tickets that a migration has left: on the node that it came from, or did not get to.
func (r *instances) leaveOther(ctx context.Context, vmi *virt.VirtualMachineInstance) error {
	held, err := attachedOf(vmi)
	if err != nil || held.Other == "" || held.Migration != "" {
		return err
	}
	if err := r.detach(ctx, held.Disks, held.Other); err != nil {
		return err
	}
	held.Other = ""
	return held.write(vmi)
}

func (r *instances) detach(ctx context.Context, disks []attachedDisk, node string) error {
	for _, d := range disks {
		if err := r.tickets.remove(ctx, d.Volume, node); err != nil {
			return fmt.Errorf("detaching disk %s from node %s: %w", d.Name, node, err)
		}
	}
	return nil
}

// cleanUp removes the tickets of an instance that has come to its end, and lets it go when it is deleted.
func (r *instances) cleanUp(ctx context.Context, vmi *virt.VirtualMachineInstance) (time.Duration, error) {
	setCondition(vmi, virt.VirtualMachineInstanceReady, corev1.ConditionFalse, virt.PodNotExistsReason, "the guest has ended")
	removeCondition(vmi, virt.VirtualMachineInstanceAgentConnected)
	removeCondition(vmi, virt.VirtualMachineInstancePaused)
	vmi.Status.FSFreezeStatus, vmi.Status.ActivePods = "", nil
	_ = r.guests.stop(vmi) // it has ended, and how is in the phase
	held, err := attachedOf(vmi)
	if err != nil {
		return 0, err
	}
	for _, node := range []string{held.Node, held.Other} {
		if err := r.detach(ctx, held.Disks, node); err != nil {
			return 0, err
		}
	}
	clearAttached(vmi)
	if vmi.DeletionTimestamp != nil {
		vmi.Finalizers = slices.DeleteFunc(vmi.Finalizers, func(f string) bool { return f == virt.VirtualMachineInstanceFinalizer })
	}
	return 0, nil
}
