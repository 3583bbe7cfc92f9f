package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a stress run does at random.
const (
	stressStart       = "start"
	stressStop        = "stop"
	stressMigrate     = "migrate"
	stressBackup      = "backup"
	stressSnapshot    = "snapshot"
	stressCopy        = "restore"         // to a new VM
	stressReplace     = "replace"         // by a restore; the former volumes stay
	stressReplaceAll  = "replace, delete" // the former volumes go, and the snapshots in them
	stressCancel      = "cancel"          // a point or a restore under way
	stressDeletePoint = "delete point"
	stressDeleteVM    = "delete VM"
	stressKillAgent   = "kill agent"
	stressKillLeader  = "kill leader"
	stressRest        = "rest" // what was drawn cannot be done now
)

// stressWeights are the shares of the operations. What cannot be done is not
// drawn again, so that a run with little else to do is not all faults.
var stressWeights = []struct {
	kind   string
	weight int
}{
	{stressStart, 12},
	{stressStop, 6},
	{stressMigrate, 8},
	{stressBackup, 16},
	{stressSnapshot, 14},
	{stressCopy, 10},
	{stressReplace, 3},
	{stressReplaceAll, 3},
	{stressCancel, 6},
	{stressDeletePoint, 10},
	{stressDeleteVM, 3},
	{stressKillAgent, 3},
	{stressKillLeader, 1},
}

// Bounds of a stress run that do not depend on its size.
const (
	stressPointsPerVM = 5
	stressRestores    = 3 // restores under way
	stressLongestDown = 3 * time.Second
)

// stressOp is one operation.
type stressOp struct {
	kind string
	on   string        // the VM or the point that it is done to
	name string        // of what it makes
	node int           // of the agent that is killed, counted from 0
	down time.Duration // for which a killed process stays away
}

func (o stressOp) String() string {
	return fmt.Sprintf("%s %s %s", o.kind, o.on, o.name)
}

// next is the next operation. It follows from the model and the random numbers
// alone, and changes nothing else.
func (m *stressModel) next(r *rand.Rand) stressOp {
	op := stressOp{kind: drawStress(r)}
	vm := func(ok func(*stressVM) bool) bool {
		v, found := pickStress(r, m.vms, func(v *stressVM) bool { return !v.goes && ok(v) })
		if found {
			op.on = v.name
		}
		return found
	}
	point := func(ok func(*stressPoint) bool) bool {
		p, found := pickStress(r, m.points, func(p *stressPoint) bool { return !p.goes && ok(p) })
		if found {
			op.on = p.name
		}
		return found
	}
	named := func(what string) { op.name = fmt.Sprintf("%s-%d", what, m.made+1) }
	found := true
	switch op.kind {
	case stressStart:
		found = m.countOn() < m.running && vm(func(v *stressVM) bool { return !v.on && !v.apart && !v.busy })
	case stressStop:
		found = vm(func(v *stressVM) bool { return v.on })
	case stressMigrate:
		found = vm(func(v *stressVM) bool { return v.on && v.up && !v.moves })
		named("move")
	case stressBackup, stressSnapshot:
		found = m.unended() <= m.running && vm(func(v *stressVM) bool { return !v.apart && !v.busy && m.pointsOf(v) < stressPointsPerVM })
		named(op.kind)
	case stressCopy:
		found = len(m.restores) < stressRestores && len(m.vms)+len(m.restores) < m.most+m.most/4 &&
			point(func(p *stressPoint) bool { return p.ready && (!p.snapshot || !p.vm.goes) })
		named("copy")
	case stressReplace, stressReplaceAll:
		found = len(m.restores) < stressRestores && point(func(p *stressPoint) bool { return m.replaces(op.kind, p) })
		named("swap")
	case stressCancel:
		op.on, found = pickStress(r, m.underWay(), func(string) bool { return true })
	case stressDeletePoint:
		early := r.IntN(4) == 0
		found = point(func(p *stressPoint) bool { return (p.ended || early) && !m.isRead(p) })
	case stressDeleteVM:
		found = len(m.vms) > m.most*3/4 && vm(func(v *stressVM) bool { return !v.busy })
	case stressKillAgent:
		op.node = r.IntN(m.nodes)
		op.down = time.Duration(r.Int64N(int64(stressLongestDown)))
	case stressKillLeader:
		op.down = time.Duration(r.Int64N(int64(stressLongestDown)))
	}
	if !found {
		return stressOp{kind: stressRest}
	}
	return op
}

func drawStress(r *rand.Rand) string {
	all := 0
	for _, w := range stressWeights {
		all += w.weight
	}
	n := r.IntN(all)
	for _, w := range stressWeights {
		if n -= w.weight; n < 0 {
			return w.kind
		}
	}
	return stressRest
}

// pickStress picks one of those for which ok says yes.
func pickStress[T any](r *rand.Rand, all []T, ok func(T) bool) (picked T, found bool) {
	var some []T
	for _, one := range all {
		if ok(one) {
			some = append(some, one)
		}
	}
	if len(some) == 0 {
		return picked, false
	}
	return some[r.IntN(len(some))], true
}

// TestStressPlan: the operations follow from the seed, keep the bounds, and
// leave out no kind.
func TestStressPlan(t *testing.T) {
	t.Parallel()
	walk := func(seed uint64) (list []stressOp) {
		m := &stressModel{most: 8, running: 3, nodes: 3, restores: map[string]*stressRestore{}}
		for i := range m.most {
			m.vms = append(m.vms, &stressVM{name: fmt.Sprintf("vm-%d", i)})
		}
		r := rand.New(rand.NewPCG(seed, 0))
		for i := range 2000 {
			op := m.next(r)
			list = append(list, op)
			m.apply(op)
			require.LessOrEqual(t, m.countOn(), m.running)
			require.LessOrEqual(t, len(m.vms), m.most*5/4)
			for _, v := range m.vms {
				require.False(t, v.busy && (v.on || v.goes), "%s", op)
			}
			if i%4 == 3 {
				endAll(m)
			}
		}
		return list
	}
	first := walk(1)
	require.Equal(t, first, walk(1))
	require.NotEqual(t, first, walk(2))
	for _, w := range stressWeights {
		require.True(t, slices.ContainsFunc(first, func(op stressOp) bool { return op.kind == w.kind }), w.kind)
	}
}

// endAll brings everything to the end that was asked for.
func endAll(m *stressModel) {
	var vms []*stressVM
	for _, v := range m.vms {
		v.up, v.there, v.moves = v.on, v.on, false
		if !v.goes {
			vms = append(vms, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.restores)) {
		r := m.restores[name]
		if r.point.vm.busy {
			m.replaced(r.point, nil, nil)
		} else {
			vms = append(vms, &stressVM{name: name, apart: !r.point.agree})
		}
		delete(m.restores, name)
	}
	var points []*stressPoint
	for _, p := range m.points {
		p.ready, p.ended, p.agree = true, true, !p.vm.up
		if !p.goes && !(p.snapshot && p.vm.goes) {
			points = append(points, p)
		}
	}
	m.vms, m.points = vms, points
}
