package e2e

import (
	"maps"
	"slices"
)

// stressVM is what the generator and the checker know of a VM.
type stressVM struct {
	name  string
	on    bool // it should run
	up    bool // its guest runs
	there bool // it has an instance: it comes up, runs or goes down
	moves bool // it migrates
	busy  bool // it is being replaced
	goes  bool // it is being deleted, and its claims with it
	// apart: it was restored from disks that were cut in the middle of a guest's
	// writing. A guest that went on there would leave a gap, so it stays off.
	apart bool

	fronts map[string]stressFront // disk ->
	claims map[string]string      // disk -> claim
	former []string               // claims that it had before it was replaced, and that stay
	acked  int64                  // the last write that the guest is known to have finished
}

// stressFront is the part of a disk in front of the guest's records, which
// nobody changes.
type stressFront struct {
	bytes int64
	sum   string
}

// stressPoint is what the generator and the checker know of a point.
type stressPoint struct {
	name     string
	vm       *stressVM
	snapshot bool
	ready    bool
	ended    bool // ready or not
	failed   bool
	goes     bool   // its deletion was asked for
	cancels  bool   // it was to be cancelled before it ended
	former   bool   // it is a snapshot in volumes that its VM has no more
	said     string // what it last said of what it waits for

	// agree: its disks are at most one write apart.
	agree bool
	// The guest had finished write low when the point was asked for; high was the
	// last one when the point was seen ready, or later. It is 0 as long as it is
	// not known and stressNever when it cannot be known any more.
	low, high int64
}

// stressRestore is a restore under way.
type stressRestore struct {
	point   *stressPoint
	cancels bool
	// takes are the Snapshot points that go with the former volumes of the VM
	// that is replaced.
	takes []*stressPoint
}

// stressNever: the VM went back to an older point before its guest was heard.
const stressNever = -1

// stressModel is what the generator draws from.
type stressModel struct {
	most     int // VMs, about
	running  int // VMs at once, at most
	nodes    int
	vms      []*stressVM
	points   []*stressPoint
	restores map[string]*stressRestore // under way, to new VMs and in place of one: the operation's name -> it
	made     int                       // names that were given
}

// apply notes an operation that was asked for.
func (m *stressModel) apply(op stressOp) {
	if op.name != "" {
		m.made++
	}
	switch v, p, r := m.vm(op.on), m.point(op.on), m.restores[op.on]; op.kind {
	case stressStart, stressStop:
		v.on = op.kind == stressStart
	case stressMigrate:
		v.moves = true
	case stressBackup, stressSnapshot:
		m.points = append(m.points, &stressPoint{name: op.name, vm: v, snapshot: op.kind == stressSnapshot, low: v.acked})
	case stressCopy:
		m.restores[op.name] = &stressRestore{point: p}
	case stressReplace:
		m.restores[op.name] = &stressRestore{point: p}
		p.vm.busy = true
	case stressReplaceAll:
		m.restores[op.name] = &stressRestore{point: p, takes: m.snapshotsIn(p.vm)}
		p.vm.busy = true
		for _, s := range m.restores[op.name].takes {
			s.goes = true
		}
	case stressCancel:
		if p != nil {
			p.cancels = true
		} else {
			r.cancels = true
		}
	case stressDeletePoint:
		p.goes = true
	case stressDeleteVM:
		v.goes, v.on = true, false
	}
}

func (m *stressModel) vm(name string) *stressVM {
	for _, v := range m.vms {
		if v.name == name {
			return v
		}
	}
	return nil
}

func (m *stressModel) point(name string) *stressPoint {
	for _, p := range m.points {
		if p.name == name {
			return p
		}
	}
	return nil
}

// countOn counts what should run or still does.
func (m *stressModel) countOn() (n int) {
	for _, v := range m.vms {
		if v.on || v.up {
			n++
		}
	}
	return n
}

func (m *stressModel) unended() (n int) {
	for _, p := range m.points {
		if !p.ended {
			n++
		}
	}
	return n
}

func (m *stressModel) pointsOf(v *stressVM) (n int) {
	for _, p := range m.points {
		if p.vm == v {
			n++
		}
	}
	return n
}

// replaces tells whether a point may take the place of its VM, which must be off.
// A VM whose points are under way is left alone, and so is one whose snapshots
// are read, if they are to go.
func (m *stressModel) replaces(kind string, p *stressPoint) bool {
	v := p.vm
	if !p.ready || v.goes || v.on || v.there || v.busy || kind == stressReplaceAll && p.snapshot {
		return false
	}
	for _, other := range m.points {
		if other.vm == v && (!other.ended || other.goes || kind == stressReplaceAll && m.isRead(other)) {
			return false
		}
	}
	return true
}

// snapshotsIn are the Snapshot points in the volumes that a VM has now. One that
// failed is in none.
func (m *stressModel) snapshotsIn(v *stressVM) (list []*stressPoint) {
	for _, p := range m.points {
		if p.vm == v && p.snapshot && p.ready && !p.former {
			list = append(list, p)
		}
	}
	return list
}

// replaced notes that a VM is what it was at a point, on other claims.
func (m *stressModel) replaced(p *stressPoint, claims map[string]string, former []string) {
	v := p.vm
	for _, other := range m.points {
		if other.vm == v {
			other.former = true
			if other.high == 0 {
				other.high = stressNever
			}
		}
	}
	v.busy, v.apart, v.acked = false, !p.agree, p.low
	v.claims, v.former = claims, append(v.former, former...)
}

// notReplaced notes that a restore into a VM has failed, which left the VM as it
// was.
func (m *stressModel) notReplaced(r *stressRestore) {
	r.point.vm.busy = false
	for _, s := range r.takes {
		s.goes = false
	}
}

// isRead: a restore of it is under way, and its deletion would be refused.
func (m *stressModel) isRead(p *stressPoint) bool {
	for _, r := range m.restores {
		if r.point == p {
			return true
		}
	}
	return false
}

// underWay are the points and restores that can still be cancelled.
func (m *stressModel) underWay() (list []string) {
	for _, p := range m.points {
		if !p.ended && !p.goes && !p.cancels && !(p.snapshot && p.vm.goes) {
			list = append(list, p.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.restores)) {
		if !m.restores[name].cancels {
			list = append(list, name)
		}
	}
	return list
}
