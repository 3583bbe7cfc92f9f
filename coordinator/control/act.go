package control

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
)

// finalizer puts or removes a finalizer, and sets labels along with it.
func (c *Controller) finalizer(ctx context.Context, o client.Object, name string, want bool, labels map[string]string) (changed bool, err error) {
	before := o.DeepCopyObject().(client.Object)
	if want {
		changed = controllerutil.AddFinalizer(o, name)
		for k, v := range labels {
			if o.GetLabels()[k] != v {
				all := map[string]string{k: v}
				for k, v := range o.GetLabels() {
					if _, ours := labels[k]; !ours {
						all[k] = v
					}
				}
				o.SetLabels(all)
				changed = true
			}
		}
	} else {
		changed = controllerutil.RemoveFinalizer(o, name)
	}
	if !changed {
		return false, nil
	}
	// The whole list of finalizers is written, so it must be the current one.
	err = c.client.Patch(ctx, o, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	switch {
	case apierrors.IsNotFound(err) && !want:
		return false, nil // it is gone
	case err != nil:
		return false, fmt.Errorf("changing the finalizer of %s: %w", o.GetName(), err)
	}
	return true, nil
}

// followUp carries out what both kinds' intents share, after the status was
// written.
func (c *Controller) followUp(ctx context.Context, owner v1alpha1.ObjectReference, label string, jobs []v1alpha1.NodeJob, a plan.Actions) error {
	for _, job := range a.CreateJobs {
		if err := c.jobs.create(ctx, job); err != nil {
			return err
		}
	}
	if err := c.jobs.remove(ctx, jobs, a.DeleteJobs); err != nil {
		return err
	}
	if a.DropJobs {
		return c.jobs.drop(ctx, label, owner.UID, jobs)
	}
	return nil
}

func (c *Controller) tell(o client.Object, events []plan.Event) {
	for _, e := range events {
		c.events.Event(o, e.Type, e.Reason, shorten(e.Message))
	}
}

// shorten keeps an event's message within the API's limit of 1024 bytes.
func shorten(s string) string {
	const limit = 1000
	if len(s) <= limit {
		return s
	}
	return s[:limit] + " ..."
}

// pacer holds back statuses that only inform until there has been something to
// tell for a while: what passes sooner is never written.
type pacer struct {
	mu    sync.Mutex
	since map[types.UID]time.Time // object -> when something was first held back since its last write
}

func newPacer() *pacer { return &pacer{since: map[types.UID]time.Time{}} }

// due tells in how long a status that only informs may be written; 0: now.
func (p *pacer) due(uid types.UID, every time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, known := p.since[uid]
	if !known {
		at = time.Now()
		p.since[uid] = at
	}
	return max(0, every-time.Since(at))
}

// forget is called when an object was written, or is gone.
func (p *pacer) forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.since, uid)
}

// known remembers the UIDs of objects, to clean up after those that are gone.
type known struct {
	mu   sync.Mutex
	uids map[types.NamespacedName]types.UID
}

func newKnown() *known { return &known{uids: map[types.NamespacedName]types.UID{}} }

// see notes an object; it returns the UID of another one that had its name.
func (k *known) see(key types.NamespacedName, uid types.UID) (former types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	former = k.uids[key]
	if uid == "" {
		delete(k.uids, key)
		return former
	}
	k.uids[key] = uid
	if former == uid {
		return ""
	}
	return former
}

// memory keeps one value per object.
type memory[T any] struct {
	mu     sync.Mutex
	values map[types.UID]T
}

func newMemory[T any]() *memory[T] { return &memory[T]{values: map[types.UID]T{}} }

func (m *memory[T]) get(uid types.UID) T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[uid]
}

func (m *memory[T]) put(uid types.UID, v T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[uid] = v
}

func (m *memory[T]) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, uid)
}
