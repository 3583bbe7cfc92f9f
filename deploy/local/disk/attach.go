package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	attachTimeout = 90 * time.Second // Longhorn takes 2 to 9 s
	detachTimeout = 60 * time.Second // Longhorn takes 1 to 3 s
)

// poll is how often something is looked at: less and less often, since the local stack attaches in a tenth of a second and the real
// Longhorn in many, and each look costs the API server.
var poll = wait.Backoff{Duration: 100 * time.Millisecond, Factor: 1.2, Cap: 500 * time.Millisecond, Steps: 20}

// until looks until it is so.
func until(ctx context.Context, isSo wait.ConditionWithContextFunc) error {
	return poll.DelayFunc().Until(ctx, true, true, isSo)
}

// ErrInUse says that somebody else has the volume.
var ErrInUse = errors.New("volume is in use")

// Attacher attaches volumes that nobody uses, with a ticket of its own.
type Attacher struct {
	Client    client.Client
	Namespace string // Longhorn's
	// User is what the ticket is named after. Two processes never hold one user's ticket for one volume; the ticket
	// that a dead process left is taken over.
	User string
	// Node to attach to; "" takes one that has a replica.
	Node string
}

// Attached is a volume that this process holds.
type Attached struct {
	*Device
	Volume string

	attacher Attacher
}

// Attach attaches a volume with its front end on and opens it. It refuses with ErrInUse when there is any ticket but
// its own. When it fails the ticket is removed again.
func (a Attacher) Attach(ctx context.Context, volume string) (*Attached, error) {
	deadline, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	device, err := a.attach(deadline, volume)
	if err != nil {
		if !errors.Is(err, ErrInUse) {
			err = errors.Join(err, a.removeTicket(context.WithoutCancel(ctx), volume))
		}
		return nil, fmt.Errorf("attaching volume %s: %w", volume, err)
	}
	return &Attached{Device: device, Volume: volume, attacher: a}, nil
}

func (a Attacher) attach(ctx context.Context, volume string) (*Device, error) {
	var v longhorn.Volume
	if err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: volume}, &v); err != nil {
		return nil, err
	}
	if a.Node == "" {
		node, err := nodeOf(ctx, a.Client, a.Namespace, volume)
		if err != nil {
			return nil, err
		}
		a.Node = node
	}
	if err := a.addTicket(ctx, volume); err != nil {
		return nil, err
	}
	if err := a.waitSatisfied(ctx, volume); err != nil {
		return nil, err
	}
	return waitOpen(ctx, volume, v.Spec.Size)
}

// Close disconnects, removes the ticket and waits until the volume is detached. It does so even when ctx has ended:
// nobody else would remove the ticket.
func (a *Attached) Close(ctx context.Context) error {
	a.Device.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachTimeout)
	defer cancel()
	if err := a.attacher.removeTicket(ctx, a.Volume); err != nil {
		return fmt.Errorf("detaching volume %s: %w", a.Volume, err)
	}
	var v longhorn.Volume
	err := until(ctx, func(ctx context.Context) (bool, error) {
		err := a.attacher.Client.Get(ctx, client.ObjectKey{Namespace: a.attacher.Namespace, Name: a.Volume}, &v)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return err == nil && v.Status.State == longhorn.VolumeStateDetached, err
	})
	if err != nil {
		return fmt.Errorf("waiting until volume %s is detached (it is %s): %w", a.Volume, v.Status.State, err)
	}
	return nil
}

func (a Attacher) ticketID() string {
	return longhorn.GetAttachmentTicketID(longhorn.AttacherTypeLonghornAPI, a.User)
}

// addTicket adds the ticket if there is no other one. The update carries the resourceVersion that was read, so a
// ticket that is added meanwhile is seen too.
func (a Attacher) addTicket(ctx context.Context, volume string) error {
	id := a.ticketID()
	holder := fmt.Sprintf("%s pid %d", a.User, os.Getpid())
	return a.change(ctx, volume, func(va *longhorn.VolumeAttachment) error {
		for other, ticket := range va.Spec.AttachmentTickets {
			if other != id {
				return fmt.Errorf("%w by ticket %s (%s, node %s)", ErrInUse, other, ticket.Type, ticket.NodeID)
			}
		}
		if former := va.Spec.AttachmentTickets[id]; former != nil {
			if by := former.Parameters[longhorn.AttachmentParameterLastAttachedBy]; by != holder && isRunning(by) {
				return fmt.Errorf("%w by %s", ErrInUse, by)
			}
		}
		if va.Spec.AttachmentTickets == nil {
			va.Spec.AttachmentTickets = map[string]*longhorn.AttachmentTicket{}
		}
		va.Spec.AttachmentTickets[id] = &longhorn.AttachmentTicket{
			ID: id, Type: longhorn.AttacherTypeLonghornAPI, NodeID: a.Node,
			Parameters: map[string]string{
				longhorn.AttachmentParameterDisableFrontend: longhorn.FalseValue,
				longhorn.AttachmentParameterLastAttachedBy:  holder,
			},
		}
		return nil
	})
}

func (a Attacher) removeTicket(ctx context.Context, volume string) error {
	err := a.change(ctx, volume, func(va *longhorn.VolumeAttachment) error {
		delete(va.Spec.AttachmentTickets, a.ticketID())
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing ticket %s: %w", a.ticketID(), err)
	}
	return nil
}

// change reads, changes and writes a volume's attachment until nobody was quicker.
func (a Attacher) change(ctx context.Context, volume string, edit func(*longhorn.VolumeAttachment) error) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var va longhorn.VolumeAttachment
		if err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: volume}, &va); err != nil {
			return err
		}
		if err := edit(&va); err != nil {
			return err
		}
		return a.Client.Update(ctx, &va)
	})
}

func (a Attacher) waitSatisfied(ctx context.Context, volume string) error {
	var va longhorn.VolumeAttachment
	err := until(ctx, func(ctx context.Context) (bool, error) {
		if err := a.Client.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: volume}, &va); err != nil {
			return false, err
		}
		return longhorn.IsAttachmentTicketSatisfied(a.ticketID(), &va), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for node %s to have it%s: %w", a.Node, unsatisfied(&va, a.ticketID()), err)
	}
	return nil
}

// unsatisfied is what Longhorn says about a ticket, for the end of a sentence.
func unsatisfied(va *longhorn.VolumeAttachment, id string) string {
	status := va.Status.AttachmentTicketStatuses[id]
	if status == nil {
		return ""
	}
	for _, condition := range status.Conditions {
		if condition.Type == longhorn.AttachmentStatusConditionTypeSatisfied && condition.Message != "" {
			return " (" + condition.Message + ")"
		}
	}
	return ""
}

// waitOpen connects to an engine that is just coming up.
func waitOpen(ctx context.Context, volume string, size int64) (*Device, error) {
	var device *Device
	var last error
	err := until(ctx, func(ctx context.Context) (bool, error) {
		device, last = Open(ctx, volume, size)
		return last == nil, nil
	})
	if err != nil {
		return nil, errors.Join(last, err)
	}
	return device, nil
}

// isRunning tells whether the process that a holder "<user> pid <number>" names exists.
func isRunning(holder string) bool {
	var pid int
	at := strings.LastIndex(holder, " pid ")
	if at < 0 {
		return false
	}
	if _, err := fmt.Sscanf(holder[at:], " pid %d", &pid); err != nil || pid <= 0 {
		return false
	}
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
