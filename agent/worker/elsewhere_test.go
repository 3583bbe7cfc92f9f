package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/engine"
)

func TestEndedElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		status *engine.BackupStatus
		waited time.Duration
		want   bool
	}{
		"nobody knows of it":          {nil, 0, true},
		"under way":                   {&engine.BackupStatus{State: engine.StateInProgress, Progress: 99}, time.Hour, false},
		"failed":                      {&engine.BackupStatus{State: engine.StateError}, 0, true},
		"failed, as its words say":    {&engine.BackupStatus{State: engine.StateInProgress, Error: "no"}, 0, true},
		"whole":                       {&engine.BackupStatus{State: engine.StateComplete, URL: "s3://b@r/?backup=x"}, 0, true},
		"complete, perhaps too early": {&engine.BackupStatus{State: engine.StateComplete}, settle - 1, false},
		"complete, a while ago":       {&engine.BackupStatus{State: engine.StateComplete}, settle, true},
	} {
		require.Equal(t, c.want, ended(c.status, c.waited), name)
	}
}
