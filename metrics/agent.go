package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	agentJobDuration = define(Metric{
		Name: "hayloft_agent_job_duration_seconds", Kind: Histogram, By: Agent, Labels: []string{"type", "outcome"}, Buckets: longBuckets,
		Help: "Time that this agent worked on jobs that it ended, waiting for leases included.",
	})
	agentJobFailures = define(Metric{
		Name: "hayloft_agent_job_failures_total", Kind: Counter, By: Agent, Labels: []string{"type", "reason"},
		Help: "Jobs that failed on this agent.",
	})
	agentJobs = define(Metric{
		Name: "hayloft_agent_jobs", Kind: Gauge, By: Agent, Labels: []string{"type"},
		Help: "Jobs that this agent works on, those that wait for leases included.",
	})
	agentTakeovers = define(Metric{
		Name: "hayloft_agent_takeovers_total", Kind: Counter, By: Agent, Labels: []string{"type"},
		Help: "Jobs that this agent went on with after another session had begun them.",
	})
	agentFenced = define(Metric{
		Name: "hayloft_agent_fenced_total", Kind: Counter, By: Agent, Labels: []string{"type"},
		Help: "Attempts that this agent stopped because a lease or its session was lost, or the job had gone to another agent.",
	})
	agentLeaseWait = define(Metric{
		Name: "hayloft_agent_lease_wait_seconds", Kind: Histogram, By: Agent, Labels: []string{"type"}, Buckets: shortBuckets,
		Help: "Time until this agent had every lease of a job's volumes.",
	})
	agentMoved = define(Metric{
		Name: "hayloft_agent_moved_bytes_total", Kind: Counter, By: Agent, Labels: []string{"type"},
		Help: "Bytes of disk data that engines moved while this agent watched, as their progress tells.",
	})
	agentCuts = define(Metric{
		Name: "hayloft_agent_cuts_total", Kind: Counter, By: Agent, Labels: []string{"consistency"},
		Help: "Cuts that count, by the consistency that was reached.",
	})
	agentCutsDiscarded = define(Metric{
		Name: "hayloft_agent_cuts_discarded_total", Kind: Counter, By: Agent,
		Help: "Cuts that were removed again because not every disk was cut within the window, or the guest was not brought to rest as required.",
	})
	agentCutWindow = define(Metric{
		Name: "hayloft_agent_cut_window_seconds", Kind: Histogram, By: Agent, Buckets: shortBuckets,
		Help: "Time between the first snapshot asked for and the last one cut, of cuts that count.",
	})
	agentFreeze = define(Metric{
		Name: "hayloft_agent_freeze_seconds", Kind: Histogram, By: Agent, Labels: []string{"way"}, Buckets: shortBuckets,
		Help: "Time that guests rested, of cuts that count, by the way in which they were brought to rest: freeze (of their file systems) or pause (of their container; of VMs that do not run, of others that have their disks mounted).",
	})
	agentHooks = define(Metric{
		Name: "hayloft_agent_hook_duration_seconds", Kind: Histogram, By: Agent, Labels: []string{"hook", "outcome"}, Buckets: workBuckets,
		Help: "Time that hooks of VMs took, those included that could not be run.",
	})
	agentSession = define(Metric{
		Name: "hayloft_agent_session", Kind: Gauge, By: Agent,
		Help: "1 while this agent has a session, else 0: then it can own no volume.",
	})
	agentSessions = define(Metric{
		Name: "hayloft_agent_sessions_total", Kind: Counter, By: Agent,
		Help: "Sessions that this agent has opened.",
	})
	agentSessionsLost = define(Metric{
		Name: "hayloft_agent_sessions_lost_total", Kind: Counter, By: Agent,
		Help: "Sessions that ended because their heartbeat could not be renewed in time, or was changed by somebody else.",
	})
	agentHeartbeat = define(Metric{
		Name: "hayloft_agent_heartbeat_duration_seconds", Kind: Histogram, By: Agent, Labels: []string{"outcome"}, Buckets: shortBuckets,
		Help: "Time that renewals of the session's Lease took. A session ends two thirds of its duration after the last that went well.",
	})
)

// AgentWork is what an agent counts of its own work.
type AgentWork struct {
	jobs, leaseWaits, heartbeats             *prometheus.HistogramVec
	freezes, hooks                           *prometheus.HistogramVec
	window                                   prometheus.Observer
	working                                  *prometheus.GaugeVec
	session                                  prometheus.Gauge
	failures, takeovers, fenced, moved, cuts *prometheus.CounterVec
	discarded, sessions, lost                prometheus.Counter
}

// NewAgent registers an agent's metrics.
func NewAgent(r prometheus.Registerer) *AgentWork {
	window, session := agentCutWindow.histogram(), agentSession.gauge()
	discarded, sessions, lost := agentCutsDiscarded.counter(), agentSessions.counter(), agentSessionsLost.counter()
	a := &AgentWork{
		jobs: agentJobDuration.histogram(), leaseWaits: agentLeaseWait.histogram(), heartbeats: agentHeartbeat.histogram(),
		window: window.WithLabelValues(), freezes: agentFreeze.histogram(), hooks: agentHooks.histogram(), working: agentJobs.gauge(), session: session.WithLabelValues(),
		failures: agentJobFailures.counter(), takeovers: agentTakeovers.counter(), fenced: agentFenced.counter(),
		moved: agentMoved.counter(), cuts: agentCuts.counter(),
		discarded: discarded.WithLabelValues(), sessions: sessions.WithLabelValues(), lost: lost.WithLabelValues(),
	}
	r.MustRegister(
		a.jobs, a.leaseWaits, a.heartbeats, window, a.freezes, a.hooks, a.working, session,
		a.failures, a.takeovers, a.fenced, a.moved, a.cuts, discarded, sessions, lost,
	)
	registerBuildInfo(r)
	for _, t := range jobTypes {
		a.working.WithLabelValues(t)
		a.takeovers.WithLabelValues(t)
		a.fenced.WithLabelValues(t)
		a.leaseWaits.WithLabelValues(t)
		a.jobs.WithLabelValues(succeeded, t)
		a.jobs.WithLabelValues(failed, t)
	}
	for _, word := range []string{succeeded, failed} {
		a.heartbeats.WithLabelValues(word)
	}
	for _, way := range restWays {
		a.freezes.WithLabelValues(way)
	}
	for _, hook := range hookTimes {
		a.hooks.WithLabelValues(hook, succeeded)
		a.hooks.WithLabelValues(hook, failed)
	}
	for _, t := range transferTypes {
		a.moved.WithLabelValues(t)
	}
	return a
}

// JobBegun counts a job that this agent begins to work on; the function returned
// is to be called when it does so no more.
func (a *AgentWork) JobBegun(kind string) (over func()) {
	g := a.working.WithLabelValues(kind)
	g.Inc()
	return g.Dec
}

// Leased tells how long a job waited for its leases.
func (a *AgentWork) Leased(kind string, waited time.Duration) {
	a.leaseWaits.WithLabelValues(kind).Observe(waited.Seconds())
}

// JobDone counts a job that this agent ended; reason is empty for success.
func (a *AgentWork) JobDone(kind, reason string, took time.Duration) {
	a.jobs.WithLabelValues(outcome(reason), kind).Observe(took.Seconds())
	if reason != "" {
		a.failures.WithLabelValues(reason, kind).Inc()
	}
}

// TookOver counts a job that another session had begun.
func (a *AgentWork) TookOver(kind string) { a.takeovers.WithLabelValues(kind).Inc() }

// Fenced counts an attempt at a job that was not this agent's any more.
func (a *AgentWork) Fenced(kind string) { a.fenced.WithLabelValues(kind).Inc() }

// Moved counts bytes that a transfer went on by.
func (a *AgentWork) Moved(kind string, bytes int64) {
	a.moved.WithLabelValues(kind).Add(float64(max(0, bytes)))
}

// Cut counts a cut that counts. way is how the guest was brought to rest and
// frozen for how long; "" and zero when it was not.
func (a *AgentWork) Cut(consistency, way string, window, frozen time.Duration) {
	a.cuts.WithLabelValues(consistency).Inc()
	a.window.Observe(window.Seconds())
	if frozen > 0 {
		a.freezes.WithLabelValues(way).Observe(frozen.Seconds())
	}
}

// Hooked tells how long a hook of a VM took. hook is "pre" or "post".
func (a *AgentWork) Hooked(hook string, well bool, took time.Duration) {
	word := succeeded
	if !well {
		word = failed
	}
	a.hooks.WithLabelValues(hook, word).Observe(took.Seconds())
}

// CutDiscarded counts a cut that does not count.
func (a *AgentWork) CutDiscarded() { a.discarded.Inc() }

// SessionOpened counts a session.
func (a *AgentWork) SessionOpened() {
	a.sessions.Inc()
	a.session.Set(1)
}

// SessionEnded tells that there is none now; lost: not because the agent ends.
func (a *AgentWork) SessionEnded(lost bool) {
	a.session.Set(0)
	if lost {
		a.lost.Inc()
	}
}

// Beat tells how a renewal of the session went.
func (a *AgentWork) Beat(took time.Duration, err error) {
	word := succeeded
	if err != nil {
		word = failed
	}
	a.heartbeats.WithLabelValues(word).Observe(took.Seconds())
}
