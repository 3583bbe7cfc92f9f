package metrics

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"hayloft.dev/pkg/version"
)

// Collector reads objects of one kind when it is asked.
type Collector interface {
	// Collect adds what the objects say. When it fails, what it had added by then
	// is dropped.
	Collect(ctx context.Context, s *Samples) error
}

// Gatherer gathers all that a coordinator tells.
type Gatherer struct {
	// Counted are the registries of what the process counts itself. Their metrics
	// have names of their own.
	Counted []prometheus.Gatherer
	// Leading: only the leader tells about objects.
	Leading func() bool
	// Since is when this process began to lead.
	Since func() time.Time
	// Objects maps a name -> the collector of that name.
	Objects map[string]Collector
	// Failed is told of a collector that failed.
	Failed func(collector string, err error)

	// room is what the last scrape needed.
	room atomic.Pointer[map[*Metric]int]
}

// scrapeDeadline bounds all collectors together. They read caches, which takes
// milliseconds.
const scrapeDeadline = 5 * time.Second

var (
	leader = define(Metric{
		Name: "hayloft_leader", Kind: Gauge, By: Coordinator,
		Help: "1 if this coordinator leads, else 0. Only the leader tells about objects.",
	})
	leaderSince = define(Metric{
		Name: "hayloft_leader_since_timestamp_seconds", Kind: Gauge, By: Leader,
		Help: "When this coordinator began to lead.",
	})
	collectorDuration = define(Metric{
		Name: "hayloft_scrape_collector_duration_seconds", Kind: Gauge, By: Leader, Labels: []string{"collector"},
		Help: "Time that a collector took to read its objects for this scrape.",
	})
	collectorSuccess = define(Metric{
		Name: "hayloft_scrape_collector_success", Kind: Gauge, By: Leader, Labels: []string{"collector"},
		Help: "1 if a collector could read its objects for this scrape, else 0: then its metrics are missing.",
	})
	buildInfo = define(Metric{
		Name: "hayloft_build_info", Kind: Gauge, By: Coordinator, Labels: []string{"goversion", "version"},
		Help: "Version of this program. Agents tell theirs, too.",
	})
)

// Gather reads everything, as messages. A collector that fails is told of in the
// result and breaks nothing else; an error of the registries is returned with what
// they had.
func (g *Gatherer) Gather() ([]*dto.MetricFamily, error) {
	out, err := g.counted()
	out = append(out, g.read().families()...)
	slices.SortFunc(out, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out, err
}

func (g *Gatherer) counted() ([]*dto.MetricFamily, error) {
	var out []*dto.MetricFamily
	var failure error
	for _, r := range g.Counted {
		families, err := r.Gather()
		if err != nil && failure == nil {
			failure = fmt.Errorf("gathering what is counted: %w", err)
		}
		out = append(out, families...)
	}
	return out, failure
}

// Prepare does what the first scrape of a leader would have to do besides: it sums up
// all points and reckons all timetables. The caches must be filled.
func (g *Gatherer) Prepare() { g.readObjects(newSamples(nil)) }

// read asks every collector, if this process leads, and notes how that went.
func (g *Gatherer) read() *Samples {
	var room map[*Metric]int
	if last := g.room.Load(); last != nil {
		room = *last
	}
	s := newSamples(room)
	leading := g.Leading()
	s.flag(leader, leading, nil)
	if !leading {
		return s
	}
	if since := g.Since(); !since.IsZero() {
		s.set(leaderSince, seconds(since), nil)
	}
	g.readObjects(s)
	return s
}

func (g *Gatherer) readObjects(s *Samples) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeDeadline)
	defer cancel()
	for _, name := range sortedKeys(g.Objects) {
		began := time.Now()
		own := newSamples(s.room)
		err := g.Objects[name].Collect(ctx, own)
		if err == nil {
			s.take(own)
		} else {
			g.Failed(name, err)
		}
		l := by("collector", name)
		s.set(collectorDuration, time.Since(began).Seconds(), l)
		s.flag(collectorSuccess, err == nil, l)
	}
	next := s.lengths()
	g.room.Store(&next)
}

// seconds is a moment as Prometheus has it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func registerBuildInfo(r prometheus.Registerer) {
	info := buildInfo.gauge()
	info.WithLabelValues(runtime.Version(), version.Version).Set(1)
	r.MustRegister(info)
}
