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
	// aside is for how long another point stands aside each time, and asideMost for
	// how long in all before it is looked at.
	aside     = 100 * time.Millisecond
	asideMost = 5 * time.Second
)

// newcomers have points go first that nobody has looked at yet. What a point stands
// for is the moment of its cut: of many that come at once the last would else be cut
// when the first are nearly done.
type newcomers struct {
	mu     sync.Mutex
	unseen map[types.NamespacedName]bool
	// since is when other points began to stand aside.
	since map[types.NamespacedName]time.Time
}

func newNewcomers() *newcomers {
	return &newcomers{unseen: map[types.NamespacedName]bool{}, since: map[types.NamespacedName]time.Time{}}
}

// noted passes everything, and notes points of which nothing was decided as they
// are put into the queue.
func (n *newcomers) noted() predicate.Predicate {
	return predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool {
		if known, ok := points.Of(e.Object); ok && undecided(known.Point()) {
			n.note(client.ObjectKeyFromObject(e.Object))
		}
		return true
	}}
}

func (n *newcomers) note(key types.NamespacedName) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unseen[key] = true
}

// turn is called when it is a point's turn, and tells for how long it stands aside;
// 0: it is looked at.
func (n *newcomers) turn(key types.NamespacedName) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	since, stood := n.since[key]
	if n.unseen[key] || len(n.unseen) == 0 || stood && time.Since(since) >= asideMost {
		delete(n.unseen, key)
		delete(n.since, key)
		return 0
	}
	if !stood {
		n.since[key] = time.Now()
	}
	return aside
}
