package lease

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// Observer remembers when it saw each session's Lease change, and tells by the
// rule of takeover which sessions are alive. It is fed from a watch (Observe,
// Forget) or looks by itself (Ended), and may be used by many goroutines.
//
// What it first sees it takes for alive, so a new observer knows of a death
// only after that session's duration.
type Observer struct {
	floor time.Duration // no session is ended after a shorter silence

	mu       sync.Mutex
	sessions map[string]observed // session ID -> what was seen last
}

type observed struct {
	sighting
	node            string
	namespace       string
	uid             types.UID
	resourceVersion string
}

// SessionState is what an Observer knows of one session.
type SessionState struct {
	ID, Node string
	Alive    bool
	// Silent is when the session has ended unless it is seen to change before.
	Silent time.Time

	namespace       string
	uid             types.UID
	resourceVersion string
}

// NewObserver makes an Observer that has seen nothing.
func NewObserver() *Observer { return newObserver(0) }

func newObserver(floor time.Duration) *Observer {
	return &Observer{floor: floor, sessions: map[string]observed{}}
}

// Observe takes note of a session's Lease as it is now. Other Leases are
// passed over, so every event of a watch on a namespace's Leases can be given.
func (o *Observer) Observe(l *coordinationv1.Lease) {
	id, ok := strings.CutPrefix(l.Name, names.SessionLease(""))
	if ok && l.Labels[v1alpha1.LabelLease] == KindSession {
		o.observe(id, l, time.Now())
	}
}

func (o *Observer) observe(id string, l *coordinationv1.Lease, now time.Time) sighting {
	node := l.Annotations[AnnotationNode]
	if node == "" {
		node = l.Labels[v1alpha1.LabelNode]
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := observed{
		sighting:  o.sessions[id].see(version(l), duration(l), o.floor, now),
		node:      node,
		namespace: l.Namespace, uid: l.UID, resourceVersion: l.ResourceVersion,
	}
	o.sessions[id] = seen
	return seen.sighting
}

// Forget is for a Lease that was deleted: its session has ended. name is the
// Lease's; one that is no session's is passed over.
func (o *Observer) Forget(name string) {
	if id, ok := strings.CutPrefix(name, names.SessionLease("")); ok {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.sessions, id)
	}
}

// Alive tells whether a session may still act as far as was observed: its
// Lease exists and has changed within its duration. A watch that broke down
// looks like silence of everybody: confirm with Ended before doing what would
// be costly to do for nothing.
func (o *Observer) Alive(session string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen, ok := o.sessions[session]
	return ok && !seen.ended(time.Now())
}

// Node of a session that was observed and not forgotten, else empty.
func (o *Observer) Node(session string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sessions[session].node
}

// Sessions are all observed ones that were not forgotten, alive or not, by ID.
// The earliest Silent of the living ones is when there can next be a death.
func (o *Observer) Sessions() []SessionState {
	o.mu.Lock()
	seen := maps.Clone(o.sessions)
	o.mu.Unlock()
	now := time.Now()
	all := make([]SessionState, 0, len(seen))
	for id, s := range seen {
		all = append(all, SessionState{
			ID: id, Node: s.node, Alive: !s.ended(now), Silent: s.silent(),
			namespace: s.namespace, uid: s.uid, resourceVersion: s.resourceVersion,
		})
	}
	slices.SortFunc(all, func(a, b SessionState) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Ended reads a session's Lease and tells whether the session has ended: the
// Lease is gone, or was observed unchanged for its whole duration. If it has
// not, until is when it can be found to have at the earliest.
func (o *Observer) Ended(ctx context.Context, r client.Reader, namespace, session string) (ended bool, until time.Time, err error) {
	name := names.SessionLease(session)
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return true, time.Time{}, nil // no object can have that name
	}
	var l coordinationv1.Lease
	asked := time.Now()
	err = r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &l)
	switch {
	case apierrors.IsNotFound(err):
		o.Forget(name)
		return true, time.Time{}, nil
	case err != nil:
		return false, time.Time{}, fmt.Errorf("reading lease %s: %w", name, err)
	}
	// Without its label it is still what the session renews.
	s := o.observe(session, &l, time.Now())
	return s.ended(asked), s.silent(), nil
}

// Remove deletes the Lease that a session left behind, unless it changed since
// it was observed. Only the Lease of a session that is not Alive may be
// removed: its volumes are free from then on.
func Remove(ctx context.Context, w client.Writer, s SessionState) error {
	if s.Alive {
		return fmt.Errorf("session %s is alive: its lease is not removed", s.ID)
	}
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: names.SessionLease(s.ID)}}
	err := w.Delete(ctx, l, client.Preconditions{UID: &s.uid, ResourceVersion: &s.resourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing the lease of ended session %s: %w", s.ID, err)
	}
	return nil
}
