package runs

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
)

// closeRuns counts the runs whose points have all ended, and lets them go.
func (p *planner) closeRuns() {
	var open []v1alpha1.ScheduleRun
	for _, r := range p.st.Runs {
		if p.going(&r) {
			open = append(open, r)
			continue
		}
		p.count(&r)
	}
	p.st.Runs = open
}

// going tells whether a run has something to do or to wait for. Points that the
// cache does not show were made a moment ago or deleted; a live list tells.
func (p *planner) going(r *v1alpha1.ScheduleRun) bool {
	if len(r.Pending) > 0 {
		return true
	}
	points := p.pointsOf(r)
	for _, b := range points {
		if !Ended(b) {
			return true
		}
	}
	if int32(len(points)) < r.Points && !p.Live {
		p.in.Need.Live = true
		return true
	}
	return false
}

// count records how a run has ended. Points that somebody deletes before they
// were Ready tell neither of success nor of failure.
func (p *planner) count(r *v1alpha1.ScheduleRun) {
	result := &v1alpha1.ScheduleResult{NominalTime: r.NominalTime, EndedAt: metav1.NewTime(p.Now), Failed: r.Refused}
	var success time.Time
	var causes []string
	if r.Refused > 0 {
		causes = append(causes, r.Message)
	}
	for _, b := range p.pointsOf(r) {
		switch b.Status.Phase {
		case v1alpha1.BackupReady:
			result.Ready++
			if b.Status.CompletedAt != nil && b.Status.CompletedAt.After(success) {
				success = b.Status.CompletedAt.Time
			}
		case v1alpha1.BackupFailed, v1alpha1.BackupDataLost, v1alpha1.BackupDamaged:
			result.Failed++
			causes = append(causes, cause(b))
		}
	}
	if result.Ready+result.Failed == 0 {
		result.Message = "its points were deleted before they had ended, or never made"
	}
	if len(causes) > 0 {
		result.Message = strings.Join(causes[:min(3, len(causes))], "; ")
	}
	if result.Ready == 0 && result.Failed > 0 {
		p.failed(result)
		return
	}
	if result.Ready > 0 {
		if success.IsZero() {
			success = p.Now
		}
		if p.st.LastSuccessTime == nil || success.After(p.st.LastSuccessTime.Time) {
			p.st.LastSuccessTime = stamp(success)
		}
		p.st.ConsecutiveFailures, p.st.FailingSince = 0, nil
	}
	if result.Failed > 0 {
		p.warn("PointsFailed", fmt.Sprintf("%d of %s of the run of %s failed: %s", result.Failed, words.Count(int(result.Ready+result.Failed), "point"), said(r.NominalTime.Time), result.Message))
	}
	p.result(result)
}

// failed counts a run of which nothing can be restored.
func (p *planner) failed(result *v1alpha1.ScheduleResult) {
	p.st.ConsecutiveFailures++
	if p.st.FailingSince == nil {
		p.st.FailingSince = stamp(result.NominalTime.Time)
	}
	p.warn("RunFailed", fmt.Sprintf("the run of %s failed (%d in a row, %d suspend the schedule): %s",
		said(result.NominalTime.Time), p.st.ConsecutiveFailures, p.spec.MaxFailures, result.Message))
	p.result(result)
}

func (p *planner) result(result *v1alpha1.ScheduleResult) {
	result.Message = cut(result.Message)
	p.st.LastRun = result
}

// cause is why a point failed, in its own words.
func cause(b *v1alpha1.VMBackup) string {
	c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil || c.Message == "" {
		return "VMBackup " + b.Name + " is " + string(b.Status.Phase)
	}
	return "VMBackup " + b.Name + ": " + c.Message
}

// exhausted: too many runs failed in a row.
func (p *planner) exhausted() bool { return p.st.ConsecutiveFailures >= p.spec.MaxFailures }

// limit suspends a schedule that is exhausted.
func (p *planner) limit() {
	if p.spec.Suspend || !p.exhausted() {
		return
	}
	last := ""
	if r := p.st.LastRun; r != nil && r.Message != "" {
		last = ", the last one: " + r.Message
	}
	p.in.Suspend = cut(fmt.Sprintf("%d runs failed in a row (spec.maxFailures %d)%s", p.st.ConsecutiveFailures, p.spec.MaxFailures, last))
}
