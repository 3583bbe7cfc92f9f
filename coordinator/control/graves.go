package control

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/forgotten"
)

// graves are the points that were deleted in this cluster while their data stays
// on the target: by a user's word they are not found again.
type graves struct {
	c *Controller

	mu sync.Mutex
	// deleted are found points that users have deleted and of which that is not
	// written down yet: target name -> point
	deleted map[string]map[types.UID]deletedPoint
}

type deletedPoint struct {
	namespace, name string
	at              time.Time
}

// deletedLimit bounds what a coordinator that does not lead remembers.
const deletedLimit = time.Hour

func newGraves(c *Controller) *graves {
	return &graves{c: c, deleted: map[string]map[types.UID]deletedPoint{}}
}

// watch notes in every coordinator, leading or not, which found points go: they
// have no finalizer, and the leader may be dying.
func (g *graves) watch(ctx context.Context, mgr ctrl.Manager) error {
	informer, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.VMBackup{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching VMBackups: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(o any) {
		if d, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		// One that was missing went by itself, or could go as well: there is nothing
		// that could come back.
		// Of one that was claimed its deletion has said what becomes of its data.
		if b, ok := o.(*v1alpha1.VMBackup); ok && b.Spec.Found != nil && !b.Spec.Claimed && b.Status.Phase != v1alpha1.BackupMissing {
			g.note(b)
		}
	}})
	if err != nil {
		return fmt.Errorf("watching VMBackups: %w", err)
	}
	return nil
}

func (g *graves) note(b *v1alpha1.VMBackup) {
	g.mu.Lock()
	defer g.mu.Unlock()
	of := g.deleted[b.Spec.Target]
	if of == nil {
		of = map[types.UID]deletedPoint{}
		g.deleted[b.Spec.Target] = of
	}
	if len(of)%256 == 255 {
		maps.DeleteFunc(of, func(_ types.UID, d deletedPoint) bool { return time.Since(d.at) > deletedLimit })
	}
	of[b.Spec.Found.UID] = deletedPoint{b.Namespace, b.Name, time.Now()}
	g.c.wake.targets.wake(types.NamespacedName{Name: b.Spec.Target})
}

// settle writes down which found points users have deleted. Those that went with
// their namespace may come back with it: nobody spoke of them.
func (g *graves) settle(ctx context.Context, t *v1alpha1.BackupTarget) error {
	g.mu.Lock()
	deleted := maps.Clone(g.deleted[t.Name])
	g.mu.Unlock()
	for uid, d := range deleted {
		if err := g.settleOne(ctx, t, uid, d); err != nil {
			return err
		}
		g.mu.Lock()
		delete(g.deleted[t.Name], uid)
		g.mu.Unlock()
	}
	return nil
}

func (g *graves) settleOne(ctx context.Context, t *v1alpha1.BackupTarget, point types.UID, d deletedPoint) error {
	if with, err := g.c.goesWith(ctx, d.namespace, pointsDefinition); err != nil || with != "" {
		return err
	}
	return g.bury(ctx, t, point, d.namespace, d.name, "Deleted")
}

// Bury writes down that a point of this cluster is not to be found again, before
// its VMBackup goes. Without its target there is nothing to find it on; one that
// is made anew under that name has no memory, and finds everything.
func (g *graves) Bury(ctx context.Context, s plan.Tombstone) error {
	t, err := g.c.target(ctx, s.Target)
	if err != nil || t == nil {
		return err
	}
	return g.bury(ctx, t, s.Point, s.Namespace, s.Name, s.Reason)
}

// bury writes down that a point is not to be found again. When it returns nil, no
// later refresh brings it back.
func (g *graves) bury(ctx context.Context, t *v1alpha1.BackupTarget, point types.UID, namespace, name, reason string) error {
	return g.c.shelve(ctx, t, shelfGraves, graveOf(point), "data", map[string]any{
		string(point): forgotten.Text(namespace, name, reason, time.Now()),
	})
}

// unbury forgets about a point that is not on the target any more.
func (g *graves) unbury(ctx context.Context, t *v1alpha1.BackupTarget, point types.UID) error {
	return g.c.shelve(ctx, t, shelfGraves, graveOf(point), "data", map[string]any{string(point): nil})
}

// graveOf is the part in which a point is written down.
func graveOf(point types.UID) string {
	if point == "" {
		return "0"
	}
	return string(point[:1])
}

// buried reads the graves of a target.
func buried(parts []corev1.ConfigMap) map[types.UID]bool {
	out := map[types.UID]bool{}
	for _, m := range parts {
		for uid := range m.Data {
			out[types.UID(uid)] = true
		}
	}
	return out
}
