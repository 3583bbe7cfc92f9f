package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Agent holds what an agent counts.
type Agent struct {
	jobs    *prometheus.HistogramVec
	failed  *prometheus.CounterVec
	adopted *prometheus.CounterVec
	fenced  *prometheus.CounterVec
}

// NewAgent registers an agent's metrics.
func NewAgent(r prometheus.Registerer) *Agent {
	a := &Agent{
		jobs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hayloft_agent_job_duration_seconds", Help: "Time that this agent worked on jobs, leases included.", Buckets: jobBuckets,
		}, []string{"type", "result"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hayloft_agent_job_failures_total", Help: "Jobs that failed on this agent, by reason.",
		}, []string{"type", "reason"}),
		adopted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hayloft_agent_jobs_adopted_total", Help: "Jobs that this agent took over from another session.",
		}, []string{"type"}),
		fenced: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hayloft_agent_jobs_fenced_total", Help: "Jobs that this agent stopped working on because a lease or the session was lost.",
		}, []string{"type"}),
	}
	r.MustRegister(a.jobs, a.failed, a.adopted, a.fenced)
	return a
}

// JobDone counts a job that this agent ended; reason is empty for success.
func (a *Agent) JobDone(kind, reason string, took time.Duration) {
	a.jobs.WithLabelValues(kind, result(reason)).Observe(took.Seconds())
	if reason != "" {
		a.failed.WithLabelValues(kind, reason).Inc()
	}
}

// Adopted counts a job taken over from another session.
func (a *Agent) Adopted(kind string) { a.adopted.WithLabelValues(kind).Inc() }

// Fenced counts a job that was not this agent's any more.
func (a *Agent) Fenced(kind string) { a.fenced.WithLabelValues(kind).Inc() }
