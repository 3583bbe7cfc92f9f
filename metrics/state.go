package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// State is what the objects in the API server say at one moment.
type State struct {
	// Jobs counts NodeJobs by type and state.
	Jobs map[JobKey]int
	// Queued jobs have no node yet; OldestQueued is the age of the oldest.
	Queued       int
	OldestQueued time.Duration
	// Sessions of agents that live, and volume leases that are held.
	Sessions, LeasesHeld int
	// Points and Restores count objects by phase.
	Points, Restores map[string]int
	// Targets tells for each BackupTarget whether its last probe was good.
	Targets map[string]bool
	// SnapshotBytes is what the snapshots of each namespace take that has a
	// SnapshotQuota; Quotas are those with a limit for their namespace.
	SnapshotBytes map[string]int64
	Quotas        []Quota
}

// Quota is the limit of one SnapshotQuota, in bytes.
type Quota struct {
	Namespace, Name string
	Limit           int64
}

// JobKey is a kind of job in a state.
type JobKey struct{ Type, State string }

// scrapeDeadline bounds a reading of the cache.
const scrapeDeadline = 5 * time.Second

var (
	jobsDesc     = prometheus.NewDesc("hayloft_jobs", "NodeJobs by type and state.", []string{"type", "state"}, nil)
	queueDesc    = prometheus.NewDesc("hayloft_queue_jobs", "NodeJobs that wait for a free agent.", nil, nil)
	oldestDesc   = prometheus.NewDesc("hayloft_queue_oldest_seconds", "Age of the oldest NodeJob that waits for a free agent; 0 if none does.", nil, nil)
	sessionsDesc = prometheus.NewDesc("hayloft_sessions", "Agent sessions that are alive.", nil, nil)
	leasesDesc   = prometheus.NewDesc("hayloft_volume_leases_held", "Volume leases that a session holds.", nil, nil)
	pointsDesc   = prometheus.NewDesc("hayloft_points", "VMBackups by phase.", []string{"phase"}, nil)
	restoresDesc = prometheus.NewDesc("hayloft_restores", "VMRestores by phase.", []string{"phase"}, nil)
	targetsDesc  = prometheus.NewDesc("hayloft_target_ready", "1 if the last probe of the target was good, else 0.", []string{"target"}, nil)
	usedDesc     = prometheus.NewDesc("hayloft_snapshot_used_bytes", "What the engine snapshots of points take, in namespaces that have a SnapshotQuota.", []string{"namespace"}, nil)
	limitDesc    = prometheus.NewDesc("hayloft_snapshot_quota_bytes", "The limit that a SnapshotQuota sets for its namespace.", []string{"namespace", "quota"}, nil)
	leaderDesc   = prometheus.NewDesc("hayloft_leader", "1 if this coordinator leads, else 0. Only the leader tells about objects.", nil, nil)
)

// StateCollector collects a State whenever it is scraped.
type StateCollector struct {
	// Leading: only the leader reports objects, so that a sum over all
	// coordinators counts each once.
	Leading func() bool
	// Read returns the state; when it fails, the scrape says so.
	Read func(context.Context) (State, error)
}

// Describe names every metric.
func (c *StateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		jobsDesc, queueDesc, oldestDesc, sessionsDesc, leasesDesc, pointsDesc, restoresDesc, targetsDesc, usedDesc, limitDesc, leaderDesc,
	} {
		ch <- d
	}
}

// Collect reads the state and reports it.
func (c *StateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if !c.Leading() {
		gauge(leaderDesc, 0)
		return
	}
	gauge(leaderDesc, 1)
	ctx, cancel := context.WithTimeout(context.Background(), scrapeDeadline)
	defer cancel()
	s, err := c.Read(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(jobsDesc, err)
		return
	}
	for k, n := range s.Jobs {
		gauge(jobsDesc, float64(n), k.Type, k.State)
	}
	gauge(queueDesc, float64(s.Queued))
	gauge(oldestDesc, s.OldestQueued.Seconds())
	gauge(sessionsDesc, float64(s.Sessions))
	gauge(leasesDesc, float64(s.LeasesHeld))
	for phase, n := range s.Points {
		gauge(pointsDesc, float64(n), phase)
	}
	for phase, n := range s.Restores {
		gauge(restoresDesc, float64(n), phase)
	}
	for name, ready := range s.Targets {
		v := 0.0
		if ready {
			v = 1
		}
		gauge(targetsDesc, v, name)
	}
	for namespace, n := range s.SnapshotBytes {
		gauge(usedDesc, float64(n), namespace)
	}
	for _, q := range s.Quotas {
		gauge(limitDesc, float64(q.Limit), q.Namespace, q.Name)
	}
}
