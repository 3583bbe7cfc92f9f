package instance

import (
	"context"
	"fmt"
	"strconv"
)

// Rebuild makes an empty replica of a running engine equal to its others. It returns when that is done.
func (s *Set) Rebuild(ctx context.Context, engine, replica Info, size int64) error {
	bytes := strconv.FormatInt(size, 10)
	err := s.command(ctx, "rebuild", replica.Name, engine,
		"add-replica",
		"--size", bytes,
		"--current-size", bytes,
		"--replica-instance-name", replica.Name,
		"tcp://"+replica.Address())
	if err != nil {
		return fmt.Errorf("rebuilding %s: %w", replica.Name, err)
	}
	return nil
}

// CutSnapshot cuts a snapshot.
func (s *Set) CutSnapshot(ctx context.Context, engine Info, name string, labels map[string]string) error {
	args := []string{"snapshots", "create"}
	for key, value := range labels {
		args = append(args, "--label", key+"="+value)
	}
	if err := s.command(ctx, "snapshot", name, engine, append(args, name)...); err != nil {
		return fmt.Errorf("cutting snapshot %s: %w", name, err)
	}
	return nil
}

// RemoveSnapshot marks a snapshot as removed on all replicas.
func (s *Set) RemoveSnapshot(ctx context.Context, engine Info, name string) error {
	if err := s.command(ctx, "snapshot", name, engine, "snapshots", "rm", name); err != nil {
		return fmt.Errorf("removing snapshot %s: %w", name, err)
	}
	return nil
}

// Purge has the replicas take out their removed snapshots. It returns when they have begun; one that does so already goes
// on.
func (s *Set) Purge(ctx context.Context, engine Info) error {
	if err := s.command(ctx, "purge", engine.Name, engine, "snapshots", "purge", "--skip-if-in-progress"); err != nil {
		return fmt.Errorf("purging the snapshots of %s: %w", engine.Name, err)
	}
	return nil
}

// command runs the engine's program as a client of a running engine, until it is done or ctx ends.
func (s *Set) command(ctx context.Context, kind, name string, engine Info, args ...string) error {
	process, err := s.start(Command{
		Kind: kind,
		Name: name,
		Args: append([]string{
			"--url", engine.Address(),
			"--volume-name", engine.Volume,
			"--engine-instance-name", engine.Name,
		}, args...),
		Labels: labels(engine.Volume),
	})
	if err != nil {
		return err
	}
	select {
	case <-process.Done():
	case <-ctx.Done():
		process.Kill()
		return ctx.Err()
	}
	return process.Err()
}
