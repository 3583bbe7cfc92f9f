package runs

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// A run of one VM is its one point, so the point itself tells of the run: where many
// schedules come at once, it is made first and the run recorded a little later. Until
// then it stands in for the record, for whoever leads.

// RecordsLater tells whether all that an intent for a schedule does is to begin a run
// of one point, so that the point may be made before the run is recorded.
func RecordsLater(s *v1alpha1.VMSchedule, in Intent) bool {
	n := len(in.Status.Runs)
	if s.Spec.Selector != nil || len(in.Create) != 1 || n == 0 || in.AddFinalizer || in.Suspend != "" || in.Resume || in.Unmark ||
		len(in.Remove)+len(in.Events) > 0 {
		return false
	}
	run := in.Status.Runs[n-1]
	at, ok := Nominal(in.Create[0])
	if !ok || len(run.Pending) != 1 || run.Points+run.Refused+run.SpreadSeconds > 0 || !run.NominalTime.Time.Equal(at) || !run.NominalTime.Equal(in.Status.LastNominalTime) {
		return false
	}
	without := in.Status.DeepCopy()
	without.Runs = without.Runs[:n-1]
	without.LastNominalTime, without.NextTime = s.Status.LastNominalTime, s.Status.NextTime
	return equality.Semantic.DeepEqual(*without, s.Status)
}

// adopt records the runs that points tell of and that are not recorded: whoever made
// these has ended in between, or the schedule was changed.
func (p *planner) adopt() {
	if p.spec.Selector != nil || p.st.Timetable == nil {
		return
	}
	var times []int64
	for at, points := range p.byRun {
		nominal := time.Unix(at, 0)
		if nominal.After(p.since()) && !nominal.After(p.Now) && points[0].Name == names.Scheduled(p.Schedule.UID, p.spec.VM, nominal) {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	for _, at := range times {
		if len(p.st.Runs) >= maxRuns {
			return
		}
		nominal, began := metav1.NewTime(time.Unix(at, 0)), p.byRun[at][0].CreationTimestamp
		if began.IsZero() { // it was met by its name
			began = metav1.NewTime(p.Now)
		}
		p.st.Runs = append(p.st.Runs, v1alpha1.ScheduleRun{NominalTime: nominal, BeganAt: began, Points: 1})
		p.st.LastNominalTime = &nominal
	}
}

// since is up to when nominal times are dealt with, or do not count.
func (p *planner) since() time.Time {
	since := p.st.Timetable.Since.Time
	if last := p.st.LastNominalTime; last != nil && last.After(since) {
		since = last.Time
	}
	return since
}

// recordedBy is how late at most a run is recorded by whoever leads then.
const recordedBy = 2 * time.Minute

// mayLack tells whether the cache may lack a point of a run that is not recorded and
// would be taken for missed.
func (p *planner) mayLack() bool {
	return !p.Live && p.spec.Selector == nil && p.Now.Sub(p.table.Next(p.since())) < recordedBy
}
