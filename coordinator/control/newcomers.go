package control

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"hayloft.dev/coordinator/points"
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
// first are nearly done. Others stand aside meanwhile, and are woken.
type newcomers struct {
	wake func(comer)

	mu     sync.Mutex
	unseen map[comer]bool
	// came is how many there were since nobody was new; pause runs when none is any
	// more and it were many.
	came  int
	pause *time.Timer
	// since is when others began to stand aside.
	since map[comer]time.Time
}

// comer is a schedule or a point.
type comer struct {
	schedule bool
	key      types.NamespacedName
}

func newNewcomers(wake func(comer)) *newcomers {
	return &newcomers{wake: wake, unseen: map[comer]bool{}, since: map[comer]time.Time{}}
}

// noted passes everything, and notes points of which nothing was decided as they
// are put into the queue.
func (n *newcomers) noted() predicate.Predicate {
	return predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool {
		if known, ok := points.Of(e.Object); ok && undecided(known.Point()) {
			n.note(comer{key: client.ObjectKeyFromObject(e.Object)})
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
	n.came++
	n.unseen[c] = true
	delete(n.since, c)
}

// turn is called when it is somebody's turn, and tells for how long at most he stands
// aside; he is woken before that when there is nobody to stand aside for. 0: he is
// looked at, and is not new any more when seen is called.
func (n *newcomers) turn(c comer) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.unseen[c] {
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
	others := len(n.unseen)
	if n.unseen[c] {
		others--
	}
	since, stood := n.since[c]
	left := asideMost - time.Since(since)
	switch {
	case others == 0 && n.pause == nil, stood && left <= 0:
		delete(n.since, c)
		return 0
	case !stood:
		n.since[c], left = time.Now(), asideMost
	}
	return left
}

// seen is called when somebody was looked at.
func (n *newcomers) seen(c comer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.unseen[c] {
		return
	}
	delete(n.unseen, c)
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
	n.came, n.pause = 0, nil
	for c := range n.since {
		n.wake(c)
	}
}

// forget is called when an object is gone.
func (n *newcomers) forget(c comer) {
	n.seen(c)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.since, c)
}
