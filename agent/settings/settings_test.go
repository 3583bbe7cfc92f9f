package settings

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/worker"
)

func TestParse(t *testing.T) {
	base := Settings{LogLevel: slog.LevelWarn, Limits: worker.DefaultLimits()}
	full := Settings{LogLevel: slog.LevelDebug, Limits: worker.DefaultLimits()}
	full.Limits.Stall, full.Limits.Start, full.Limits.Lost = time.Hour, time.Minute, 10*time.Second
	full.Limits.Report, full.Limits.Poll = 5*time.Second, time.Second
	for name, c := range map[string]struct {
		text string
		want Settings
		says string
	}{
		"nothing":      {text: "", want: base},
		"everything":   {text: "logLevel: debug\nlimits: {stall: 1h, start: 1m, lost: 10s}\nfloors: {report: 5s, poll: 1s}\n", want: full},
		"a wrong word": {text: "limits: {stalls: 1h}", says: `unknown field "stalls"`},
		"too short":    {text: "limits: {lost: 1s}", says: "limits.lost: 1s is out of bounds: choose 5s to 1h0m0s"},
		"no floor":     {text: "floors: {poll: 0s}", says: "floors.poll: 0s is out of bounds"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(c.text), base)
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
