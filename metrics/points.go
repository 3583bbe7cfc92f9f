package metrics

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"

	"hayloft.dev/pkg/api/v1alpha1"
)

var (
	points = define(Metric{
		Name: "hayloft_points", Kind: Gauge, By: Leader, Labels: []string{"type", "phase"},
		Help: "VMBackups by type and phase.",
	})
	pointsReady = define(Metric{
		Name: "hayloft_points_ready", Kind: Gauge, By: Leader, Labels: []string{"type", "consistency"},
		Help: "VMBackups that are Ready, by the consistency that was reached.",
	})
	pointsFailed = define(Metric{
		Name: "hayloft_points_failed", Kind: Gauge, By: Leader, Labels: []string{"type", "reason"},
		Help: "VMBackups that have failed and are still there, by the reason of their condition Ready.",
	})
	pointsOfGoneVMs = define(Metric{
		Name: "hayloft_points_of_gone_vms", Kind: Gauge, By: Leader, Labels: []string{"namespace", "type"},
		Help: "Ready VMBackups of VMs that do not exist any more.",
	})
	targetPoints = define(Metric{
		Name: "hayloft_target_points", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "Ready VMBackups on the target.",
	})
	targetUploaded = define(Metric{
		Name: "hayloft_target_uploaded_bytes", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "What the Ready VMBackups on the target had to write there, after compression. Blocks that they share are counted with the first that wrote them, even when that one is gone.",
	})
)

// pointCollector tells of points, of the VMs that they are of and of the schedules
// that make them.
type pointCollector struct {
	objects Objects

	mu      sync.Mutex // of what follows: two may scrape at once
	changed Points
	folds   folds
	vms     vms
	plans   schedules
}

// counted is how many points of a type have a phase, a reason or the like.
type counted struct {
	kind, word string
	n          float64
}

// tally counts points. There are a few of each word and many points, so looking at
// each word is faster than a map.
type tally []counted

func (t *tally) add(kind, word string, n float64) {
	for i := range *t {
		if c := &(*t)[i]; c.word == word && c.kind == kind {
			c.n += n
			return
		}
	}
	*t = append(*t, counted{kind, word, n})
}

func (t *tally) addAll(of tally) {
	for i := range of {
		t.add(of[i].kind, of[i].word, of[i].n)
	}
}

func (t tally) sorted() tally {
	slices.SortFunc(t, func(a, b counted) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.word, b.word))
	})
	return t
}

func (c *pointCollector) Collect(ctx context.Context, s *Samples) error {
	machines, err := c.objects.VMs(ctx)
	if err != nil {
		return err
	}
	scheduled, err := c.objects.Schedules(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.changed.Changed(c.folds.see); err != nil {
		return err
	}
	c.vms.begin(machines)
	c.plans.begin(scheduled)
	var phases, reached, failed tally
	gone := map[vmKey]int{} // namespace and type
	var targets []targetSum
	for k, f := range c.folds {
		phases.addAll(f.phases)
		reached.addAll(f.reached)
		failed.addAll(f.failed)
		for _, t := range f.targets {
			addTarget(&targets, t)
		}
		for i := range f.sources {
			c.tell(k, &f.sources[i], gone)
		}
	}
	for _, k := range phases.sorted() {
		s.set(points, k.n, by("phase", k.word, "type", k.kind))
	}
	for _, k := range reached.sorted() {
		s.set(pointsReady, k.n, by("consistency", k.word, "type", k.kind))
	}
	for _, k := range failed.sorted() {
		s.set(pointsFailed, k.n, by("reason", k.word, "type", k.kind))
	}
	for _, k := range sortedBy(gone, vmKey.String) {
		s.set(pointsOfGoneVMs, float64(gone[k]), by("namespace", k.namespace, "type", k.name))
	}
	slices.SortFunc(targets, func(a, b targetSum) int { return strings.Compare(a.name, b.name) })
	for _, t := range targets {
		l := by("target", t.name)
		s.set(targetPoints, float64(t.points), l)
		s.set(targetUploaded, float64(t.uploaded), l)
	}
	c.plans.covers(&c.vms)
	c.vms.collect(s)
	c.plans.collect(s)
	return nil
}

// tell tells a VM and its schedules what the points of it say, or counts these, by
// namespace and type, as those of a VM that is gone.
func (c *pointCollector) tell(k vmKey, from *source, gone map[vmKey]int) {
	m := c.vms.find(k, from.uid)
	if m == nil {
		for i, of := range from.kinds {
			if of.points > 0 {
				gone[vmKey{k.namespace, kindsOf[i]}] += of.points
			}
		}
		return
	}
	for i := range from.kinds {
		m.kinds[i].add(&from.kinds[i])
	}
	for _, p := range from.plans {
		c.plans.good(p.schedule, k.name, p.cut)
	}
}

// phaseOf: an object that nobody has looked at yet is as good as pending.
func phaseOf(phase string) string {
	if phase == "" {
		return string(v1alpha1.BackupPending)
	}
	return phase
}

func readyReason(b *v1alpha1.VMBackup) string {
	if c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return "Unknown"
}
