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

	mu    sync.Mutex // of what follows: two may scrape at once
	vms   vms
	plans schedules
}

// counted is how many points of a type have a phase, a reason or the like.
type counted struct {
	kind, word string
	n          float64
}

// tally counts points. There are a few of each word and many points, so looking at
// each word is faster than a map.
type tally []counted

func (t *tally) add(kind, word string) {
	for i := range *t {
		if c := &(*t)[i]; c.word == word && c.kind == kind {
			c.n++
			return
		}
	}
	*t = append(*t, counted{kind, word, 1})
}

func (t tally) sorted() tally {
	slices.SortFunc(t, func(a, b counted) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.word, b.word))
	})
	return t
}

func (c *pointCollector) Collect(ctx context.Context, s *Samples) error {
	list, err := c.objects.Points(ctx)
	if err != nil {
		return err
	}
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
	vms, plans := &c.vms, &c.plans
	vms.begin(machines)
	plans.begin(scheduled)
	var phases, reached, failed tally
	gone := map[vmKey]int{} // namespace and type
	targets := map[string]*targetSum{}
	for b := range list {
		kind := string(b.Spec.Type)
		phases.add(kind, phaseOf(string(b.Status.Phase)))
		switch b.Status.Phase {
		case v1alpha1.BackupFailed:
			failed.add(kind, readyReason(b))
			vms.failed(b)
		case v1alpha1.BackupReady:
			if !b.DeletionTimestamp.IsZero() {
				continue
			}
			reached.add(kind, string(b.Status.Consistency))
			wrote := uploaded(b)
			if vms.good(b, wrote) {
				plans.good(b)
			} else {
				gone[vmKey{b.Namespace, kind}]++
			}
			if b.Spec.Target != "" {
				sum := sumOf(targets, b.Spec.Target)
				sum.points++
				sum.uploaded += wrote
			}
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
	for _, name := range sortedKeys(targets) {
		l := by("target", name)
		s.set(targetPoints, float64(targets[name].points), l)
		s.set(targetUploaded, float64(targets[name].uploaded), l)
	}
	plans.covers(vms)
	vms.collect(s)
	plans.collect(s)
	return nil
}

type targetSum struct {
	points   int
	uploaded int64
}

func sumOf(of map[string]*targetSum, name string) *targetSum {
	if of[name] == nil {
		of[name] = &targetSum{}
	}
	return of[name]
}

func uploaded(b *v1alpha1.VMBackup) int64 {
	var n int64
	for i := range b.Status.Disks {
		if u := b.Status.Disks[i].UploadedBytes; u != nil {
			n += *u
		}
	}
	return n
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
