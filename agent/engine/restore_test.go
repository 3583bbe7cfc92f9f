package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hayloft.dev/agent/engine"
	"hayloft.dev/test/enginetest"
)

// source is a volume with one backup of n random blocks.
func source(t *testing.T, n int) (*enginetest.Volume, *enginetest.Target, string) {
	t.Helper()
	target := enginetest.Directory(t)
	v := enginetest.Start(t, enginetest.Options{SizeBytes: max(64<<20, int64(n)*block)})
	v.Device().WriteBlocks(7, 0, n)
	return v, target, backUp(t, v, target, cut(t, v))
}

func into(t *testing.T, from *enginetest.Volume) *enginetest.Volume {
	t.Helper()
	return enginetest.Start(t, enginetest.Options{SizeBytes: from.SizeBytes, Replicas: 2, NoFrontend: true})
}

func TestStartRestoreRefuses(t *testing.T) {
	t.Parallel()
	from, target, backup := source(t, 1)
	for name, tc := range map[string]struct {
		make func(*testing.T) *enginetest.Volume
		want error
	}{
		"front end up": {func(t *testing.T) *enginetest.Volume {
			return enginetest.Start(t, enginetest.Options{Replicas: 2})
		}, engine.ErrFrontendUp},
		"a snapshot": {func(t *testing.T) *enginetest.Volume {
			v := enginetest.Start(t, enginetest.Options{Replicas: 2})
			cut(t, v)
			v.Detach()
			v.Attach(false)
			return v
		}, engine.ErrNotFresh},
		"written to": {func(t *testing.T) *enginetest.Volume {
			v := enginetest.Start(t, enginetest.Options{Replicas: 2})
			v.Device().Write(0, make([]byte, 4096))
			v.Detach()
			v.Attach(false)
			return v
		}, engine.ErrNotFresh},
		"rebuilding": {func(t *testing.T) *enginetest.Volume {
			v := into(t, from)
			must(t, raw(t, v, 1).SetRebuilding(true))
			return v
		}, engine.ErrNotFresh},
		"a replica given up": {func(t *testing.T) *enginetest.Volume {
			v := into(t, from)
			v.Replicas[1].Process.Kill()
			givenUp(t, v, 1)
			return v
		}, engine.ErrNotFresh},
		"restored before": {func(t *testing.T) *enginetest.Volume {
			v := into(t, from)
			must(t, open(v).StartRestore(within(t, limit), restoreRequest(target, from, backup)))
			return v
		}, engine.ErrNotFresh},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := tc.make(t)
			before, err := open(v).RestoreStatus(within(t, limit))
			must(t, err)
			request := restoreRequest(target, from, backup)
			if err := open(v).StartRestore(within(t, limit), request); !errors.Is(err, tc.want) {
				t.Fatalf("StartRestore: %v, want %v", err, tc.want)
			}
			if before[0].State == "" {
				after, err := open(v).RestoreStatus(within(t, limit))
				must(t, err)
				if after[0].State != "" {
					t.Errorf("the refused restore has started: %+v", after[0])
				}
			}
			if found, _ := filepath.Glob(filepath.Join(v.Replicas[0].Dir, request.File)); len(found) > 0 {
				t.Error("the refused restore has made its file")
			}
		})
	}
}

// A replica that refuses is named, one that does not is not.
func TestStartRestoreNamesWhoRefused(t *testing.T) {
	t.Parallel()
	from, target, backup := source(t, 1)
	v := into(t, from)
	request := restoreRequest(target, from, backup)
	// The second replica cannot create its file: the name leads nowhere.
	must(t, os.Symlink("/nowhere/at/all", filepath.Join(v.Replicas[1].Dir, request.File)))
	err := open(v).StartRestore(within(t, limit), request)
	if err == nil || !strings.Contains(err.Error(), v.Replicas[1].Addr) || strings.Contains(err.Error(), v.Replicas[0].Addr) {
		t.Errorf("StartRestore: %v, want an error that names %s alone", err, v.Replicas[1].Addr)
	}
}

// A block that is missing or damaged on the target fails every replica's
// restore, each says why, and the engine's list shows nothing of it.
func TestRestoreOfDamagedBackup(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(string) error{
		"missing": os.Remove,
		"damaged": func(file string) error { return os.WriteFile(file, []byte("not a block"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, target, backup := source(t, 4)
			must(t, damage(target.BlockFiles(from.Name)[2]))
			v := into(t, from)
			must(t, open(v).StartRestore(within(t, limit), restoreRequest(target, from, backup)))
			var list []engine.ReplicaRestore
			enginetest.Eventually(t, limit, "both replicas end", func() bool {
				var err error
				list, err = open(v).RestoreStatus(within(t, limit))
				must(t, err)
				return !list[0].Restoring && !list[1].Restoring
			})
			for _, r := range list {
				if r.State != engine.StateError || r.Error == "" || r.LastRestored != "" {
					t.Errorf("replica %s says %+v, want an error", r.Address, r)
				}
				if r.Mode != engine.ModeRW {
					t.Errorf("replica %s is in mode %s: the engine has noticed after all", r.Address, r.Mode)
				}
			}
		})
	}
}

// One of two replicas dies during a restore: the caller sees two replicas
// that differ, not one that is done.
func TestRestoreWithOneReplicaKilled(t *testing.T) {
	t.Parallel()
	from, target, backup := source(t, 16)
	v := into(t, from)
	must(t, open(v).StartRestore(within(t, limit), restoreRequest(target, from, backup)))
	v.Replicas[1].Process.Kill()
	var list []engine.ReplicaRestore
	enginetest.Eventually(t, limit, "the other replica is done and this one given up", func() bool {
		var err error
		list, err = open(v).RestoreStatus(within(t, limit))
		must(t, err)
		if len(list) != 2 {
			t.Fatalf("%d replicas in the status, want 2: %+v", len(list), list)
		}
		if list[1].State != engine.StateUnreachable || list[1].Error == "" || list[1].LastRestored != "" {
			t.Fatalf("the dead replica is %+v", list[1])
		}
		return list[0].LastRestored == backup && list[1].Mode == engine.ModeERR
	})
}
