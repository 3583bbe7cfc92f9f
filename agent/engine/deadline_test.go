package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"hayloft.dev/agent/engine"
	"hayloft.dev/test/enginetest"
)

// A stopped engine accepts connections and answers nothing. Every method
// comes back when its ctx does.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	v := enginetest.Start(t, enginetest.Options{})
	v.Controller.Pause()
	e := open(v)
	for name, method := range map[string]func(context.Context) error{
		"Info":           func(ctx context.Context) error { _, err := e.Info(ctx); return err },
		"CutSnapshot":    func(ctx context.Context) error { return e.CutSnapshot(ctx, "s", nil) },
		"Snapshots":      func(ctx context.Context) error { _, err := e.Snapshots(ctx); return err },
		"RemoveSnapshot": func(ctx context.Context) error { return e.RemoveSnapshot(ctx, "s") },
		"Purge":          func(ctx context.Context) error { return e.Purge(ctx) },
		"StartBackup": func(ctx context.Context) error {
			_, err := e.StartBackup(ctx, engine.BackupRequest{Snapshot: "s", Backup: "b", TargetURL: "vfs:///x"})
			return err
		},
		"BackupStatus": func(ctx context.Context) error { _, err := e.BackupStatus(ctx, "b"); return err },
		"DeltaBytes":   func(ctx context.Context) error { _, err := e.DeltaBytes(ctx, "s", ""); return err },
		"StartRestore": func(ctx context.Context) error {
			return e.StartRestore(ctx, engine.RestoreRequest{BackupURL: "vfs:///x", File: "volume-snap-s.img"})
		},
		"RestoreStatus": func(ctx context.Context) error { _, err := e.RestoreStatus(ctx); return err },
		"StartClone": func(ctx context.Context) error {
			_, err := e.StartClone(ctx, engine.CloneRequest{Source: engine.Address{Volume: "other"}, Snapshot: "s"})
			return err
		},
		"CloneStatus": func(ctx context.Context) error { _, err := e.CloneStatus(ctx); return err },
		"CheckClone": func(ctx context.Context) error {
			_, err := e.CheckClone(ctx, engine.Address{Volume: "other"}, engine.CloneStarted{Snapshot: "s"})
			return err
		},
		"SnapshotUsage": func(ctx context.Context) error { _, err := e.SnapshotUsage(ctx); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const allowed = 500 * time.Millisecond
			begun := time.Now()
			err := method(within(t, allowed))
			if took := time.Since(begun); took > allowed+limit/2 {
				t.Errorf("took %v with a deadline of %v", took, allowed)
			}
			if !errors.Is(err, engine.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want ErrUnavailable and DeadlineExceeded", err)
			}

			cancelled, cancel := context.WithCancel(t.Context())
			cancel()
			if err := method(cancelled); !errors.Is(err, context.Canceled) || errors.Is(err, engine.ErrUnavailable) {
				t.Errorf("cancelled: %v, want Canceled alone", err)
			}
		})
	}
}
