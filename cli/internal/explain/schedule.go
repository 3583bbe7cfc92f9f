package explain

import (
	"fmt"
	"io"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
	"hayloft.dev/pkg/words"
)

// Schedule explains a VMSchedule and lists its points, the newest first.
func Schedule(out io.Writer, s *v1alpha1.VMSchedule, a Around) error {
	p := &page{out: out, now: a.Now}
	p.line("Schedule", s.Namespace+"/"+s.Name)
	if s.Spec.Selector != nil {
		p.line("Of VMs", "those with "+or(metav1.FormatLabelSelector(s.Spec.Selector), "any labels"))
	} else {
		p.line("Of VM", s.Spec.VM)
	}
	p.line("Makes", choose(s.Spec.Type == v1alpha1.TypeSnapshot, "snapshots, in the VMs' own volumes", "backups"))
	p.line("To target", s.Spec.Target)
	p.line("When", fmt.Sprintf("%s, in the time of %s", s.Spec.Cron, or(s.Spec.TimeZone, "UTC")))
	p.line("State", status.Schedule(s).Sentence)
	if t := s.Status.NextTime; t != nil {
		p.line("Next", t.UTC().Format("2006-01-02 15:04:05 UTC")+" (in "+units.Duration(max(0, t.Sub(a.Now)))+")")
	}
	if t := s.Status.LastSuccessTime; t != nil {
		p.line("Last good", p.moment(t.Time))
	}
	if r := s.Status.LastRun; r != nil {
		p.line("Last run", fmt.Sprintf("that of %s: %d ready, %d failed%s", p.moment(r.NominalTime.Time), r.Ready, r.Failed, after(r.Message)))
	}
	p.line("Failures", fmt.Sprintf("%d in a row; %d suspend it", s.Status.ConsecutiveFailures, s.Spec.MaxFailures))
	p.line("Left out", leftOut(s))
	p.line("Keeps", kept(s.Spec.Retention))
	if d := s.Spec.StartingDeadlineSeconds; d != nil {
		p.line("May be late", fmt.Sprintf("%d s", *d))
	}
	if s.Spec.JitterSeconds > 0 {
		p.line("Spread over", fmt.Sprintf("%d s", s.Spec.JitterSeconds))
	}
	if o := s.Spec.SpacingOverride; o != nil {
		p.line("Spacing", "the rules are lifted: "+o.Reason)
	}
	if r := s.Spec.ResumeAfterTargetReadySeconds; r != nil {
		p.line("Resumes", fmt.Sprintf("by itself, when its target has been well for %d s", *r))
	}
	p.line("When deleted", choose(s.Spec.PointsOnDelete == v1alpha1.PointsDelete, "its points go with it, but for pinned ones", "its points stay"))
	p.line("Created", p.moment(s.CreationTimestamp.Time))

	var rows [][]string
	for _, r := range s.Status.Runs {
		rows = append(rows, []string{p.moment(r.NominalTime.Time), words.Count(int(r.Points), "point"), fmt.Sprint(len(r.Pending))})
	}
	p.table("Runs that have not ended", []string{"OF", "MADE", "TO BE MADE"}, rows)
	p.points(a.Points)
	p.conditions(s.Status.Conditions)
	p.events(a.Events)
	return p.err
}

// mostPoints are shown of a schedule; get backups shows them all.
const mostPoints = 20

func (p *page) points(all []v1alpha1.VMBackup) {
	newest := slices.Clone(all)
	slices.SortFunc(newest, func(a, b v1alpha1.VMBackup) int {
		at, bt := a.Annotations[v1alpha1.AnnotationNominalTime], b.Annotations[v1alpha1.AnnotationNominalTime]
		if at != bt {
			return strings.Compare(bt, at)
		}
		return strings.Compare(a.Name, b.Name)
	})
	var rows [][]string
	for i := range newest[:min(mostPoints, len(newest))] {
		b := &newest[i]
		rows = append(rows, []string{
			b.Annotations[v1alpha1.AnnotationNominalTime], b.Spec.VM, or(string(b.Status.Phase), "New"), choose(b.Spec.Pinned, "yes", "no"), b.Name,
		})
	}
	title := "Points"
	if len(all) > mostPoints {
		title = fmt.Sprintf("The newest %d of %s", mostPoints, words.Count(len(all), "point"))
	}
	p.table(title, []string{"OF", "VM", "PHASE", "PINNED", "NAME"}, rows)
}

func after(message string) string {
	if message == "" {
		return ""
	}
	return " (" + message + ")"
}

func leftOut(s *v1alpha1.VMSchedule) string {
	return fmt.Sprintf("%s missed; %s skipped, since the one before still went", words.Count(int(s.Status.MissedRuns), "run"), words.Count(int(s.Status.SkippedRuns), "run"))
}

// kept says a retention in words.
func kept(r v1alpha1.Retention) string {
	out := []string{fmt.Sprintf("the last %d", r.KeepLast)}
	for _, k := range []struct {
		n    int32
		unit string
	}{{r.KeepHourly, "hour"}, {r.KeepDaily, "day"}, {r.KeepWeekly, "week"}, {r.KeepMonthly, "month"}, {r.KeepYearly, "year"}} {
		if k.n > 0 {
			out = append(out, "the newest of "+choose(k.n > 1, "each of ", "")+words.Count(int(k.n), k.unit))
		}
	}
	return strings.Join(out, ", ") + fmt.Sprintf("; never fewer than %s", words.Count(int(r.MinGood), "good point"))
}
