package control

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/schedule"
)

func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var leads atomic.Bool
		leads.Store(true)
		woken := make(chan time.Time, 100)
		timers, err := newTimers(ctx, leads.Load, func(types.NamespacedName) { woken <- time.Now() }, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		table := func(cron, zone string) schedule.Timetable {
			out, err := schedule.Parse(cron, zone, time.Now())
			require.NoError(t, err)
			return out
		}
		// until is when the schedule is woken in the next days.
		until := func(d time.Duration) (at []time.Time) {
			time.Sleep(d)
			synctest.Wait()
			for len(woken) > 0 {
				at = append(at, (<-woken).UTC())
			}
			return at
		}
		// The bubble's clock begins on the first of January 2000.
		day := func(d, h int) time.Time { return time.Date(2000, 1, d, h, 0, 0, 0, time.UTC) }

		require.NoError(t, timers.set("a", types.NamespacedName{Name: "a"}, table("0 2 * * *", "Asia/Tokyo")))
		require.Empty(t, until(24*time.Hour), "nothing before this process leads")
		go func() { _ = timers.Start(ctx) }()
		require.Equal(t, []time.Time{day(2, 17), day(3, 17)}, until(48*time.Hour), "2:00 in Tokyo is 17:00 UTC")
		require.NoError(t, timers.set("a", types.NamespacedName{Name: "a"}, table("0 2 * * *", "Asia/Tokyo")))
		require.Len(t, until(24*time.Hour), 1, "set twice is set once")
		require.NoError(t, timers.set("a", types.NamespacedName{Name: "a"}, table("0 5 * * *", "UTC")))
		require.Equal(t, []time.Time{day(5, 5)}, until(24*time.Hour), "an edit holds at once")
		leads.Store(false)
		require.Empty(t, until(24*time.Hour), "another leads")
		leads.Store(true)
		require.Len(t, until(24*time.Hour), 1)
		timers.anew()
		require.Len(t, until(time.Minute), 1, "it is woken to be set again")
		require.NoError(t, timers.set("a", types.NamespacedName{Name: "a"}, table("@every 1s", "UTC")))
		require.Len(t, until(10*time.Second), 10)
		timers.forget("a")
		require.Empty(t, until(24*time.Hour))
		require.False(t, timers.has("a"))

		for _, uid := range []types.UID{"a", "b", "c"} {
			require.NoError(t, timers.set(uid, types.NamespacedName{Name: string(uid)}, table("0 2 * * *", "UTC")))
		}
		require.Len(t, timers.timers, 1, "those of the same times have one timer")
		require.Len(t, until(24*time.Hour), 3)
		timers.forget("b")
		require.NoError(t, timers.set("c", types.NamespacedName{Name: "c"}, table("0 3 * * *", "UTC")))
		require.Len(t, timers.timers, 2)
		require.Len(t, until(24*time.Hour), 2)
		require.True(t, timers.has("c"))
		cancel()
		time.Sleep(time.Minute) // what it began has its own deadlines
	})
}
