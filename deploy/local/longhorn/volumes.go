package longhorn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"hayloft.dev/deploy/local/longhorn/admission"
	"hayloft.dev/deploy/local/longhorn/instance"
	"hayloft.dev/deploy/local/longhorn/tickets"
)

const (
	// maxSteps bounds one reconciliation. From attached over a dead engine to attached again are six.
	maxSteps = 16
	// waitInterval is how often a volume that waits for something outside of it is looked at.
	waitInterval = time.Second
	workers      = 16
	// A volume that cannot be attached is tried again soon, and then never later than every few seconds.
	firstRetry, lastRetry = 50 * time.Millisecond, 5 * time.Second
	events                = 1024 // of ended processes and polls, waiting to be taken; more would wait in their goroutines
)

// volumes takes care of Volume objects. One volume is taken care of by one goroutine at a time.
type volumes struct {
	client    client.Client
	namespace string
	dir       string
	nodes     []Node
	diskBytes int64
	log       *slog.Logger

	instances *instance.Set
	wake      chan event.TypedGenericEvent[types.NamespacedName]
	ended     chan struct{} // closed at the end, so that nobody waits to wake anybody

	timing timing

	mu       sync.Mutex
	attended map[string]*attendance // engine -> what runs beside its process
	begun    map[string]time.Time   // volume and what is done with it -> since when, where that is to take its time
}

func newVolumes(c client.Client, o Options) *volumes {
	v := &volumes{
		client: c, namespace: o.Namespace, dir: o.Dir, nodes: o.Nodes, diskBytes: o.DiskBytes, log: o.Log,
		wake:     make(chan event.TypedGenericEvent[types.NamespacedName], events),
		ended:    make(chan struct{}),
		attended: map[string]*attendance{},
		begun:    map[string]time.Time{},
	}
	if o.RealTiming {
		v.timing = realTiming
	}
	v.instances = instance.NewSet(starter(o.Procs, o.EngineBinary), func(volume, name string) {
		v.log.Info("process ended by itself", "volume", volume, "instance", name)
		v.lookAt(volume)
	})
	return v
}

func (v *volumes) setup(mgr ctrl.Manager) error {
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{}) // statuses are written here and nowhere else
	return ctrl.NewControllerManagedBy(mgr).
		Named("volume").
		For(&lh.Volume{}, changed).
		Watches(&lh.VolumeAttachment{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
			return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}}
		}), changed).
		Watches(&lh.Snapshot{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
			return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.(*lh.Snapshot).Spec.Volume}}}
		}), changed).
		WatchesRawSource(source.TypedChannel(v.wake, handler.TypedEnqueueRequestsFromMapFunc(
			func(_ context.Context, name types.NamespacedName) []reconcile.Request {
				return []reconcile.Request{{NamespacedName: name}}
			}))).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		}).
		Complete(v)
}

// lookAt has a volume taken care of soon. It may be called from anywhere.
func (v *volumes) lookAt(volume string) {
	wakeUp := event.TypedGenericEvent[types.NamespacedName]{Object: types.NamespacedName{Namespace: v.namespace, Name: volume}}
	select {
	case v.wake <- wakeUp:
	case <-v.ended:
	}
}

// end stops everything that runs.
func (v *volumes) end() {
	close(v.ended)
	v.mu.Lock()
	attended := maps.Clone(v.attended)
	v.mu.Unlock()
	for engine := range attended {
		v.leave(engine)
	}
	v.instances.StopAll()
	for _, a := range attended {
		if err := instance.RemoveSocket(a.engine.Volume); err != nil {
			v.log.Warn("ending", "volume", a.engine.Volume, "error", err)
		}
	}
}

// Reconcile brings a volume one or more steps nearer to what its objects say.
func (v *volumes) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	for range maxSteps {
		vol, err := v.load(ctx, req.Name)
		switch {
		case apierrors.IsNotFound(err):
			return ctrl.Result{}, v.forget(ctx, req.Name)
		case err != nil:
			return ctrl.Result{}, fmt.Errorf("reading volume %s: %w", req.Name, err)
		}
		again, err := v.step(ctx, vol)
		var wait waiting
		switch {
		case apierrors.IsConflict(err) || apierrors.IsNotFound(err):
			continue // somebody else wrote: look again
		case errors.As(err, &wait):
			return ctrl.Result{RequeueAfter: wait.after}, nil
		case err != nil:
			return ctrl.Result{}, fmt.Errorf("volume %s: %w", req.Name, err)
		case !again:
			return ctrl.Result{}, nil
		}
	}
	return ctrl.Result{RequeueAfter: waitInterval}, nil
}

// load reads a volume and what belongs to it.
func (v *volumes) load(ctx context.Context, name string) (*volume, error) {
	vol := &volume{Volume: &lh.Volume{}}
	if err := v.client.Get(ctx, v.key(name), vol.Volume); err != nil {
		return nil, err
	}
	var engines lh.EngineList
	var replicas lh.ReplicaList
	// Side by side: somebody is waiting for the volume.
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		attachment := &lh.VolumeAttachment{}
		err := v.client.Get(ctx, v.key(name), attachment)
		if err == nil {
			vol.attachment = attachment
		}
		return client.IgnoreNotFound(err)
	})
	group.Go(func() error { return v.client.List(ctx, &engines, v.of(name)...) })
	group.Go(func() error { return v.client.List(ctx, &replicas, v.of(name)...) })
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("reading what belongs to it: %w", err)
	}
	vol.arrange(engines.Items, replicas.Items)
	return vol, nil
}

// step does what is next. again says that there may be more to do at once.
func (v *volumes) step(ctx context.Context, vol *volume) (again bool, err error) {
	if vol.DeletionTimestamp != nil {
		return false, v.remove(ctx, vol)
	}
	if made, err := v.makeObjects(ctx, vol); made || err != nil {
		return made, err
	}
	if vol.Spec.DataEngine == lh.DataEngineTypeV2 {
		return false, v.refuseV2(ctx, vol)
	}
	if err := v.applyTickets(ctx, vol); err != nil {
		return false, fmt.Errorf("applying tickets: %w", err)
	}
	if err := v.mirror(ctx, vol); err != nil {
		return false, fmt.Errorf("mirroring the engine: %w", err)
	}
	if end := nextOfMigration(v.migrationFacts(vol)); end != nothingToMigrate {
		v.log.Debug("volume", "name", vol.Name, "do", end.String(), "node", vol.Spec.NodeID, "migration", vol.Spec.MigrationNodeID)
		return true, errors.Join(v.migrate(ctx, vol, end), v.showTickets(ctx, vol))
	}
	act := next(v.facts(vol))
	if act != nothing {
		v.log.Debug("volume", "name", vol.Name, "do", act.String(), "node", vol.Spec.NodeID, "state", vol.Status.State)
	}
	switch act {
	case settle:
		err = v.settle(ctx, vol)
	case open:
		err = v.open(ctx, vol)
	case closing:
		err = v.close(ctx, vol)
	case fault:
		err = v.fault(ctx, vol)
	case recovery:
		err = v.recover(ctx, vol)
	}
	if err = errors.Join(err, v.showTickets(ctx, vol)); err != nil || act != nothing {
		return true, err
	}
	return false, v.tendSnapshots(ctx, vol)
}

func (v *volumes) facts(vol *volume) facts {
	f := facts{
		State:      vol.Status.State,
		Robustness: vol.Status.Robustness,
		Wanted:     vol.Spec.NodeID,
		Current:    vol.Status.CurrentNodeID,
		Engine:     v.instances.Get(vol.engine.Name).State,
		AllFailed:  true,
		Stray:      len(v.instances.Of(vol.Name)) > 0,
	}
	for _, r := range vol.replicas {
		f.Schedulable = f.Schedulable || r.Spec.NodeID != ""
		f.AllFailed = f.AllFailed && (r.Spec.FailedAt != "" || r.Spec.NodeID == "")
	}
	return f
}

// applyTickets writes into the volume's spec what its tickets want.
func (v *volumes) applyTickets(ctx context.Context, vol *volume) error {
	want := tickets.Decide(vol.attachment, vol.Volume, vol.engines())
	s := &vol.Spec
	if want == (tickets.Wanted{NodeID: s.NodeID, MigrationNodeID: s.MigrationNodeID, DisableFrontend: s.DisableFrontend, LastAttachedBy: s.LastAttachedBy}) {
		return nil
	}
	for _, node := range []string{want.NodeID, want.MigrationNodeID} {
		if node != "" && v.ip(node) == "" {
			v.log.Warn("a ticket wants a node that is not there", "volume", vol.Name, "node", node)
			return nil
		}
	}
	s.NodeID, s.MigrationNodeID, s.DisableFrontend, s.LastAttachedBy = want.NodeID, want.MigrationNodeID, want.DisableFrontend, want.LastAttachedBy
	return v.client.Update(ctx, vol.Volume)
}

func (v *volumes) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: v.namespace, Name: name}
}

// of selects what belongs to a volume.
func (v *volumes) of(volume string) []client.ListOption {
	return []client.ListOption{client.InNamespace(v.namespace), client.MatchingLabels{admission.VolumeLabel: volume}}
}

func (v *volumes) meta(vol *lh.Volume, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:       v.namespace,
		Name:            name,
		Labels:          map[string]string{admission.VolumeLabel: vol.Name},
		OwnerReferences: admission.OwnerReferences(vol),
	}
}

func (v *volumes) ip(node string) string {
	for _, n := range v.nodes {
		if n.Name == node {
			return n.IP
		}
	}
	return ""
}
