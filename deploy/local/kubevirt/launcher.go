package kubevirt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/guest"
)

// freezeLimit bounds a freeze that hangs. It goes on when nobody waits for it any more, as one in a real guest does: what
// asked for it has given up after 10 s.
const freezeLimit = time.Minute

// launcher does to a guest what virt-launcher does when virt-api asks for it.
type launcher struct {
	client client.Client
	guests *guests
}

// Freeze has the guest's agent freeze it, with the fault that the VM's annotation asks for at that moment.
func (l launcher) Freeze(ctx context.Context, vmi *virt.VirtualMachineInstance, timeout time.Duration) error {
	if isMigrating(vmi) {
		//lint:ignore ST1005 KubeVirt's words
		return errors.New("Failed to freeze VMI, VMI is currently during migration")
	}
	fault, err := l.fault(ctx, vmi)
	if err != nil {
		return err
	}
	return l.call(ctx, vmi, guest.Request{Op: guest.OpFreeze, Timeout: timeout, Fault: fault})
}

// Unfreeze has it thawed.
func (l launcher) Unfreeze(ctx context.Context, vmi *virt.VirtualMachineInstance) error {
	return l.call(ctx, vmi, guest.Request{Op: guest.OpThaw})
}

// Pause stops the machine's processors.
func (l launcher) Pause(ctx context.Context, vmi *virt.VirtualMachineInstance) error {
	return l.call(ctx, vmi, guest.Request{Op: guest.OpPause})
}

// Unpause lets them go on.
func (l launcher) Unpause(ctx context.Context, vmi *virt.VirtualMachineInstance) error {
	return l.call(ctx, vmi, guest.Request{Op: guest.OpUnpause})
}

func (l launcher) fault(ctx context.Context, vmi *virt.VirtualMachineInstance) (string, error) {
	var vm virt.VirtualMachine
	if err := l.client.Get(ctx, client.ObjectKeyFromObject(vmi), &vm); err != nil {
		return "", client.IgnoreNotFound(err) // an instance may have no VM
	}
	fault := vm.Annotations[FreezeFaultAnnotation]
	if err := guest.CheckFault(fault); err != nil {
		return "", fmt.Errorf("annotation %s of VM %s: %w", FreezeFaultAnnotation, vm.Name, err)
	}
	return fault, nil
}

// call waits for the guest no longer than ctx, but lets it finish. Then the instance is looked at.
func (l launcher) call(ctx context.Context, vmi *virt.VirtualMachineInstance, request guest.Request) error {
	answered := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), freezeLimit)
		defer cancel()
		_, err := guest.Call(ctx, l.guests.control(vmi), request)
		l.guests.changed(vmi)
		var refused guest.RefusedError
		if errors.As(err, &refused) {
			err = errors.New(strings.TrimPrefix(refused.Message, request.Op+": "))
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func isMigrating(vmi *virt.VirtualMachineInstance) bool {
	m := vmi.Status.MigrationState
	return m != nil && m.StartTimestamp != nil && !m.Completed && !m.Failed
}
