package kubevirt

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"hayloft.dev/deploy/local/guest"
	"hayloft.dev/deploy/local/proc"
)

const (
	// stopGrace is how long a guest may take to end. It finishes a round; a stuck disk lets it wait 30 s for its requests.
	stopGrace = 5 * time.Second
	// answerTimeout is how long a guest may take to answer that it is up.
	answerTimeout = 2 * time.Second
)

// errLost says that a guest ran under a former run of this program.
var errLost = errors.New("the guest is not there: it ended with the program that had started it")

type guestState int

const (
	guestStarting guestState = iota // its process runs and does not answer yet
	guestUp
	guestGone
)

// running is a guest that was started: a process, or a pod of the cluster.
type running interface {
	// Done is closed when it has ended.
	Done() <-chan struct{}
	// Err is how it ended, nil if it was shut down. It waits for the end.
	Err() error
	// Stop has it shut down, kills it after grace, and returns when it is gone.
	Stop(grace time.Duration)
}

// guests are those of the instances that run.
type guests struct {
	client client.Client
	procs  *proc.Table
	self   string
	dir    string
	// events carries the instances whose guests ended or were frozen, thawed and so on, for the reconciler.
	events chan event.GenericEvent

	mu      sync.Mutex
	running map[types.UID]running // UID of the instance -> its guest, until the instance has gone
}

func newGuests(c client.Client, o Options) *guests {
	return &guests{
		client: c, procs: o.Procs, self: o.Self, dir: o.Dir,
		events:  make(chan event.GenericEvent, 64),
		running: map[types.UID]running{},
	}
}

// sizer tells a volume's size in bytes.
type sizer func(ctx context.Context, volume string) (int64, error)

// start starts the guest on volumes that are attached.
func (g *guests) start(ctx context.Context, vmi *virt.VirtualMachineInstance, node string, disks []attachedDisk, size sizer) error {
	if g.get(vmi) != nil {
		return nil // started by a step whose outcome could not be written
	}
	interval, err := writeInterval(vmi.Annotations)
	if err != nil {
		return err
	}
	o := guest.Options{VM: ownerUID(vmi), Interval: interval, Agent: hasAgent(vmi), Control: g.control(vmi)}
	for _, d := range disks {
		bytes, err := size(ctx, d.Volume)
		if err != nil {
			return err
		}
		o.Disks = append(o.Disks, guest.Disk{Name: d.Name, Volume: d.Volume, Size: bytes})
	}
	p, err := g.run(ctx, vmi, node, o)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.running[vmi.UID] = p
	g.mu.Unlock()
	object := vmi.DeepCopy()
	go func() {
		<-p.Done()
		g.changed(object)
	}()
	return nil
}

// run starts a guest as the VM's annotations say: as a process, which may be in a container, or as a pod.
func (g *guests) run(ctx context.Context, vmi *virt.VirtualMachineInstance, node string, o guest.Options) (running, error) {
	if image := vmi.Annotations[PodAnnotation]; image != "" {
		return g.runPod(ctx, vmi, node, image, o)
	}
	spec, err := g.spec(vmi, node, o)
	if err != nil {
		return nil, err
	}
	p, err := g.procs.Start(spec)
	if err != nil {
		return nil, err // not a nil *proc.Process in an interface
	}
	return p, nil
}

// changed has an instance looked at.
func (g *guests) changed(vmi *virt.VirtualMachineInstance) {
	select {
	case g.events <- event.GenericEvent{Object: vmi}:
	case <-time.After(answerTimeout): // nobody reads any more
	}
}

// state asks a guest that runs how it is.
func (g *guests) state(ctx context.Context, vmi *virt.VirtualMachineInstance) (guest.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return guest.Call(ctx, g.control(vmi), guest.Request{Op: guest.OpStatus})
}

// look tells how a guest is; for one that is gone the error is what it ended with.
func (g *guests) look(ctx context.Context, vmi *virt.VirtualMachineInstance) (guestState, error) {
	p := g.get(vmi)
	if p == nil {
		return guestGone, errLost
	}
	select {
	case <-p.Done():
		return guestGone, p.Err()
	default:
	}
	if vmi.IsRunning() {
		return guestUp, nil
	}
	if _, err := g.state(ctx, vmi); err != nil {
		return guestStarting, nil // it is asked again
	}
	return guestUp, nil
}

// stop ends the guest, if it has not ended, and forgets it. One that never ran has ended well.
func (g *guests) stop(vmi *virt.VirtualMachineInstance) error {
	p := g.get(vmi)
	if p == nil {
		return nil
	}
	p.Stop(stopGrace)
	g.mu.Lock()
	delete(g.running, vmi.UID)
	g.mu.Unlock()
	return p.Err()
}

func (g *guests) get(vmi *virt.VirtualMachineInstance) running {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running[vmi.UID]
}

// stopAll ends all guests at once.
func (g *guests) stopAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	var group sync.WaitGroup
	for _, p := range g.running {
		group.Go(func() { p.Stop(stopGrace) })
	}
	group.Wait()
}

// control is the guest's control socket.
func (g *guests) control(vmi *virt.VirtualMachineInstance) string {
	dir, err := filepath.Abs(g.dir)
	if err != nil { // the working folder is gone: what was given has to do
		dir = g.dir
	}
	return guest.ControlPath(dir, vmi.Namespace, vmi.Name)
}

// ownerUID is the UID of the VM, or of an instance that has none.
func ownerUID(vmi *virt.VirtualMachineInstance) string {
	for _, owner := range vmi.OwnerReferences {
		if owner.Kind == virt.VirtualMachineGroupVersionKind.Kind {
			return string(owner.UID)
		}
	}
	return string(vmi.UID)
}
