package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hayloft.dev/pkg/api/v1alpha1"
)

var (
	refreshConfigured = define(Metric{
		Name: "hayloft_refresh_configured_interval_seconds", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "The interval that spec.refresh asks for. 0: none, so the default; -1: Never.",
	})
	refreshInterval = define(Metric{
		Name: "hayloft_refresh_interval_seconds", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "The interval of refreshes that is in effect.",
	})
	refreshDutyCycle = define(Metric{
		Name: "hayloft_refresh_duty_cycle_ratio", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "CPU time that refreshing the target took within an hour, as a share of one core.",
	})
	refreshDutyLimit = define(Metric{
		Name: "hayloft_refresh_duty_cycle_limit_ratio", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "The largest share of one core that refreshing the target may take in any hour.",
	})
	refreshSucceeded = define(Metric{
		Name: "hayloft_refresh_last_success_timestamp_seconds", Kind: Gauge, By: Leader, Labels: []string{"target"},
		Help: "When the target was last listed as a whole.",
	})
	refreshPoints = define(Metric{
		Name: "hayloft_refresh_points", Kind: Gauge, By: Leader, Labels: []string{"target", "state"},
		Help: "Documents on the target: known (with a VMBackup here), forgotten, waiting (for their namespace), faulty or unread.",
	})
	refreshDuration = define(Metric{
		Name: "hayloft_refresh_duration_seconds", Kind: Histogram, By: Coordinator, Labels: []string{"target", "outcome"}, Buckets: workBuckets,
		Help: "Time that refreshes of targets took.",
	})
	refreshFailures = define(Metric{
		Name: "hayloft_refresh_failures_total", Kind: Counter, By: Coordinator, Labels: []string{"target", "reason"},
		Help: "Refreshes that failed.",
	})
	refreshCPU = define(Metric{
		Name: "hayloft_refresh_cpu_seconds_total", Kind: Counter, By: Coordinator, Labels: []string{"target"},
		Help: "CPU time that counted for refreshes: the target worker's, and an estimate of the coordinator's own.",
	})
	refreshRequests = define(Metric{
		Name: "hayloft_refresh_requests_total", Kind: Counter, By: Coordinator, Labels: []string{"target"},
		Help: "Requests to targets for refreshes.",
	})
	refreshSkipped = define(Metric{
		Name: "hayloft_refresh_skipped_total", Kind: Counter, By: Coordinator, Labels: []string{"target", "reason"},
		Help: "Looks at which a refresh was due and did not begin.",
	})
	refreshClamped = define(Metric{
		Name: "hayloft_refresh_clamped_total", Kind: Counter, By: Coordinator, Labels: []string{"target"},
		Help: "Refreshes after which a longer interval than the spec's was in effect: the floor, or what their cost allows.",
	})
	refreshLoops = define(Metric{
		Name: "hayloft_refresh_loops_detected_total", Kind: Counter, By: Coordinator, Labels: []string{"target"},
		Help: "Refreshes, or looks whether one is due, that were stopped because they came more often than they can.",
	})
	harvesterInterval = define(Metric{
		Name: "hayloft_harvester_refresh_interval_seconds", Kind: Gauge, By: Coordinator, Labels: []string{"kind"},
		Help: "The refresh interval of Harvester's backup-target setting (kind setting) or the shortest poll interval of Longhorn's BackupTargets (kind longhorn); nothing where there is none, and -1 where it is absent.",
	})
	harvesterMisconfigured = define(Metric{
		Name: "hayloft_harvester_refresh_misconfigured", Kind: Gauge, By: Coordinator, Labels: []string{"kind"},
		Help: "1 if that interval is 0, absent or below the floor, with which Harvester can keep a core busy, else 0.",
	})
	harvesterHealed = define(Metric{
		Name: "hayloft_harvester_refresh_healed_total", Kind: Counter, By: Coordinator,
		Help: "Such intervals that were set to the floor, as the administrator allowed it.",
	})
)

// collectRefresh tells what stands in a target's spec and status.
func collectRefresh(s *Samples, t *v1alpha1.BackupTarget, l *labels) {
	configured, limit := 0.0, 0.01
	if r := t.Spec.Refresh; r != nil {
		if r.Interval == "Never" {
			configured = -1
		} else if d, err := time.ParseDuration(r.Interval); err == nil {
			configured = d.Seconds()
		}
		if r.MaxCPU != nil {
			limit = r.MaxCPU.AsApproximateFloat64()
		}
	}
	s.set(refreshConfigured, configured, l)
	s.set(refreshDutyLimit, limit, l)
	st := t.Status.Refresh
	if st == nil {
		return
	}
	if st.EffectiveInterval != nil {
		s.set(refreshInterval, st.EffectiveInterval.Seconds(), l)
	}
	s.set(refreshDutyCycle, float64(st.SpentCPUMilliseconds)/1000/time.Hour.Seconds(), l)
	if st.SucceededTime != nil {
		s.set(refreshSucceeded, seconds(st.SucceededTime.Time), l)
	}
	if d := st.Documents; d != nil {
		for _, n := range []struct {
			state string
			count int64
		}{{"known", d.Points}, {"forgotten", d.Forgotten}, {"waiting", d.Waiting}, {"faulty", d.Faulty}, {"unread", d.Unread}} {
			s.set(refreshPoints, float64(n.count), by("state", n.state, "target", t.Name))
		}
	}
}

// Refreshes is what a coordinator counts of refreshing targets, and of Harvester's
// own interval.
type Refreshes struct {
	duration                                               *prometheus.HistogramVec
	failures, cpu, requests, skipped, clamped, loops, heal *prometheus.CounterVec
	interval, misconfigured                                *prometheus.GaugeVec
}

// NewRefreshes registers them.
func NewRefreshes(r prometheus.Registerer) *Refreshes {
	f := &Refreshes{
		duration: refreshDuration.histogram(), failures: refreshFailures.counter(), cpu: refreshCPU.counter(), requests: refreshRequests.counter(),
		skipped: refreshSkipped.counter(), clamped: refreshClamped.counter(), loops: refreshLoops.counter(), heal: harvesterHealed.counter(),
		interval: harvesterInterval.gauge(), misconfigured: harvesterMisconfigured.gauge(),
	}
	r.MustRegister(f.duration, f.failures, f.cpu, f.requests, f.skipped, f.clamped, f.loops, f.heal, f.interval, f.misconfigured)
	f.heal.WithLabelValues()
	return f
}

// RefreshDone counts a refresh; reason is empty for success.
func (f *Refreshes) RefreshDone(target, reason string, wall, cpu time.Duration, requests int64) {
	f.duration.WithLabelValues(outcome(reason), target).Observe(wall.Seconds())
	f.cpu.WithLabelValues(target).Add(cpu.Seconds())
	f.requests.WithLabelValues(target).Add(float64(requests))
	f.loops.WithLabelValues(target)
	if reason != "" {
		f.failures.WithLabelValues(reason, target).Inc()
	}
}

// RefreshSkipped counts a refresh that was due and did not begin.
func (f *Refreshes) RefreshSkipped(target, reason string) {
	f.skipped.WithLabelValues(reason, target).Inc()
}

// RefreshClamped counts a refresh after which a longer interval is in effect.
func (f *Refreshes) RefreshClamped(target string) { f.clamped.WithLabelValues(target).Inc() }

// RefreshLoop counts what was stopped because it came too often.
func (f *Refreshes) RefreshLoop(target string) { f.loops.WithLabelValues(target).Inc() }

// Interval tells what the interval of one of Harvester's or Longhorn's objects is;
// negative: absent. There is none of a kind after Gone.
func (f *Refreshes) Interval(kind string, every time.Duration, misconfigured bool) {
	value, bad := every.Seconds(), 0.0
	if every < 0 {
		value = -1
	}
	if misconfigured {
		bad = 1
	}
	f.interval.WithLabelValues(kind).Set(value)
	f.misconfigured.WithLabelValues(kind).Set(bad)
}

// Gone tells that there is nothing of a kind whose interval could be told.
func (f *Refreshes) Gone(kind string) {
	f.interval.DeleteLabelValues(kind)
	f.misconfigured.DeleteLabelValues(kind)
}

// Healed counts an interval that was set to the floor.
func (f *Refreshes) Healed() { f.heal.WithLabelValues().Inc() }
