package control_test

import (
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Fates of a nominal time.
const (
	fateBegun   = "begun"    // its point was to be made
	fateMissed  = "missed"   // it came too late
	fateSkipped = "skipped"  // the run before it went on
	fateLeftOut = "left out" // begun, and its point was not made in time, or before it was suspended
)

// account has the fate of each nominal time of a schedule of one VM that runs each
// second, from every state that the schedule was ever in.
type account struct {
	mu     sync.Mutex
	former *v1alpha1.VMSchedule
	fates  map[time.Time]string
	wrong  []string
	points *recorded
}

// keepAccount begins with a schedule that nobody has looked at yet.
func (w *world) keepAccount(s *v1alpha1.VMSchedule) *account {
	w.t.Helper()
	a := &account{former: s.DeepCopy(), fates: map[time.Time]string{}, points: w.record(s)}
	c, err := client.NewWithWatch(w.config, client.Options{Scheme: w.client.Scheme()})
	require.NoError(w.t, err)
	watched, err := c.Watch(w.ctx, &v1alpha1.VMScheduleList{}, client.InNamespace(s.Namespace), client.MatchingFields{"metadata.name": s.Name},
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: s.ResourceVersion}})
	require.NoError(w.t, err)
	w.t.Cleanup(watched.Stop)
	go func() {
		for e := range watched.ResultChan() {
			a.see(e, time.Now())
		}
	}()
	return a
}

// see judges one change of the schedule, which was written before a moment.
func (a *account) see(e watch.Event, by time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, ok := e.Object.(*v1alpha1.VMSchedule)
	if !ok {
		a.fault("%s: %v", e.Type, e.Object)
		return
	}
	was := a.former
	a.former = now
	times := between(was, now)
	lost, passed := now.Status.MissedRuns-was.Status.MissedRuns, now.Status.SkippedRuns-was.Status.SkippedRuns
	deadline := time.Duration(*now.Spec.StartingDeadlineSeconds) * time.Second

	// Of all that has come only the last can be run.
	for i, at := range times {
		fate := fateMissed
		switch {
		case i < len(times)-1:
		case runOf(now, at) != nil:
			fate = fateBegun
		case lost == 0:
			fate = fateSkipped
			passed--
		}
		if fate == fateMissed {
			lost--
			if late := by.Sub(at); late <= deadline {
				a.fault("%s was missed %s after it", at, late)
			}
		}
		if fate == fateSkipped && len(now.Status.Runs) == 0 {
			a.fault("%s was skipped, and no run goes on", at)
		}
		if a.fates[at] != "" {
			a.fault("%s was %s and then %s", at, a.fates[at], fate)
		}
		a.fates[at] = fate
	}
	// A run without a point may lose what it has to make: to the record of the point
	// or to time.
	for _, r := range was.Status.Runs {
		is := runOf(now, r.NominalTime.Time)
		if len(r.Pending) == 0 || is != nil && (len(is.Pending) > 0 || is.Points > 0) || passed == 0 {
			continue
		}
		passed--
		a.fates[r.NominalTime.UTC()] = fateLeftOut
		if late := by.Sub(r.BeganAt.Time); late <= deadline && !now.Spec.Suspend {
			a.fault("%s was left out %s after it began", r.NominalTime, late)
		}
	}
	if lost != 0 || passed != 0 {
		a.fault("from %v to %v: %d missed and %d skipped too many", was.Status, now.Status, lost, passed)
	}
}

func (a *account) fault(format string, args ...any) {
	a.wrong = append(a.wrong, fmt.Sprintf(format, args...))
}

// between are the nominal times that were dealt with from one state to another.
func between(was, now *v1alpha1.VMSchedule) (times []time.Time) {
	dealt := was.CreationTimestamp.UTC()
	if was.Status.LastNominalTime != nil {
		dealt = was.Status.LastNominalTime.UTC()
	}
	if now.Status.LastNominalTime == nil {
		return nil
	}
	for at := dealt.Add(time.Second); !at.After(now.Status.LastNominalTime.Time); at = at.Add(time.Second) {
		times = append(times, at)
	}
	return times
}

func runOf(s *v1alpha1.VMSchedule, at time.Time) *v1alpha1.ScheduleRun {
	for i := range s.Status.Runs {
		if s.Status.Runs[i].NominalTime.Time.Equal(at) {
			return &s.Status.Runs[i]
		}
	}
	return nil
}

// tally is how many nominal times had which fate.
func (a *account) tally() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]int{}
	for _, fate := range a.fates {
		out[fate]++
	}
	return out
}

// seen tells whether everything up to a state, which is the last one, was seen.
func (a *account) seen(s *v1alpha1.VMSchedule) bool {
	points := 0
	a.points.each(func(time.Time, int) { points++ })
	want := a.tally()[fateBegun]
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.wrong) > 0 || a.former.ResourceVersion == s.ResourceVersion && points >= want
}

// settle compares the fates with the points that were made and with what the
// schedule says of itself in the end.
func (a *account) settle(w *world, s *v1alpha1.VMSchedule) {
	w.t.Helper()
	tally := a.tally()
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Empty(w.t, a.wrong, s.Name)
	made := map[time.Time]int{}
	a.points.each(func(at time.Time, points int) { made[at.UTC()] = points })
	times := between(&v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: s.CreationTimestamp}}, s)
	for _, at := range times {
		want := 0
		if a.fates[at] == fateBegun {
			want = 1
		}
		require.Equal(w.t, want, made[at], "points of %s of %s, which was %s", s.Name, at, a.fates[at])
		require.NotEmpty(w.t, a.fates[at], "what became of %s of %s", s.Name, at)
		delete(made, at)
	}
	require.Empty(w.t, made, "points of times that were not dealt with")
	require.Len(w.t, a.fates, len(times))
	require.EqualValues(w.t, tally[fateMissed], s.Status.MissedRuns)
	require.EqualValues(w.t, tally[fateSkipped]+tally[fateLeftOut], s.Status.SkippedRuns)
	w.t.Logf("%s: of %d nominal times %d have one point each, %d were missed, beyond %d s, %d skipped, since the one before went on, and of %d begun ones the point was not made in time",
		s.Name, len(times), tally[fateBegun], tally[fateMissed], *s.Spec.StartingDeadlineSeconds, tally[fateSkipped], tally[fateLeftOut])
}
