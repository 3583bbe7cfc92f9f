package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hayloft.dev/deploy/local/disk"
	"hayloft.dev/deploy/local/guest/ring"
)

// probeInterval is how often a guest looks whether its disks are still there.
const probeInterval = 500 * time.Millisecond

// Disk is a disk of the VM: the volume behind it is attached to this machine.
type Disk struct {
	Name, Volume string
	Size         int64 // bytes
}

// Options of a guest.
type Options struct {
	VM       string        // UID of the VirtualMachine
	Disks    []Disk        // in the order in which each round writes them
	Interval time.Duration // between two rounds; 0: the guest starts quiet and stays so
	Agent    bool          // an agent is in the guest: it can be frozen
	Control  string        // path of the control socket
	Sockets  string        // folder of a disk.Relay to the disks' engines; "": the guest sees their own sockets
	Log      *slog.Logger
}

// open connects to the engine that serves a disk now.
func (o Options) open(ctx context.Context, d Disk) (*disk.Device, error) {
	if o.Sockets == "" {
		return disk.Open(ctx, d.Volume, d.Size)
	}
	return disk.OpenAt(ctx, disk.RelaySocket(o.Sockets, d.Volume), d.Volume, d.Size)
}

// openDisk is a disk in use.
type openDisk struct {
	Disk
	device *gated
	ring   ring.Ring
}

// guest is the state that the writer and the control socket share.
type guest struct {
	options  Options
	disks    []openDisk
	shutdown context.CancelFunc

	gate    *gate
	freezer *freezer

	rounds   sync.Mutex // held during a round, so that who holds it knows that no round is half done
	mu       sync.Mutex
	sequence uint64 // of the last finished round
	isQuiet  bool
}

// Run is the life of a guest. It ends without an error when ctx ends or the guest is told to shut down, and with one
// when a disk fails: an operating system whose disk is gone does not go on either.
func Run(ctx context.Context, o Options) (err error) {
	ctx, shutdown := context.WithCancel(ctx)
	defer shutdown()
	g := &guest{options: o, shutdown: shutdown, isQuiet: o.Interval == 0, gate: newGate()}
	g.freezer = &freezer{gate: g.gate, hasAgent: o.Agent, onThaw: func(f Freeze) {
		o.Log.Warn("nobody thawed the guest in time: it goes on", "frozen", f.Frozen, "timeout", f.Timeout)
	}}
	defer g.close()
	if err := g.open(ctx); err != nil {
		return err
	}
	listener, err := listen(o.Control)
	if err != nil {
		return err
	}
	o.Log.Info("guest is up", "disks", len(g.disks), "sequence", g.sequence, "interval", o.Interval)

	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, g.gate.down)
	defer stop()
	group.Go(func() error { return g.every(ctx, o.Interval, g.round) })
	group.Go(func() error { return g.every(ctx, probeInterval, g.probe) })
	group.Go(func() error { return g.serve(ctx, listener) })
	if err := group.Wait(); err != nil {
		return err
	}
	o.Log.Info("guest is down", "sequence", g.sequence)
	return nil
}

// open connects the disks and goes on behind the last record on them.
func (g *guest) open(ctx context.Context) error {
	var last []uint64
	for _, d := range g.options.Disks {
		place, err := ring.On(d.Size)
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
		device, err := g.options.open(ctx, d)
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
		g.disks = append(g.disks, openDisk{Disk: d, device: &gated{gate: g.gate, device: device}, ring: place})
		state, err := place.Read(device)
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
		if state.Last == nil {
			last = append(last, 0)
		} else {
			last = append(last, state.Last.Sequence)
		}
	}
	g.sequence = continueAt(last)
	return nil
}

// reopen goes on with whatever serves the volumes now, as a machine that has migrated. No write is under way meanwhile.
// If one of them does not answer, all stay with what they had.
func (g *guest) reopen(ctx context.Context) error {
	g.gate.close(moving)
	defer g.gate.open(moving)
	var devices []*disk.Device
	for _, d := range g.disks {
		device, err := g.options.open(ctx, d.Disk)
		if err != nil {
			for _, opened := range devices {
				opened.Close()
			}
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
		devices = append(devices, device)
	}
	for i, d := range g.disks {
		d.device.use(devices[i])
	}
	return nil
}

// continueAt is the last finished round, from each disk's last record. A guest that was cut off in the middle of a
// round left one round more on its first disks: that round is done again. Disks that are further apart were not one
// guest's until now (one was added, or an older state of one was brought back): all go on behind the highest.
func continueAt(last []uint64) uint64 {
	if len(last) == 0 {
		return 0
	}
	low, high := last[0], last[0]
	for _, sequence := range last[1:] {
		low, high = min(low, sequence), max(high, sequence)
	}
	if high-low <= 1 {
		return low
	}
	return high
}

// every does something again and again until ctx ends or a disk fails. An interval of 0 is never.
func (g *guest) every(ctx context.Context, interval time.Duration, do func() error) error {
	if interval <= 0 {
		return nil
	}
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		err := do()
		if errors.Is(err, errDown) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("disk failed: %w", err)
		}
	}
}

// round writes one record to each disk, each only when the one before is on all replicas. So no disk is ever ahead of one
// before it, and none is more than one record behind.
func (g *guest) round() error {
	g.rounds.Lock()
	defer g.rounds.Unlock()
	if g.isQuiet {
		return nil
	}
	record := ring.Record{Sequence: g.sequence + 1, Time: time.Now(), VM: g.options.VM}
	for _, d := range g.disks {
		record.Disk = d.Name
		if err := d.ring.Write(d.device, record); err != nil {
			return err
		}
	}
	g.mu.Lock()
	g.sequence = record.Sequence
	g.mu.Unlock()
	return nil
}

// quiet stops the rounds, or lets them go on. It waits for the round that is under way.
func (g *guest) quiet(isQuiet bool) {
	g.rounds.Lock()
	defer g.rounds.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isQuiet = isQuiet
}

// probe reads a block of each disk: a guest that writes nothing would else not see that its engine is gone.
func (g *guest) probe() error {
	var errs []error
	for _, d := range g.disks {
		_, err := d.device.ReadAt(make([]byte, ring.RecordSize), 0)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (g *guest) close() {
	for _, d := range g.disks {
		d.device.device.Close()
	}
}
