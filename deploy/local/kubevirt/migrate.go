package kubevirt

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/guest"
)

const (
	// pendingTimeout is how long a migration waits for a node and its volumes: KubeVirt's 15 minutes for a target pod that
	// does not come up, whatever the reason.
	pendingTimeout = 15 * time.Minute
	// reopenTimeout bounds how long the guest may take to go on with its disks' other engines. It waits for the writes
	// that are under way, which a stuck disk fails after 30 s.
	reopenTimeout = 40 * time.Second
	// migrationFails is the annotation's value for a migration that fails when it runs.
	migrationFails = "error"
)

// begin chooses the target and notes it on the instance: what has to be undone later is written before it is done.
func (r *migrations) begin(ctx context.Context, m *virt.VirtualMachineInstanceMigration, vmi *virt.VirtualMachineInstance, held attachment) (time.Duration, error) {
	if held.Migration == m.UID {
		setMigrationPhase(m, virt.MigrationScheduling)
		return 0, nil
	}
	if held.Migration != "" {
		fail(m, "in-flight migration detected")
		return 0, nil
	}
	if !vmi.IsRunning() || held.Other != "" {
		return r.waitFor(m, waitInterval)
	}
	if !vmi.IsMigratable() {
		fail(m, "the VMI is not live migratable")
		return 0, nil
	}
	node := r.nodes.other(vmi, m.Spec.AddedNodeSelector)
	if node == "" {
		return r.waitFor(m, time.Second)
	}
	held.Other, held.Migration = node, m.UID
	if err := held.write(vmi); err != nil {
		return 0, err
	}
	if err := r.client.Update(ctx, vmi); err != nil {
		return 0, err
	}
	setMigrationPhase(m, virt.MigrationScheduling)
	return 0, nil
}

// attach adds the tickets of the target node. One that Longhorn refuses is asked for again, as the attacher does.
func (r *migrations) attach(ctx context.Context, m *virt.VirtualMachineInstanceMigration, vmi *virt.VirtualMachineInstance, held attachment) (time.Duration, error) {
	isAttached := true
	for _, d := range held.Disks {
		isSatisfied, err := r.tickets.ensure(ctx, d.Volume, held.Other)
		var status apierrors.APIStatus
		switch {
		case errors.As(err, &status) && status.Status().Code < 500:
			r.log.Info("migration: disk is not attached to the target", "vm", vmi.Name, "disk", d.Name, "node", held.Other, "error", err)
			isSatisfied = false
		case err != nil:
			return 0, fmt.Errorf("attaching disk %s to node %s: %w", d.Name, held.Other, err)
		}
		isAttached = isAttached && isSatisfied
	}
	if !isAttached {
		if isOverdue(m) {
			return 0, r.giveUp(ctx, m, vmi, held, "the target pod did not come up in time")
		}
		return waitInterval, nil
	}
	setMigrationPhase(m, virt.MigrationScheduled)
	return 0, nil
}

// hand hands the guest over. It is the instance's migrationState that says how far that is.
func (r *migrations) hand(ctx context.Context, m *virt.VirtualMachineInstanceMigration, vmi *virt.VirtualMachineInstance, held attachment) (time.Duration, error) {
	now := metav1.Now()
	switch m.Status.Phase {
	case virt.MigrationScheduled:
		vmi.Status.MigrationState = &virt.VirtualMachineInstanceMigrationState{MigrationUID: m.UID, SourceNode: held.Node, TargetNode: held.Other}
		if err := r.client.Update(ctx, vmi); err != nil {
			return 0, err
		}
		setMigrationPhase(m, virt.MigrationPreparingTarget)
	case virt.MigrationPreparingTarget:
		setMigrationPhase(m, virt.MigrationTargetReady)
	case virt.MigrationTargetReady:
		vmi.Status.MigrationState.StartTimestamp = &now
		vmi.Status.MigrationState.Mode = virt.MigrationPreCopy
		if err := r.client.Update(ctx, vmi); err != nil {
			return 0, err
		}
		setMigrationPhase(m, virt.MigrationRunning)
	default:
		return r.run(ctx, m, vmi, held)
	}
	return 0, nil
}

// run has the guest go on where its volumes migrate to, when the annotation's time has passed: moving a machine's memory
// takes a while.
func (r *migrations) run(ctx context.Context, m *virt.VirtualMachineInstanceMigration, vmi *virt.VirtualMachineInstance, held attachment) (time.Duration, error) {
	fails, lasts, err := r.asked(ctx, vmi)
	if err != nil {
		return 0, r.giveUp(ctx, m, vmi, held, err.Error())
	}
	if fails {
		return 0, r.giveUp(ctx, m, vmi, held, "Live migration failed")
	}
	if left := lasts - time.Since(phaseSince(m)); left > 0 {
		return min(left, waitInterval), nil
	}
	called, cancel := context.WithTimeout(ctx, reopenTimeout)
	defer cancel()
	if _, err := guest.Call(called, r.guests.control(vmi), guest.Request{Op: guest.OpReopen}); err != nil {
		return 0, r.giveUp(ctx, m, vmi, held, fmt.Sprintf("Live migration failed: %v", err))
	}
	now := metav1.Now()
	vmi.Status.MigrationState.Completed, vmi.Status.MigrationState.EndTimestamp = true, &now
	vmi.Status.MigrationState.TargetNodeDomainDetected, vmi.Status.MigrationState.TargetNodeDomainReadyTimestamp = true, &now
	vmi.Status.NodeName = held.Other
	vmi.Labels[virt.NodeNameLabel] = held.Other
	held.Node, held.Other, held.Migration = held.Other, held.Node, ""
	if err := held.write(vmi); err != nil {
		return 0, err
	}
	if err := r.client.Update(ctx, vmi); err != nil {
		return 0, err // the guest stays where it is; it is told once more
	}
	m.Status.MigrationState = vmi.Status.MigrationState.DeepCopy()
	setMigrationPhase(m, virt.MigrationSucceeded)
	return 0, nil
}

// asked is what the VM's annotation says of migrations.
func (r *migrations) asked(ctx context.Context, vmi *virt.VirtualMachineInstance) (fails bool, lasts time.Duration, _ error) {
	var vm virt.VirtualMachine
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(vmi), &vm); err != nil {
		return false, 0, client.IgnoreNotFound(err) // an instance may have no VM
	}
	switch value := vm.Annotations[MigrationAnnotation]; value {
	case "":
		return false, 0, nil
	case migrationFails:
		return true, 0, nil
	default:
		lasts, err := time.ParseDuration(value)
		if err != nil {
			return false, 0, fmt.Errorf("annotation %s of VM %s: %q is neither %s nor a duration such as 2s", MigrationAnnotation, vm.Name, value, migrationFails)
		}
		return false, lasts, nil
	}
}

// giveUp leaves the guest where it is. The tickets of the target go with the instance's next look at itself.
func (r *migrations) giveUp(ctx context.Context, m *virt.VirtualMachineInstanceMigration, vmi *virt.VirtualMachineInstance, held attachment, reason string) error {
	if held.Migration == m.UID {
		held.Migration = ""
		if err := held.write(vmi); err != nil {
			return err
		}
		now := metav1.Now()
		if state := vmi.Status.MigrationState; state != nil && state.MigrationUID == m.UID {
			state.Completed, state.Failed, state.FailureReason, state.EndTimestamp = true, true, reason, &now
			if m.DeletionTimestamp != nil {
				state.AbortRequested, state.AbortStatus = true, virt.MigrationAbortSucceeded
			}
			m.Status.MigrationState = state.DeepCopy()
		}
		if err := r.client.Update(ctx, vmi); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	fail(m, reason)
	return nil
}

// fail ends a migration that has changed nothing.
func fail(m *virt.VirtualMachineInstanceMigration, reason string) {
	if m.Status.MigrationState == nil {
		m.Status.MigrationState = &virt.VirtualMachineInstanceMigrationState{MigrationUID: m.UID, Failed: true, FailureReason: reason}
	}
	setMigrationPhase(m, virt.MigrationFailed)
}

func setMigrationPhase(m *virt.VirtualMachineInstanceMigration, phase virt.VirtualMachineInstanceMigrationPhase) {
	m.Status.Phase = phase
	m.Status.PhaseTransitionTimestamps = append(m.Status.PhaseTransitionTimestamps,
		virt.VirtualMachineInstanceMigrationPhaseTransitionTimestamp{Phase: phase, PhaseTransitionTimestamp: metav1.Now()})
}

// phaseSince is when the migration came into its phase.
func phaseSince(m *virt.VirtualMachineInstanceMigration) time.Time {
	if n := len(m.Status.PhaseTransitionTimestamps); n > 0 {
		return m.Status.PhaseTransitionTimestamps[n-1].PhaseTransitionTimestamp.Time
	}
	return m.CreationTimestamp.Time
}

// waitFor lets a migration wait in its phase, but not for ever.
func (r *migrations) waitFor(m *virt.VirtualMachineInstanceMigration, again time.Duration) (time.Duration, error) {
	if isOverdue(m) {
		fail(m, "the target pod did not come up in time")
		return 0, nil
	}
	return again, nil
}

// isOverdue tells whether a migration has waited in its phase for too long, by KubeVirt's annotation or its default.
func isOverdue(m *virt.VirtualMachineInstanceMigration) bool {
	limit := pendingTimeout
	if seconds, err := strconv.Atoi(m.Annotations[virt.MigrationPendingPodTimeoutSecondsAnnotation]); err == nil {
		limit = time.Duration(seconds) * time.Second
	}
	return time.Since(phaseSince(m)) > limit
}

// setMigratable says whether an instance can migrate: all its claims must be for several nodes.
func setMigratable(vmi *virt.VirtualMachineInstance, disks []resolvedDisk) {
	for _, d := range disks {
		isShared := false
		for _, mode := range d.claim.Spec.AccessModes {
			isShared = isShared || mode == corev1.ReadWriteMany
		}
		if !isShared {
			setCondition(vmi, virt.VirtualMachineInstanceIsMigratable, corev1.ConditionFalse, virt.VirtualMachineInstanceReasonDisksNotMigratable,
				fmt.Sprintf("cannot migrate VMI: PVC %s is not shared, live migration requires that all PVCs must be shared (using ReadWriteMany access mode)", d.claim.Name))
			return
		}
	}
	setCondition(vmi, virt.VirtualMachineInstanceIsMigratable, corev1.ConditionTrue, "", "")
}
