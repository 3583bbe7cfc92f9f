package schedule

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFarAhead goes through years for which zones have no table but a rule.
func TestFarAhead(t *testing.T) {
	for _, zone := range []string{"America/New_York", "Europe/Berlin", "Australia/Lord_Howe"} {
		loc, err := time.LoadLocation(zone)
		require.NoError(t, err)
		from, to := at("2037-06-01T00:00:00Z"), at("2045-02-01T00:00:00Z")
		before, n := from, int64(0)
		for run := range parsed(t, "30 4 * * *", zone).All(from) {
			if run.After(to) {
				break
			}
			require.Equal(t, "04:30", run.In(loc).Format("15:04"))
			require.LessOrEqual(t, run.Sub(before), 25*time.Hour)
			before, n = run, n+1
		}
		require.EqualValues(t, to.Sub(from)/(24*time.Hour), n)
		require.Equal(t, n, parsed(t, "30 4 * * *", zone).Count(from, to))
	}
}
