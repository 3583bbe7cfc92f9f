package settings

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/control"
)

func TestParse(t *testing.T) {
	base := Settings{LogLevel: slog.LevelWarn, Tuning: control.Tuning{MaxJobsPerNode: 8, TargetWorkers: 8, ProbeFloor: time.Minute, StatusEvery: 2 * time.Second, RefreshFloor: time.Minute}}
	for name, c := range map[string]struct {
		text string
		want Settings
		says string
	}{
		"nothing": {text: "", want: base},
		"a part": {
			text: "logLevel: debug\nlimits: {jobsPerNode: 3}\n",
			want: Settings{LogLevel: slog.LevelDebug, Tuning: control.Tuning{MaxJobsPerNode: 3, TargetWorkers: 8, ProbeFloor: time.Minute, StatusEvery: 2 * time.Second, RefreshFloor: time.Minute}},
		},
		"everything": {
			text: "logLevel: error\nlimits: {jobsPerNode: 1, targetWorkers: 2}\nfloors: {probe: 90s, refresh: 10m, status: 500ms}\n",
			want: Settings{LogLevel: slog.LevelError, Tuning: control.Tuning{MaxJobsPerNode: 1, TargetWorkers: 2, ProbeFloor: 90 * time.Second, StatusEvery: 500 * time.Millisecond, RefreshFloor: 10 * time.Minute}},
		},
		"no YAML":          {text: "limits: {", says: "reading the configuration"},
		"a wrong word":     {text: "limits: {jobPerNode: 3}", says: `unknown field "jobPerNode"`},
		"a word twice":     {text: "logLevel: info\nlogLevel: debug", says: `"logLevel" already set`},
		"an unknown level": {text: "logLevel: loud", says: "loud"},
		"no duration":      {text: "floors: {probe: 5}", says: "reading the configuration"},
		"zero":             {text: "limits: {jobsPerNode: 0}", says: "limits.jobsPerNode: 0 is out of bounds: choose 1 to 1000"},
		"negative":         {text: "floors: {probe: -1s}", says: "floors.probe: -1s is out of bounds: choose 1s to 1h0m0s"},
		"no floor":         {text: "floors: {refresh: 0s}", says: "floors.refresh: 0s is out of bounds: choose 1s to 24h0m0s"},
		"several":          {text: "limits: {targetWorkers: 101}\nfloors: {status: 1h}", says: "floors.status: 1h0m0s is out of bounds"},
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
