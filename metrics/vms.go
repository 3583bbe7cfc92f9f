package metrics

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
)

var (
	vmLastGood = define(Metric{
		Name: "hayloft_vm_last_good_point_timestamp_seconds", Kind: Gauge, By: Leader, Labels: []string{"namespace", "vm", "type"},
		Help: "The moment that the VM's newest Ready point stands for. No series: it has none of that type.",
	})
	vmPointCount = define(Metric{
		Name: "hayloft_vm_points", Kind: Gauge, By: Leader, Labels: []string{"namespace", "vm", "type"},
		Help: "Ready points of the VM.",
	})
	vmPointDuration = define(Metric{
		Name: "hayloft_vm_last_good_point_duration_seconds", Kind: Gauge, By: Leader, Labels: []string{"namespace", "vm", "type"},
		Help: "Time from the start of the VM's newest Ready point until it was Ready.",
	})
	vmPointUploaded = define(Metric{
		Name: "hayloft_vm_last_good_point_uploaded_bytes", Kind: Gauge, By: Leader, Labels: []string{"namespace", "vm", "type"},
		Help: "What the VM's newest Ready backup wrote to its target, after compression.",
	})
	vmUploaded = define(Metric{
		Name: "hayloft_vm_uploaded_bytes", Kind: Gauge, By: Leader, Labels: []string{"namespace", "vm", "type"},
		Help: "What all Ready backups of the VM wrote to their targets, after compression.",
	})
	vmLastFailure = define(Metric{
		Name: "hayloft_vm_last_failure_timestamp_seconds", Kind: Gauge, By: Leader, Labels: []string{"namespace", "vm", "type", "reason"},
		Help: "When the newest failed point of the VM failed, by the reason of its condition Ready. No series: none failed that is still there.",
	})
	vmProtection = define(Metric{
		Name: "hayloft_vm_protection_info", Kind: Gauge, By: Leader, Labels: []string{"namespace", "vm", "state"},
		Help: "1 for each VM. State: Protected; NoPoint (it has no Ready point); NoSchedule (it has some, but no schedule that is not suspended makes more); Exempt (its label hayloft.dev/protection is none).",
	})
)

// States of a VM's protection.
const (
	stateProtected  = "Protected"
	stateNoPoint    = "NoPoint"
	stateNoSchedule = "NoSchedule"
	stateExempt     = "Exempt"
)

type vmKey struct{ namespace, name string }

func (k vmKey) String() string { return k.namespace + "/" + k.name }

// vms are the VMs that exist, and what their points say. It lives from scrape to
// scrape: VMs come and go seldom, and their labels stay the same.
type vms struct {
	of    map[vmKey]*vm
	byUID map[types.UID]*vm
	// all are sorted by namespace and name.
	all []*vm
	// round counts scrapes.
	round int
}

type vm struct {
	vmKey
	uid    types.UID
	exempt bool
	// covered: a schedule that is not suspended makes points of it.
	covered bool
	// kinds are Backup and Snapshot.
	kinds [2]vmPoints
	// round that it was last seen in.
	round int

	protection stated     // by its state
	labels     [2]*labels // by kinds
	failures   [2]stated  // by kinds, with the reason
}

// stated are labels that stay the same for as long as one of them does.
type stated struct {
	state  string
	labels *labels
}

// of are the labels for a state; pairs makes them when it is another one.
func (s *stated) of(state string, pairs func() *labels) *labels {
	if s.labels == nil || s.state != state {
		s.state, s.labels = state, pairs()
	}
	return s.labels
}

// vmPoints is what one VM's points of one type say.
type vmPoints struct {
	points   int
	uploaded int64
	newest   goodPoint // the newest that is Ready
	last     badPoint  // the last that failed
}

// goodPoint is when a point was cut, zero if there is none, and what it wrote to
// its target.
type goodPoint struct {
	cut   time.Time
	wrote int64
	took  time.Duration
	timed bool // it is known how long it took
}

type badPoint struct {
	at     time.Time // zero: none failed
	reason string
}

// add adds what other points of the type say.
func (p *vmPoints) add(o *vmPoints) {
	p.points += o.points
	p.uploaded += o.uploaded
	if o.newest.cut.After(p.newest.cut) {
		p.newest = o.newest
	}
	if o.last.at.After(p.last.at) {
		p.last = o.last
	}
}

// kindsOf are the types of points, in the order of vm.kinds.
var kindsOf = [2]string{string(v1alpha1.TypeBackup), string(v1alpha1.TypeSnapshot)}

// begin a scrape with the VMs that exist now.
func (v *vms) begin(list []*metav1.PartialObjectMetadata) {
	if v.of == nil {
		v.of, v.byUID = make(map[vmKey]*vm, len(list)), make(map[types.UID]*vm, len(list))
	}
	v.round++
	changed := false
	for _, o := range list {
		m := v.byUID[o.UID]
		if m == nil || m.namespace != o.Namespace || m.name != o.Name {
			m, changed = &vm{vmKey: vmKey{o.Namespace, o.Name}, uid: o.UID}, true
			v.of[m.vmKey], v.byUID[o.UID] = m, m
			v.all = append(v.all, m)
		}
		m.exempt = o.Labels[v1alpha1.LabelProtection] == v1alpha1.ProtectionNone
		m.covered, m.kinds, m.round = false, [2]vmPoints{}, v.round
	}
	if !changed && len(v.all) == len(list) {
		return
	}
	v.all = slices.DeleteFunc(v.all, func(m *vm) bool {
		if m.round == v.round {
			return false
		}
		if v.of[m.vmKey] == m {
			delete(v.of, m.vmKey)
		}
		if v.byUID[m.uid] == m {
			delete(v.byUID, m.uid)
		}
		return true
	})
	slices.SortFunc(v.all, func(a, b *vm) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.name, b.name))
	})
}

// find is the VM that points with a source's UID are of; nil when it is gone. Another
// VM that has got its name since is not protected by them.
func (v *vms) find(k vmKey, source types.UID) *vm {
	m := v.byUID[source]
	if source == "" { // it was refused before anybody looked for the VM
		m = v.of[k]
	}
	if m == nil || m.vmKey != k {
		return nil
	}
	return m
}

// cover notes that an active schedule makes points of a VM.
func (v *vms) cover(k vmKey) {
	if m := v.of[k]; m != nil {
		m.covered = true
	}
}

func (v *vms) collect(s *Samples) {
	for _, m := range v.all {
		state := m.state()
		s.set(vmProtection, 1, m.protection.of(state, func() *labels { return by("namespace", m.namespace, "state", state, "vm", m.name) }))
		for i := range m.kinds {
			m.collect(s, i)
		}
	}
}

func (m *vm) state() string {
	switch {
	case m.exempt:
		return stateExempt
	case m.kinds[0].points+m.kinds[1].points == 0:
		return stateNoPoint
	case !m.covered:
		return stateNoSchedule
	}
	return stateProtected
}

func (m *vm) collect(s *Samples, i int) {
	kind, of := kindsOf[i], &m.kinds[i]
	if last := of.last; !last.at.IsZero() {
		s.set(vmLastFailure, seconds(last.at), m.failures[i].of(last.reason, func() *labels {
			return by("namespace", m.namespace, "reason", last.reason, "type", kind, "vm", m.name)
		}))
	}
	if of.points == 0 {
		return
	}
	if m.labels[i] == nil {
		m.labels[i] = by("namespace", m.namespace, "type", kind, "vm", m.name)
	}
	l := m.labels[i]
	s.set(vmPointCount, float64(of.points), l)
	if i == 0 {
		s.set(vmUploaded, float64(of.uploaded), l)
	}
	newest := &of.newest
	if newest.cut.IsZero() {
		return
	}
	s.set(vmLastGood, seconds(newest.cut), l)
	if i == 0 {
		s.set(vmPointUploaded, float64(newest.wrote), l)
	}
	if newest.timed {
		s.set(vmPointDuration, newest.took.Seconds(), l)
	}
}
