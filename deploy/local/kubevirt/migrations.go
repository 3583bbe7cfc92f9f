package kubevirt

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	virt "kubevirt.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// migrations takes care of the VirtualMachineInstanceMigrations. The instance that migrates is written here and in
// instances; whoever is late reads it again.
type migrations struct {
	client  client.Client
	guests  *guests
	tickets tickets
	nodes   *nodes
	log     *slog.Logger
}

func (r *migrations) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("virtualmachineinstancemigration").
		For(&virt.VirtualMachineInstanceMigration{}).
		Complete(r)
}

// Reconcile brings a migration one phase further.
func (r *migrations) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var m virt.VirtualMachineInstanceMigration
	if err := r.client.Get(ctx, req.NamespacedName, &m); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if m.DeletionTimestamp == nil && !slices.Contains(m.Finalizers, virt.VirtualMachineInstanceMigrationFinalizer) && !m.IsFinal() {
		m.Finalizers = append(m.Finalizers, virt.VirtualMachineInstanceMigrationFinalizer)
		return ctrl.Result{}, ignoreRaces(r.client.Update(ctx, &m)) // the event of it comes back here
	}
	before := m.DeepCopy()
	wait, err := r.step(ctx, &m)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: attachInterval}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("migration %s in phase %s: %w", m.Name, m.Status.Phase, err)
	}
	if !equality.Semantic.DeepEqual(before.Status, m.Status) {
		r.log.Info("migration", "namespace", m.Namespace, "name", m.Name, "vm", m.Spec.VMIName, "phase", m.Status.Phase)
		return ctrl.Result{RequeueAfter: wait}, ignoreRaces(r.client.Status().Update(ctx, &m))
	}
	if m.IsFinal() && slices.Contains(m.Finalizers, virt.VirtualMachineInstanceMigrationFinalizer) {
		m.Finalizers = slices.DeleteFunc(m.Finalizers, func(f string) bool { return f == virt.VirtualMachineInstanceMigrationFinalizer })
		return ctrl.Result{}, ignoreRaces(r.client.Update(ctx, &m))
	}
	return ctrl.Result{RequeueAfter: wait}, nil
}

// ignoreRaces: there is an event for what another writer changed.
func ignoreRaces(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// step changes the migration's status, which is then written. The instance is written first, so that each step may be
// done twice.
func (r *migrations) step(ctx context.Context, m *virt.VirtualMachineInstanceMigration) (time.Duration, error) {
	if m.IsFinal() {
		return 0, nil
	}
	if m.Status.Phase == virt.MigrationPhaseUnset {
		setMigrationPhase(m, virt.MigrationPending)
		return 0, nil
	}
	var vmi virt.VirtualMachineInstance
	err := r.client.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: m.Spec.VMIName}, &vmi)
	if apierrors.IsNotFound(err) {
		fail(m, "the VMI does not exist")
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	held, err := attachedOf(&vmi)
	if err != nil {
		return 0, err
	}
	isOurs := held.Migration == m.UID
	if state := vmi.Status.MigrationState; !isOurs && state != nil && state.MigrationUID == m.UID && state.Completed {
		// The instance was written, and this object was not.
		m.Status.MigrationState = state.DeepCopy()
		if state.Failed {
			fail(m, state.FailureReason)
		} else {
			setMigrationPhase(m, virt.MigrationSucceeded)
		}
		return 0, nil
	}
	switch {
	case vmi.IsFinal() || vmi.DeletionTimestamp != nil:
		return 0, r.giveUp(ctx, m, &vmi, held, "the VMI has come to its end")
	case m.DeletionTimestamp != nil:
		return 0, r.giveUp(ctx, m, &vmi, held, "Live migration aborted")
	case m.Status.Phase == virt.MigrationPending:
		return r.begin(ctx, m, &vmi, held)
	case !isOurs:
		fail(m, "the migration was given up")
		return 0, nil
	case m.Status.Phase == virt.MigrationScheduling:
		return r.attach(ctx, m, &vmi, held)
	default:
		return r.hand(ctx, m, &vmi, held)
	}
}
