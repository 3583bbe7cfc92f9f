package doctor

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// slow is an API server that takes its time to answer: what it tells was true in the
// middle of that. Who leads writes as slowly, and by a clock that is ahead.
type slow struct {
	client.WithWatch
	took, ahead time.Duration
}

func (s slow) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	time.Sleep(s.took / 2)
	written := time.Now().Truncate(2 * time.Second)
	l := into.(*coordinationv1.Lease)
	l.ResourceVersion = strconv.FormatInt(written.Unix(), 10)
	l.Spec.HolderIdentity = ptr.To("c1")
	l.Spec.LeaseDurationSeconds = ptr.To(int32(4))
	l.Spec.RenewTime = &metav1.MicroTime{Time: written.Add(s.ahead - s.took)}
	time.Sleep(s.took / 2)
	return nil
}

func (s slow) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

// That the API server is slow makes no clock wrong, and nobody silent.
func TestBeatsOfASlowAPIServer(t *testing.T) {
	for _, tt := range []struct{ took, ahead, least, most time.Duration }{
		{took: 0},
		{took: 10 * time.Second},
		{took: 0, ahead: time.Hour, least: time.Hour - 3*time.Second, most: time.Hour},
		{took: 0, ahead: -time.Hour, least: -time.Hour - 3*time.Second, most: -time.Hour + 3*time.Second},
		{took: 10 * time.Second, ahead: time.Hour, least: time.Hour - 30*time.Second, most: time.Hour},
		{took: 10 * time.Second, ahead: -time.Hour, least: -time.Hour - 3*time.Second, most: -time.Hour + 30*time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &Facts{Options: Options{Client: slow{took: tt.took, ahead: tt.ahead}, Now: time.Now}, failed: map[string]error{}}
			f.beats(t.Context())
			require.True(t, f.Leader.Beats)
			require.GreaterOrEqual(t, f.Leader.Ahead, tt.least, "%v", tt)
			require.LessOrEqual(t, f.Leader.Ahead, tt.most, "%v", tt)
		})
	}
}
