package guest

import (
	"errors"
	"sync"

	"hayloft.dev/deploy/local/disk"
)

// A hold is a reason why nothing may be written for the moment. Several may be there at once.
type hold int

const (
	frozen hold = 1 << iota // the filesystems are frozen
	paused                  // the machine stands still
	moving                  // the disks are reopened where the machine migrates to
)

// errDown ends what waits for a gate that will not open any more.
var errDown = errors.New("the guest is going down")

// gate is what every write of a guest passes, on all disks alike.
type gate struct {
	mu      sync.Mutex
	changed *sync.Cond
	holds   hold
	writing int // writes that are under way
	isDown  bool
}

func newGate() *gate {
	g := &gate{}
	g.changed = sync.NewCond(&g.mu)
	return g
}

// pass does one write as soon as nothing holds it.
func (g *gate) pass(write func() error) error {
	g.mu.Lock()
	for g.holds != 0 && !g.isDown {
		g.changed.Wait()
	}
	if g.holds != 0 {
		g.mu.Unlock()
		return errDown
	}
	g.writing++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.writing--
		g.changed.Broadcast()
		g.mu.Unlock()
	}()
	return write()
}

// close returns when no write is under way; no other begins until open. A disk fails its writes after a while, so this
// does not wait for ever.
func (g *gate) close(why hold) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holds |= why
	for g.writing > 0 && !g.isDown {
		g.changed.Wait()
	}
}

func (g *gate) open(why hold) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holds &^= why
	g.changed.Broadcast()
}

// is tells whether a reason holds.
func (g *gate) is(why hold) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.holds&why != 0
}

// down lets everybody go who waits. A guest that nothing holds still ends its round.
func (g *gate) down() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isDown = true
	g.changed.Broadcast()
}

// gated is a disk whose writes pass the gate. The device behind it changes when the machine moves to another node.
type gated struct {
	gate *gate

	mu     sync.RWMutex // held for reading by requests, so that a device is not closed under them
	device *disk.Device
}

func (d *gated) ReadAt(p []byte, offset int64) (int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.device.ReadAt(p, offset)
}

func (d *gated) WriteAt(p []byte, offset int64) (n int, err error) {
	err = d.gate.pass(func() error {
		d.mu.RLock()
		defer d.mu.RUnlock()
		n, err = d.device.WriteAt(p, offset)
		return err
	})
	return n, err
}

// use goes on with another device and closes the former one.
func (d *gated) use(device *disk.Device) {
	d.mu.Lock()
	former := d.device
	d.device = device
	d.mu.Unlock()
	former.Close()
}
