package control

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/points"
	"hayloft.dev/pkg/api/v1alpha1"
)

const (
	// asideMost is for how long others stand aside at most.
	asideMost = 15 * time.Second
	// many newcomers at once are a rush, which has ended when none came for rushPause:
	// between a schedule and the point that it made a moment passes.
	many      = 16
	rushPause = 250 * time.Millisecond
)

// newcomers have go first what is late with each moment: schedules whose time has
// come, and points that nobody has looked at yet. What a point stands for is the
// moment of its cut: of many that come at once the last would else be cut when the
// first are nearly done. Others stand aside meanwhile, and are woken. A point that
// somebody has asked for stands aside for others like it alone.
type newcomers struct {
	wake func(who)
	over func() // a rush is

	mu sync.Mutex
	// unseen is who is new, and whether somebody has asked for him.
	unseen map[who]bool
	in     map[string]int // how many of them by namespace
	asked  int            // how many of them somebody has asked for
	// came is how many there were since nobody was new, and from when on they were
	// many; pause runs when none is new any more and it were many.
	came  int
	began time.Time
	pause *time.Timer
	// stands is who stands aside. Who has done so for long is given his turn, and is
	// in passed until he was looked at.
	stands map[who]standing
	passed map[who]bool
}

// who is a schedule or a point.
type who struct {
	schedule bool
	key      types.NamespacedName
}

// comer is somebody whose turn it may be.
type comer struct {
	who
	asked bool // a point that no schedule made
}

type standing struct {
	since time.Time
	asked bool
}

func scheduleComer(key types.NamespacedName) comer { return comer{who: who{schedule: true, key: key}} }

// pointComer is a point as one that comes.
func pointComer(b *v1alpha1.VMBackup) comer {
	return comer{who: who{key: client.ObjectKeyFromObject(b)}, asked: !scheduled(b)}
}

func newNewcomers(wake func(who), over func()) *newcomers {
	return &newcomers{wake: wake, over: over, unseen: map[who]bool{}, in: map[string]int{}, stands: map[who]standing{}, passed: map[who]bool{}}
}

// noted passes everything, and notes points of which nothing was decided as they
// are put into the queue.
func (n *newcomers) noted() predicate.Predicate {
	return predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool {
		if atRest, _ := points.AtRest(e.Object); atRest {
			return true
		}
		if known, ok := points.Of(e.Object); ok && plan.Undecided(known.Point()) {
			n.note(pointComer(known.Point()))
		}
		return true
	}}
}

func (n *newcomers) note(c comer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pause != nil {
		n.pause.Stop()
		n.pause = nil
	}
	if n.came++; n.came == many {
		n.began = time.Now()
	}
	if _, known := n.unseen[c.who]; !known {
		n.unseen[c.who] = c.asked
		n.count(c.key.Namespace, c.asked, 1)
	}
	delete(n.stands, c.who)
}

// count counts one of the unseen. The caller holds the lock.
func (n *newcomers) count(namespace string, asked bool, by int) {
	if asked {
		n.asked += by
	}
	if n.in[namespace] += by; n.in[namespace] == 0 {
		delete(n.in, namespace)
	}
}

// coming is how many of a namespace nobody has looked at yet, in a rush.
func (n *newcomers) coming(namespace string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.came < many {
		return 0
	}
	return n.in[namespace]
}

// rush tells for how long at most it is to wait for many newcomers what would take
// the API server from them; 0: there are not many, or they had their time.
func (n *newcomers) rush() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.came < many {
		return 0
	}
	return max(0, asideMost-time.Since(n.began))
}

// turn is called when it is somebody's turn, and tells for how long at most he stands
// aside; he is woken before that when there is nobody to stand aside for. 0: he is
// looked at, and is not new any more when seen is called.
func (n *newcomers) turn(c comer) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, is := n.unseen[c.who]; is {
		return 0
	}
	return n.stand(c)
}

// aside tells for how long somebody who is looked at, new or not, is to leave what
// can wait.
func (n *newcomers) aside(c comer) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stand(c)
}

// stand is aside for who holds the lock.
func (n *newcomers) stand(c comer) time.Duration {
	others, lately := len(n.unseen), n.pause != nil
	if c.asked {
		others, lately = n.asked, false
	}
	if asked, is := n.unseen[c.who]; is && (asked || !c.asked) {
		others--
	}
	s, stood := n.stands[c.who]
	left := asideMost - time.Since(s.since)
	switch {
	case n.passed[c.who]:
		return 0
	case others == 0 && !lately, stood && left <= 0:
		if stood && left <= 0 {
			n.passed[c.who] = true
		}
		delete(n.stands, c.who)
		return 0
	case !stood:
		n.stands[c.who], left = standing{time.Now(), c.asked}, asideMost
	}
	return left
}

// seen is called when somebody was looked at.
func (n *newcomers) seen(w who) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.passed, w)
	asked, is := n.unseen[w]
	if !is {
		return
	}
	delete(n.unseen, w)
	if n.count(w.key.Namespace, asked, -1); asked && n.asked == 0 {
		n.free(true)
	}
	switch {
	case len(n.unseen) > 0:
	case n.came < many:
		n.end()
	default:
		var pause *time.Timer
		pause = time.AfterFunc(rushPause, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.pause == pause {
				n.end()
			}
		})
		n.pause = pause
	}
}

// end wakes who stands aside. The caller holds the lock.
func (n *newcomers) end() {
	rush := n.came >= many
	n.came, n.pause = 0, nil
	n.free(false)
	if rush {
		n.over()
	}
}

// free wakes who stands aside, or of them those alone that somebody has asked for.
// The caller holds the lock.
func (n *newcomers) free(asked bool) {
	for w, s := range n.stands {
		if s.asked || !asked {
			n.wake(w)
		}
	}
}

// forget is called when an object is gone.
func (n *newcomers) forget(w who) {
	n.seen(w)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.stands, w)
}
