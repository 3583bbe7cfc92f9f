package control

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/coordinator/shares"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

// SharePods has each share worked on through a Pod of its own.
type SharePods struct {
	// Pod that this coordinator runs in, and its container: the Pods are made like it.
	Pod, Container string
	// Program is the path of the target worker in the image.
	Program string
	// User as whom shares are read and written.
	User int64
	// Claims that hold the share of a target, target -> claim.
	Claims map[string]string
}

// shareKey stands for all shares: they are decided on together.
var shareKey = types.NamespacedName{Name: "shares"}

// sharePods makes and removes the Pods of shares, and what they mount.
type sharePods struct {
	*Controller

	mu      sync.Mutex
	options *shares.Options
	// keyed are Pods whose Secret was seen to hold their keys, and when.
	keyed map[types.UID]time.Time
}

// refusedPause is the time between two tries to make what the API server refuses.
const refusedPause = 30 * time.Second

// keysSeen is how long keys that were seen are taken to be there.
const keysSeen = 10 * time.Minute

func (c *Controller) addShares(mgr ctrl.Manager) error {
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: shareKey}}
	})
	ours := builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetLabels()[shares.LabelMount] != "" }))
	return ctrl.NewControllerManagedBy(mgr).Named("shares").
		Watches(&v1alpha1.BackupTarget{}, all, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Pod{}, all, ours).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(c.sharedBy), ours, builder.WithPredicates(becameUsable)).
		Watches(&corev1.PersistentVolumeClaim{}, all, ours).
		Watches(&corev1.PersistentVolume{}, all, ours).
		WatchesRawSource(c.wake.shares.source()).
		Complete(&sharePods{Controller: c, keyed: map[types.UID]time.Time{}})
}

// becameUsable passes Pods that can be asked from now on.
var becameUsable = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		was, ok1 := e.ObjectOld.(*corev1.Pod)
		is, ok2 := e.ObjectNew.(*corev1.Pod)
		return ok1 && ok2 && !shares.Ready(was) && shares.Ready(is)
	},
}

// sharedBy has the targets probed whose share a Pod serves from now on: what waits for
// them need not wait for the next probe.
func (c *Controller) sharedBy(ctx context.Context, o client.Object) []reconcile.Request {
	var list v1alpha1.BackupTargetList
	if err := c.cache.List(ctx, &list); err != nil {
		c.Log.Warn("the targets of a share could not be listed", "error", err)
		return nil
	}
	for i := range list.Items {
		if t := &list.Items[i]; target.Mounted(t.Spec) && shares.Key(t.Name, t.Spec) == o.GetLabels()[shares.LabelShare] {
			c.probes.request(t, func() {})
		}
	}
	return nil
}

// Reconcile does what is to be done for all shares.
func (r *sharePods) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	o, err := r.optionsOf(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	seen, err := r.seen(ctx, r.cache, o)
	if err != nil {
		return reconcile.Result{}, err
	}
	intent := shares.Decide(time.Now(), *o, seen)
	if len(intent.Delete) > 0 {
		// A cache may lack a target that is there.
		if seen, err = r.seen(ctx, r.live, o); err != nil {
			return reconcile.Result{}, err
		}
		intent = shares.Decide(time.Now(), *o, seen)
	}
	for _, d := range intent.Delete {
		err := r.client.Delete(ctx, d, client.Preconditions{UID: ptr.To(d.GetUID())})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return reconcile.Result{}, fmt.Errorf("removing %T %s of a share: %w", d, d.GetName(), err)
		}
	}
	refused := ""
	for _, n := range intent.Create {
		err := r.client.Create(ctx, n)
		switch {
		case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
			refused = fmt.Sprintf("%T %s was refused: %v", n, n.GetName(), err)
		case err != nil && !apierrors.IsAlreadyExists(err):
			return reconcile.Result{}, fmt.Errorf("making %T %s of a share: %w", n, n.GetName(), err)
		}
	}
	r.shareRefused.Store(&refused)
	for _, p := range intent.Keys {
		if err := r.keys(ctx, p); err != nil {
			return reconcile.Result{}, err
		}
	}
	again := intent.Again
	if refused != "" {
		again = refusedPause // somebody has to change something
	}
	if len(intent.Keys) > 0 && (again == 0 || again > keysSeen) {
		again = keysSeen
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

// optionsOf reads what the Pods of shares are made like, once: this process's own Pod
// does not change.
func (r *sharePods) optionsOf(ctx context.Context) (*shares.Options, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.options != nil {
		return r.options, nil
	}
	own := &corev1.Pod{}
	if err := r.live.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.SharePods.Pod}, own); err != nil {
		return nil, fmt.Errorf("reading this coordinator's own Pod: %w", err)
	}
	account := &corev1.ServiceAccount{}
	if err := r.live.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: shares.Account}, account); err != nil {
		return nil, fmt.Errorf("reading the account of the Pods of shares: %w", err)
	}
	o, err := shares.OptionsOf(own, r.SharePods.Container)
	if err != nil {
		return nil, err
	}
	o.Account, o.Program, o.User, o.Claims = account.UID, r.SharePods.Program, r.SharePods.User, r.SharePods.Claims
	r.options = &o
	return r.options, nil
}

func (r *sharePods) seen(ctx context.Context, from client.Reader, o *shares.Options) (shares.Seen, error) {
	var targets v1alpha1.BackupTargetList
	var volumes corev1.PersistentVolumeList
	var claims corev1.PersistentVolumeClaimList
	var pods corev1.PodList
	ours := client.HasLabels{shares.LabelMount}
	for _, l := range []struct {
		into client.ObjectList
		by   []client.ListOption
	}{
		{&targets, nil},
		{&volumes, []client.ListOption{ours}},
		{&claims, []client.ListOption{ours, client.InNamespace(o.Namespace)}},
		{&pods, []client.ListOption{ours, client.InNamespace(o.Namespace)}},
	} {
		if err := from.List(ctx, l.into, l.by...); err != nil {
			return shares.Seen{}, fmt.Errorf("listing the shares, %T: %w", l.into, err)
		}
	}
	return shares.Seen{Targets: targets.Items, Volumes: volumes.Items, Claims: claims.Items, Pods: pods.Items}, nil
}

// keys gives a Pod the keys of its channel, if it does not have them.
func (r *sharePods) keys(ctx context.Context, p *corev1.Pod) error {
	r.mu.Lock()
	for uid, at := range r.keyed {
		if time.Since(at) > keysSeen {
			delete(r.keyed, uid)
		}
	}
	_, known := r.keyed[p.UID]
	r.mu.Unlock()
	if known {
		return nil
	}
	secret := &corev1.Secret{}
	err := r.live.Get(ctx, client.ObjectKeyFromObject(p), secret)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return fmt.Errorf("reading the keys of Pod %s: %w", p.Name, err)
	case err == nil && shares.Of(secret, p):
		r.note(p)
		return nil
	case err == nil:
		// Those of a Pod that had this name before.
		err = r.client.Delete(ctx, secret, client.Preconditions{UID: ptr.To(secret.UID)})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("removing the keys of a former Pod %s: %w", p.Name, err)
		}
	}
	made, err := shares.NewKeys(time.Now(), p)
	if err != nil {
		return fmt.Errorf("making the keys of Pod %s: %w", p.Name, err)
	}
	if err := r.client.Create(ctx, made); err != nil {
		return fmt.Errorf("storing the keys of Pod %s: %w", p.Name, err)
	}
	r.note(p)
	return nil
}

func (r *sharePods) note(p metav1.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keyed[p.GetUID()] = time.Now()
}
