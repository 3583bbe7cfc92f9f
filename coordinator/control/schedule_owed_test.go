package control

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/runs"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
)

// In a rush a run's point is made first, on a fresh word of the API server's, and the
// run is recorded with the next write.
func TestARunIsRecordedAfterItsPoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		timers, err := newTimers(ctx, func() bool { return true }, func(types.NamespacedName) {}, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		table, err := schedule.Parse("0 2 * * *", "", time.Now())
		require.NoError(t, err)
		at := metav1.NewTime(table.Next(time.Now()))
		known := &v1alpha1.VMSchedule{}
		known.Namespace, known.Name, known.UID, known.ResourceVersion, known.Spec.VM = "shop", "nightly", "s", "7", "web"
		begun := func() runs.Intent {
			in := runs.Intent{Timetable: &table, Create: []*v1alpha1.VMBackup{runs.Point(known, "web", at.Time)}}
			in.Status.LastNominalTime = &at
			in.Status.Runs = []v1alpha1.ScheduleRun{{NominalTime: at, Pending: []string{"web"}}}
			return in
		}
		changed := known.DeepCopy()
		changed.ResourceVersion = "8"
		for name, c := range map[string]struct {
			is    *v1alpha1.VMSchedule
			crowd int
			in    func(runs.Intent) runs.Intent
			owed  bool
			err   func(error) bool
		}{
			"in a rush":         {known, many, nil, true, nil},
			"alone":             {known, 1, nil, false, nil},
			"changed meanwhile": {changed, many, nil, false, apierrors.IsConflict},
			"gone meanwhile":    {nil, many, nil, false, func(err error) bool { return err == errGone }},
			"there is more":     {known, many, func(in runs.Intent) runs.Intent { in.Suspend = "it failed"; return in }, false, nil},
		} {
			server := &oneSchedule{is: c.is}
			r := &schedules{
				Controller: &Controller{live: server, client: server, newcomers: newNewcomers(func(who) {}, func() {})},
				fresh:      newFreshest[*v1alpha1.VMSchedule](), made: newMemory[[]*v1alpha1.VMBackup](), owed: newMemory[*owed](), timers: timers,
			}
			for i := range c.crowd {
				r.newcomers.note(scheduleComer(types.NamespacedName{Namespace: "others", Name: fmt.Sprint(i)}))
			}
			s, in := known.DeepCopy(), begun()
			if c.in != nil {
				in = c.in(in)
			}
			done, err := r.owe(t.Context(), s, in)
			require.Equal(t, c.owed, done, name)
			if c.err != nil {
				require.True(t, c.err(err), "%s: %v", name, err)
			} else {
				require.NoError(t, err, name)
			}
			require.Empty(t, server.written, name)
			if !c.owed {
				require.Empty(t, server.created, name)
				require.Same(t, s, r.recorded(s), name)
				continue
			}
			require.Len(t, server.created, 1)
			require.Empty(t, s.Status.Runs)
			stands := r.recorded(s)
			require.EqualValues(t, 1, stands.Status.Runs[0].Points)
			require.Empty(t, stands.Status.Runs[0].Pending)
			require.Empty(t, r.recorded(changed).Status.Runs, "it is planned anew")
			require.Len(t, r.owed.get(s.UID).and(nil), 1, "and its point tells of the run")
			require.Len(t, r.owed.get(s.UID).and([]v1alpha1.VMBackup{*in.Create[0]}), 1)
			done, err = r.owe(t.Context(), s, in)
			require.False(t, done, "one at a time")
			require.NoError(t, err)

			_, err = r.write(t.Context(), s, stands.Status)
			require.NoError(t, err)
			require.Len(t, server.written, 1)
			require.Nil(t, r.owed.get(s.UID))
		}
		cancel()
		time.Sleep(time.Minute) // what gocron began has its own deadlines
	})
}
