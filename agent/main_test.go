package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"hayloft.dev/agent/worker"
	"hayloft.dev/test/text"
)

// TestConfigurationFile changes the configuration of a running agent as Kubernetes
// changes a mounted ConfigMap.
func TestConfigurationFile(t *testing.T) {
	folder := t.TempDir()
	round := 0
	swap := func(content string) {
		round++
		fresh := filepath.Join(folder, "..round-"+strings.Repeat("i", round))
		require.NoError(t, os.Mkdir(fresh, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(fresh, "config.yaml"), []byte(content), 0o644))
		require.NoError(t, os.Symlink(filepath.Base(fresh), filepath.Join(folder, "..new")))
		require.NoError(t, os.Rename(filepath.Join(folder, "..new"), filepath.Join(folder, "..data")))
	}
	swap("limits: {stall: 3m}\n")
	file := filepath.Join(folder, "config.yaml")
	require.NoError(t, os.Symlink("..data/config.yaml", file))
	o, err := parse([]string{"--node", "n1", "--config", file, "--stall-limit", "7m", "--lost-limit", "50s"})
	require.NoError(t, err)

	log := &text.Buffer{}
	level, added := &slog.LevelVar{}, &parts{}
	limits := make(chan worker.Limits, 10)
	tune := func(l worker.Limits) { limits <- l }
	require.NoError(t, o.follow(added, level, tune, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level}))))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- added.one.Start(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
	}()
	next := func() worker.Limits {
		t.Helper()
		select {
		case l := <-limits:
			return l
		case <-time.After(time.Minute):
			t.Fatalf("nothing was put in force:\n%s", log)
			return worker.Limits{}
		}
	}
	first := next()
	require.Equal(t, []time.Duration{3 * time.Minute, 50 * time.Second}, []time.Duration{first.Stall, first.Lost}, "what the file leaves out is as the flags say")
	swap("logLevel: debug\nlimits: {lost: 20s}\nfloors: {poll: 1s}\n")
	second := next()
	require.Equal(t, []time.Duration{7 * time.Minute, 20 * time.Second, time.Second}, []time.Duration{second.Stall, second.Lost, second.Poll})
	require.Equal(t, slog.LevelDebug, level.Level())

	swap("logLevel: error\nlimits: {lost: 1s}\n")
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "limits.lost: 1s is out of bounds") }, time.Minute, 10*time.Millisecond)
	require.Contains(t, log.String(), "what was read before stays in force")
	require.Equal(t, slog.LevelDebug, level.Level(), "nothing of it is put in force")
	require.Empty(t, limits)
	swap("")
	third := next()
	require.Equal(t, o.limits, third)
	require.Equal(t, slog.LevelInfo, level.Level())

	o.config = filepath.Join(folder, "none.yaml")
	require.ErrorContains(t, o.follow(added, level, tune, slog.Default()), "--config: reading a mounted file")
}

// parts is what would run.
type parts struct{ one manager.Runnable }

func (p *parts) Add(r manager.Runnable) error {
	p.one = r
	return nil
}
