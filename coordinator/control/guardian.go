package control

import (
	"context"
	"fmt"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/guard"
)

// GuardRecorder is told of the refresh intervals of Harvester and Longhorn.
type GuardRecorder interface {
	// Interval of the objects of a kind; negative: absent.
	Interval(kind string, every time.Duration, misconfigured bool)
	// Gone: there is nothing of a kind.
	Gone(kind string)
	// Healed counts intervals that were set to the floor.
	Healed()
}

// Kinds whose intervals are looked at.
const (
	guardSetting  = "setting"
	guardLonghorn = "longhorn"
)

// Harvester's setting of its one backup target. Its kind is Harvester's own, and
// in a cluster without Harvester there is none.
var kindSetting = schema.GroupVersionKind{Group: "harvesterhci.io", Version: "v1beta1", Kind: "Setting"}

const settingName = "backup-target"

// guardian looks at the refresh intervals of Harvester's backup-target setting and
// of Longhorn's BackupTargets, and sets those right that would keep a core busy, if
// the administrator allowed it. The leader does it, now and then: who sets such an
// interval waits for no answer.
type guardian struct {
	c *Controller
	// bad is what was wrong when an event last told of it: object -> sentence
	bad map[types.UID]string
}

// guardAbsent is how long a kind that the cluster does not have is not asked for
// again: each time costs a discovery.
const guardAbsent = 10 * time.Minute

// NeedLeaderElection is true: one coordinator looks.
func (g *guardian) NeedLeaderElection() bool { return true }

// Start looks until ctx ends.
func (g *guardian) Start(ctx context.Context) error {
	next := map[string]time.Time{}
	for {
		for kind, look := range map[string]func(context.Context) error{guardSetting: g.setting, guardLonghorn: g.longhorn} {
			if time.Now().Before(next[kind]) {
				continue
			}
			err := look(ctx)
			next[kind] = time.Now().Add(g.c.GuardEvery)
			switch {
			case err == nil:
			case meta.IsNoMatchError(err):
				g.c.Guard.Gone(kind)
				next[kind] = time.Now().Add(max(guardAbsent, g.c.GuardEvery))
			case ctx.Err() == nil:
				g.c.Log.Warn("could not look at another program's refresh interval", "kind", kind, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(g.c.GuardEvery):
		}
	}
}

// setting looks at Harvester's setting. Its value may hold keys: it is shown
// nowhere.
func (g *guardian) setting(ctx context.Context) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kindSetting)
	err := g.c.live.Get(ctx, client.ObjectKey{Name: settingName}, u)
	if apierrors.IsNotFound(err) {
		g.c.Guard.Gone(guardSetting)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading Harvester's setting %s: %w", settingName, err)
	}
	value, _, _ := unstructured.NestedString(u.Object, "value")
	found, used, err := guard.Setting(value)
	if err != nil {
		return fmt.Errorf("reading Harvester's setting %s: %w", settingName, err)
	}
	if !used {
		g.c.Guard.Gone(guardSetting)
		return nil
	}
	g.c.Guard.Interval(guardSetting, found.Every, found.Bad != "")
	g.tell(u, "refreshIntervalInSeconds of Harvester's setting "+settingName, found)
	if found.Bad == "" || !g.c.HealIntervals {
		return nil
	}
	healed, former, err := guard.Heal(value)
	if err != nil {
		return fmt.Errorf("correcting Harvester's setting %s: %w", settingName, err)
	}
	return g.heal(ctx, u, former, func() error { return unstructured.SetNestedField(u.Object, healed, "value") })
}

// longhorn looks at Longhorn's BackupTargets that are in use.
func (g *guardian) longhorn(ctx context.Context) error {
	var list longhorn.BackupTargetList
	if err := g.c.live.List(ctx, &list, client.InNamespace(g.c.LonghornNamespace)); err != nil {
		return fmt.Errorf("listing Longhorn's BackupTargets: %w", err)
	}
	used, shortest, bad := false, time.Duration(0), false
	for i := range list.Items {
		t := &list.Items[i]
		if t.Spec.BackupTargetURL == "" {
			continue
		}
		found := guard.Judge(t.Spec.PollInterval.Duration, true)
		if !used || found.Every < shortest {
			shortest = found.Every
		}
		used, bad = true, bad || found.Bad != ""
		g.tell(t, "spec.pollInterval of Longhorn's BackupTarget "+t.Name, found)
		if found.Bad == "" || !g.c.HealIntervals {
			continue
		}
		former := t.Spec.PollInterval.Duration.String()
		if err := g.heal(ctx, t, former, func() error {
			t.Spec.PollInterval = metav1.Duration{Duration: guard.Floor}
			return nil
		}); err != nil {
			return err
		}
	}
	if !used {
		g.c.Guard.Gone(guardLonghorn)
		return nil
	}
	g.c.Guard.Interval(guardLonghorn, shortest, bad)
	return nil
}

// tell says once what is wrong with an interval.
func (g *guardian) tell(o client.Object, what string, f guard.Finding) {
	if g.bad[o.GetUID()] == f.Bad {
		return
	}
	g.bad[o.GetUID()] = f.Bad
	if f.Bad == "" {
		return
	}
	g.c.events.Event(o, corev1.EventTypeWarning, "RefreshInterval", fmt.Sprintf("%s: %s; set it to %d seconds or more, or it can keep a processor busy", what, f.Bad, int(guard.Floor/time.Second)))
}

// heal sets an interval to the floor, if nobody has changed the object since it was
// read, and keeps what it was in an annotation.
func (g *guardian) heal(ctx context.Context, o client.Object, former string, change func() error) error {
	before := o.DeepCopyObject().(client.Object)
	if err := change(); err != nil {
		return fmt.Errorf("correcting the interval of %s: %w", o.GetName(), err)
	}
	annotations := map[string]string{}
	for k, v := range o.GetAnnotations() {
		annotations[k] = v
	}
	annotations[v1alpha1.AnnotationFormerInterval] = former
	o.SetAnnotations(annotations)
	err := g.c.client.Patch(ctx, o, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // it is looked at again
	}
	if err != nil {
		return fmt.Errorf("correcting the interval of %s: %w", o.GetName(), err)
	}
	g.c.Guard.Healed()
	delete(g.bad, o.GetUID())
	g.c.events.Event(o, corev1.EventTypeNormal, "RefreshIntervalHealed", fmt.Sprintf("the refresh interval was %s and was set to %d seconds", former, int(guard.Floor/time.Second)))
	return nil
}

// nobodyGuards is told of intervals where nobody wants to know them.
type nobodyGuards struct{}

func (nobodyGuards) Interval(string, time.Duration, bool) {}
func (nobodyGuards) Gone(string)                          {}
func (nobodyGuards) Healed()                              {}
