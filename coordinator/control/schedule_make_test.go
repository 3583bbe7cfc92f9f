package control

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/runs"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
)

// oneSchedule answers reads with one VMSchedule, and notes what is created.
type oneSchedule struct {
	client.Client
	is      *v1alpha1.VMSchedule // nil: it is gone
	reads   int
	created []string
	written []v1alpha1.VMScheduleStatus
}

func (o *oneSchedule) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	o.reads++
	if o.is == nil {
		return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("vmschedules").GroupResource(), key.Name)
	}
	o.is.DeepCopyInto(into.(*v1alpha1.VMSchedule))
	return nil
}

func (o *oneSchedule) Create(_ context.Context, b client.Object, _ ...client.CreateOption) error {
	o.created = append(o.created, b.GetName())
	return nil
}

func (o *oneSchedule) Status() client.SubResourceWriter { return statusOf{one: o} }

type statusOf struct {
	client.SubResourceWriter
	one *oneSchedule
}

func (s statusOf) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	s.one.written = append(s.one.written, o.(*v1alpha1.VMSchedule).Status)
	return nil
}

// A leader makes a run's points only on a fresh word of the API server's that the
// run stands as it knows it: one that was stopped for a while asks again.
func TestPointsAreMadeOnAFreshWord(t *testing.T) {
	known := &v1alpha1.VMSchedule{}
	known.Namespace, known.Name, known.UID, known.ResourceVersion = "shop", "nightly", "s", "7"
	known.Status.Runs = []v1alpha1.ScheduleRun{{Pending: []string{"web"}}}
	changed, another := known.DeepCopy(), known.DeepCopy()
	changed.ResourceVersion, another.UID = "8", "s2"
	for name, c := range map[string]struct {
		is       *v1alpha1.VMSchedule
		recorded time.Time
		reads    int
		made     bool
		err      func(error) bool
	}{
		"just recorded":       {changed, time.Now().Add(time.Hour), 0, true, nil},
		"not asked":           {known, time.Time{}, 1, true, nil},
		"long ago":            {known, time.Now().Add(-2 * recordAge), 1, true, nil},
		"changed meanwhile":   {changed, time.Now().Add(-2 * recordAge), 1, false, apierrors.IsConflict},
		"gone meanwhile":      {nil, time.Now().Add(-2 * recordAge), 1, false, func(err error) bool { return err == errGone }},
		"another of its name": {another, time.Time{}, 1, false, func(err error) bool { return err == errGone }},
	} {
		t.Run(name, func(t *testing.T) {
			server := &oneSchedule{is: c.is}
			r := &schedules{
				Controller: &Controller{live: server, client: server, newcomers: newNewcomers(func(who) {}, func() {})}, fresh: newFreshest[*v1alpha1.VMSchedule](),
				made: newMemory[[]*v1alpha1.VMBackup](), owed: newMemory[*owed](),
			}
			s := known.DeepCopy()
			b := runs.Point(s, "web", time.Unix(1_790_000_000, 0))
			err := r.make(t.Context(), s, []*v1alpha1.VMBackup{b}, c.recorded)
			require.Equal(t, c.reads, server.reads)
			if c.made {
				require.NoError(t, err)
				require.Equal(t, []string{b.Name}, server.created)
				return
			}
			require.True(t, c.err(err), "%v", err)
			require.Empty(t, server.created)
		})
	}
}

// That a point was made is recorded at once, or where others come at the same time
// with the next write: meanwhile it is known here.
func TestPointsAreRecordedAfterARush(t *testing.T) {
	s := &v1alpha1.VMSchedule{}
	s.Namespace, s.Name, s.UID, s.ResourceVersion = "shop", "nightly", "s", "7"
	at := time.Unix(1_790_000_000, 0)
	s.Status.Runs = []v1alpha1.ScheduleRun{{NominalTime: metav1.NewTime(at), Pending: []string{"db", "web"}}}
	server := &oneSchedule{is: s.DeepCopy()}
	r := &schedules{
		Controller: &Controller{live: server, client: server, newcomers: newNewcomers(func(who) {}, func() {})},
		fresh:      newFreshest[*v1alpha1.VMSchedule](), made: newMemory[[]*v1alpha1.VMBackup](), owed: newMemory[*owed](),
	}
	require.Same(t, s, r.recorded(s))
	other := scheduleComer(types.NamespacedName{Namespace: "shop", Name: "hourly"})
	r.newcomers.note(other)
	require.NoError(t, r.make(t.Context(), s, []*v1alpha1.VMBackup{runs.Point(s, "web", at)}, time.Now()))
	require.Len(t, server.created, 1)
	require.Empty(t, server.written)
	require.Equal(t, []string{"db", "web"}, s.Status.Runs[0].Pending)
	known := r.recorded(s)
	require.Equal(t, []string{"db"}, known.Status.Runs[0].Pending)
	require.EqualValues(t, 1, known.Status.Runs[0].Points)

	_, err := r.write(t.Context(), s, known.Status)
	require.NoError(t, err)
	require.Same(t, s, r.recorded(s), "it stands")
	r.newcomers.seen(other.who)
	require.NoError(t, r.make(t.Context(), s, []*v1alpha1.VMBackup{runs.Point(s, "db", at)}, time.Now()))
	require.Len(t, server.written, 2)
	require.Empty(t, server.written[1].Runs[0].Pending)
	require.EqualValues(t, 2, server.written[1].Runs[0].Points)
}

// Of schedules only those stand aside for others of which nothing is to be made.
func TestSchedulesThatMayWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		timers, err := newTimers(ctx, func() bool { return true }, func(types.NamespacedName) {}, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		table, err := schedule.Parse("0 2 * * *", "", time.Now())
		require.NoError(t, err)
		require.NoError(t, timers.set("s", types.NamespacedName{Name: "nightly"}, table))
		r := &schedules{timers: timers}
		for name, c := range map[string]struct {
			change func(*v1alpha1.VMSchedule)
			waits  bool
		}{
			"at rest":               {func(*v1alpha1.VMSchedule) {}, true},
			"a run goes on":         {func(s *v1alpha1.VMSchedule) { s.Status.Runs = []v1alpha1.ScheduleRun{{Points: 1}} }, true},
			"points are to be made": {func(s *v1alpha1.VMSchedule) { s.Status.Runs = []v1alpha1.ScheduleRun{{Pending: []string{"web"}}} }, false},
			"due":                   {func(s *v1alpha1.VMSchedule) { s.Status.NextTime = &metav1.Time{Time: time.Now()} }, false},
			"never looked at":       {func(s *v1alpha1.VMSchedule) { s.Status.NextTime = nil }, false},
			"changed":               {func(s *v1alpha1.VMSchedule) { s.Generation++ }, false},
			"deleted":               {func(s *v1alpha1.VMSchedule) { s.DeletionTimestamp = &metav1.Time{Time: time.Now()} }, false},
			"without a timer":       {func(s *v1alpha1.VMSchedule) { s.UID = "other" }, false},
		} {
			s := &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{UID: "s", Generation: 3}}
			s.Status.ObservedGeneration, s.Status.NextTime = 3, &metav1.Time{Time: time.Now().Add(time.Hour)}
			c.change(s)
			require.Equal(t, c.waits, r.mayWait(s), name)
		}
		cancel()
		time.Sleep(time.Minute) // what gocron began has its own deadlines
	})
}
