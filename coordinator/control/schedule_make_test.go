package control

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/runs"
	"hayloft.dev/pkg/api/v1alpha1"
)

// oneSchedule answers reads with one VMSchedule, and notes what is created.
type oneSchedule struct {
	client.Client
	is      *v1alpha1.VMSchedule // nil: it is gone
	reads   int
	created []string
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

func (o *oneSchedule) Status() client.SubResourceWriter { return statusOf{} }

type statusOf struct{ client.SubResourceWriter }

func (statusOf) Update(context.Context, client.Object, ...client.SubResourceUpdateOption) error {
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
			r := &schedules{Controller: &Controller{live: server, client: server}, fresh: newFreshest[*v1alpha1.VMSchedule]()}
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
