package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	jobDuration = define(Metric{
		Name: "hayloft_job_duration_seconds", Kind: Histogram, By: Coordinator, Labels: []string{"type", "outcome"}, Buckets: longBuckets,
		Help: "Time of NodeJobs from their first claim to their end.",
	})
	jobWait = define(Metric{
		Name: "hayloft_job_wait_seconds", Kind: Histogram, By: Coordinator, Labels: []string{"type"}, Buckets: longBuckets,
		Help: "Time of ended NodeJobs from their creation to their first claim, to the second.",
	})
	jobFailures = define(Metric{
		Name: "hayloft_job_failures_total", Kind: Counter, By: Coordinator, Labels: []string{"type", "reason"},
		Help: "NodeJobs that ended as Failed. Many are followed by another attempt.",
	})
	pointDuration = define(Metric{
		Name: "hayloft_point_duration_seconds", Kind: Histogram, By: Coordinator, Labels: []string{"type", "outcome"}, Buckets: longBuckets,
		Help: "Time of VMBackups from their start to Ready or Failed.",
	})
	pointFailures = define(Metric{
		Name: "hayloft_point_failures_total", Kind: Counter, By: Coordinator, Labels: []string{"type", "reason"},
		Help: "VMBackups that became Failed, by the reason of their condition Ready.",
	})
	backupRead = define(Metric{
		Name: "hayloft_backup_read_bytes_total", Kind: Counter, By: Coordinator, Labels: []string{"target"},
		Help: "Bytes of disk data that engines read for backups that became Ready, before compression.",
	})
	backupUploaded = define(Metric{
		Name: "hayloft_backup_uploaded_bytes_total", Kind: Counter, By: Coordinator, Labels: []string{"target"},
		Help: "Bytes newly written to targets by backups that became Ready, after compression.",
	})
	restoreDuration = define(Metric{
		Name: "hayloft_restore_duration_seconds", Kind: Histogram, By: Coordinator, Labels: []string{"kind", "outcome"}, Buckets: longBuckets,
		Help: "Time of VMRestores from their start to Ready or Failed. Kind: newVM, replace or diskClaim.",
	})
	restoreFailures = define(Metric{
		Name: "hayloft_restore_failures_total", Kind: Counter, By: Coordinator, Labels: []string{"kind", "reason"},
		Help: "VMRestores that became Failed, by the reason of their condition Ready.",
	})
	restoredBytes = define(Metric{
		Name: "hayloft_restored_bytes_total", Kind: Counter, By: Coordinator, Labels: []string{"kind"},
		Help: "Bytes of disk data of restores that became Ready.",
	})
	retries = define(Metric{
		Name: "hayloft_retries_total", Kind: Counter, By: Coordinator, Labels: []string{"type"},
		Help: "Further attempts at one disk of a point or restore, after one that had failed or was interrupted.",
	})
	reassigned = define(Metric{
		Name: "hayloft_jobs_reassigned_total", Kind: Counter, By: Coordinator,
		Help: "NodeJobs given to another agent because theirs did not claim them or its session had ended.",
	})
	swept = define(Metric{
		Name: "hayloft_swept_total", Kind: Counter, By: Coordinator, Labels: []string{"kind"},
		Help: "Leftovers of killed processes that were removed. Kind: job, ticket, volumeLease, heldLease or sessionLease.",
	})
	targetRuns = define(Metric{
		Name: "hayloft_targetio_duration_seconds", Kind: Histogram, By: Coordinator, Labels: []string{"op", "outcome"}, Buckets: workBuckets,
		Help: "Time that runs of the target worker took.",
	})
	targetFailures = define(Metric{
		Name: "hayloft_targetio_failures_total", Kind: Counter, By: Coordinator, Labels: []string{"op", "reason"},
		Help: "Runs of the target worker that failed.",
	})
	targetCPU = define(Metric{
		Name: "hayloft_targetio_cpu_seconds_total", Kind: Counter, By: Coordinator, Labels: []string{"op"},
		Help: "CPU time, user and system, of the target worker.",
	})
	webhookDuration = define(Metric{
		Name: "hayloft_webhook_duration_seconds", Kind: Histogram, By: Coordinator, Labels: []string{"kind", "operation"}, Buckets: shortBuckets,
		Help: "Time that the admission webhook took to answer.",
	})
	webhookRefusals = define(Metric{
		Name: "hayloft_webhook_refusals_total", Kind: Counter, By: Coordinator, Labels: []string{"kind", "operation", "reason"},
		Help: "What the admission webhook refused; one request may be refused for several reasons. CannotCheck: the facts could not be read.",
	})
)

// Work is what a coordinator counts of its own work.
type Work struct {
	jobs, waits, points, restores, runs, webhook                           *prometheus.HistogramVec
	jobFailures, pointFailures, restoreFailures, read, uploaded, restored  *prometheus.CounterVec
	retries, reassigned, swept, targetFailures, targetCPU, webhookRefusals *prometheus.CounterVec
}

// NewWork registers a coordinator's own metrics.
func NewWork(r prometheus.Registerer) *Work {
	w := &Work{
		jobs: jobDuration.histogram(), waits: jobWait.histogram(), points: pointDuration.histogram(),
		restores: restoreDuration.histogram(), runs: targetRuns.histogram(), webhook: webhookDuration.histogram(),
		jobFailures: jobFailures.counter(), pointFailures: pointFailures.counter(), restoreFailures: restoreFailures.counter(),
		read: backupRead.counter(), uploaded: backupUploaded.counter(), restored: restoredBytes.counter(),
		retries: retries.counter(), reassigned: reassigned.counter(), swept: swept.counter(),
		targetFailures: targetFailures.counter(), targetCPU: targetCPU.counter(), webhookRefusals: webhookRefusals.counter(),
	}
	r.MustRegister(
		w.jobs, w.waits, w.points, w.restores, w.runs, w.webhook, w.jobFailures, w.pointFailures, w.restoreFailures,
		w.read, w.uploaded, w.restored, w.retries, w.reassigned, w.swept, w.targetFailures, w.targetCPU, w.webhookRefusals,
	)
	registerBuildInfo(r)
	w.reassigned.WithLabelValues()
	for _, t := range transferTypes {
		w.retries.WithLabelValues(t)
	}
	for _, kind := range sweptKinds {
		w.swept.WithLabelValues(kind)
	}
	for _, word := range []string{succeeded, failed} {
		for _, t := range jobTypes {
			w.jobs.WithLabelValues(word, t)
		}
		for _, t := range kindsOf {
			w.points.WithLabelValues(word, t)
		}
		for _, kind := range restoreKinds {
			w.restores.WithLabelValues(kind, word)
		}
	}
	for _, t := range jobTypes {
		w.waits.WithLabelValues(t)
	}
	return w
}

// JobDone counts a finished job; reason is empty for success. waited is the time
// until it was claimed, took from there to its end.
func (w *Work) JobDone(kind, reason string, waited, took time.Duration) {
	w.jobs.WithLabelValues(outcome(reason), kind).Observe(took.Seconds())
	w.waits.WithLabelValues(kind).Observe(waited.Seconds())
	if reason != "" {
		w.jobFailures.WithLabelValues(reason, kind).Inc()
	}
}

// Point is a VMBackup that has ended.
type Point struct {
	Type, Target string
	// Reason is empty for one that is Ready.
	Reason string
	// Took is zero for one that was refused before it was started.
	Took                     time.Duration
	ReadBytes, UploadedBytes int64
}

// PointDone counts a point that became Ready or Failed.
func (w *Work) PointDone(p Point) {
	if p.Took > 0 {
		w.points.WithLabelValues(outcome(p.Reason), p.Type).Observe(p.Took.Seconds())
	}
	if p.Reason != "" {
		w.pointFailures.WithLabelValues(p.Reason, p.Type).Inc()
		return
	}
	if p.Target != "" {
		w.read.WithLabelValues(p.Target).Add(float64(max(0, p.ReadBytes)))
		w.uploaded.WithLabelValues(p.Target).Add(float64(max(0, p.UploadedBytes)))
	}
}

// Restore is a VMRestore that has ended.
type Restore struct {
	// Kind is newVM, replace or diskClaim.
	Kind string
	// Reason is empty for one that is Ready.
	Reason string
	// Took is zero for one that was refused before it was started.
	Took  time.Duration
	Bytes int64
}

// RestoreDone counts a restore that became Ready or Failed.
func (w *Work) RestoreDone(r Restore) {
	if r.Took > 0 {
		w.restores.WithLabelValues(r.Kind, outcome(r.Reason)).Observe(r.Took.Seconds())
	}
	if r.Reason != "" {
		w.restoreFailures.WithLabelValues(r.Kind, r.Reason).Inc()
		return
	}
	w.restored.WithLabelValues(r.Kind).Add(float64(max(0, r.Bytes)))
}

// Retried counts another attempt at a disk; kind is that of its job.
func (w *Work) Retried(kind string) { w.retries.WithLabelValues(kind).Inc() }

// Reassigned counts a job given to another agent.
func (w *Work) Reassigned() { w.reassigned.WithLabelValues().Inc() }

// Swept counts a leftover that was removed.
func (w *Work) Swept(kind string) { w.swept.WithLabelValues(kind).Inc() }

// TargetRun counts a run of the target worker: its time and CPU time. reason is
// empty for success.
func (w *Work) TargetRun(op, reason string, wall, cpu time.Duration) {
	w.runs.WithLabelValues(op, outcome(reason)).Observe(wall.Seconds())
	w.targetCPU.WithLabelValues(op).Add(cpu.Seconds())
	if reason != "" {
		w.targetFailures.WithLabelValues(op, reason).Inc()
	}
}

// Answered counts an answer of the admission webhook, with the reasons for which
// it refused.
func (w *Work) Answered(kind, operation string, reasons []string, took time.Duration) {
	w.webhook.WithLabelValues(kind, operation).Observe(took.Seconds())
	for _, reason := range reasons {
		w.webhookRefusals.WithLabelValues(kind, operation, reason).Inc()
	}
}
