// Package metrics describes what Hayloft's programs tell Prometheus: names,
// labels and help of every metric, and the collectors that hold them.
//
// Base units throughout, _total only on counters. What describes objects (jobs,
// points, targets) is not counted along but collected from the cache when it is
// scraped, so it is right after a restart too. The package measures nothing by
// itself and imports neither program.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Results, as label values.
const (
	resultSucceeded = "succeeded"
	resultFailed    = "failed"
)

func result(reason string) string {
	if reason == "" {
		return resultSucceeded
	}
	return resultFailed
}

// seconds from a tenth of a second (a cut) to nine hours (a large disk).
var jobBuckets = prometheus.ExponentialBuckets(0.1, 3, 12)

// seconds from 20 ms to about three minutes.
var workBuckets = prometheus.ExponentialBuckets(0.02, 2.5, 11)

// Coordinator holds what a coordinator counts.
type Coordinator struct {
	jobs     *prometheus.HistogramVec
	data     prometheus.Counter
	uploaded prometheus.Counter
	takeover prometheus.Counter
	swept    *prometheus.CounterVec
	runs     *prometheus.CounterVec
	cpu      *prometheus.CounterVec
	wall     *prometheus.HistogramVec
}

// NewCoordinator registers a coordinator's metrics.
func NewCoordinator(r prometheus.Registerer) *Coordinator {
	c := &Coordinator{
		jobs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hayloft_job_duration_seconds", Help: "Time of jobs from their first claim to their end.", Buckets: jobBuckets,
		}, []string{"type", "result"}),
		data: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hayloft_backup_bytes_total", Help: "Bytes of disk data moved by points that became Ready, before compression.",
		}),
		uploaded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hayloft_backup_uploaded_bytes_total", Help: "Bytes newly written to targets by points that became Ready, after compression.",
		}),
		takeover: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hayloft_lease_takeovers_total", Help: "Jobs given to another agent because theirs did not claim them or its session ended.",
		}),
		swept: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hayloft_swept_total", Help: "Leftovers of killed processes that were removed, by kind.",
		}, []string{"kind"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hayloft_targetio_runs_total", Help: "Runs of the target worker, by operation and result.",
		}, []string{"op", "result"}),
		cpu: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hayloft_targetio_cpu_seconds_total", Help: "CPU time, user and system, of the target worker.",
		}, []string{"op"}),
		wall: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hayloft_targetio_duration_seconds", Help: "Time that runs of the target worker took.", Buckets: workBuckets,
		}, []string{"op"}),
	}
	r.MustRegister(c.jobs, c.data, c.uploaded, c.takeover, c.swept, c.runs, c.cpu, c.wall)
	return c
}

// JobDone counts a finished job; reason is empty for success.
func (c *Coordinator) JobDone(kind, reason string, took time.Duration) {
	c.jobs.WithLabelValues(kind, result(reason)).Observe(took.Seconds())
}

// PointDone counts what a point that became Ready moved.
func (c *Coordinator) PointDone(dataBytes, uploadedBytes int64) {
	c.data.Add(float64(max(0, dataBytes)))
	c.uploaded.Add(float64(max(0, uploadedBytes)))
}

// TookOver counts a job given to another agent.
func (c *Coordinator) TookOver() { c.takeover.Inc() }

// Swept counts a leftover that was removed.
func (c *Coordinator) Swept(kind string) { c.swept.WithLabelValues(kind).Inc() }

// TargetRun counts a run of the target worker: its time and CPU time.
func (c *Coordinator) TargetRun(op string, wall, cpu time.Duration, err error) {
	outcome := resultSucceeded
	if err != nil {
		outcome = resultFailed
	}
	c.runs.WithLabelValues(op, outcome).Inc()
	c.cpu.WithLabelValues(op).Add(cpu.Seconds())
	c.wall.WithLabelValues(op).Observe(wall.Seconds())
}
