// Package cgroups makes and removes the folder that a cluster's containers are in, in every hierarchy of the machine's
// cgroups. What is in it is the kubelets'.
package cgroups

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	removeTimeout = 30 * time.Second      // the kernel needs a moment after the last process
	removePoll    = 50 * time.Millisecond // how often it is tried
)

// hierarchies are the folders where cgroups are mounted: one with version 2, one for each controller with version 1.
func hierarchies() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("finding cgroups: %w", err)
	}
	var all []string
	for line := range strings.Lines(string(data)) {
		// mount id, parent, device, root, mount point, options, ... - type, source, options
		mount, kind, found := strings.Cut(line, " - ")
		fields := strings.Fields(mount)
		if found && strings.HasPrefix(kind, "cgroup") && len(fields) > 4 {
			all = append(all, fields[4])
		}
	}
	if len(all) == 0 {
		return nil, errors.New("finding cgroups: none are mounted")
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Make makes the folder of that name, and those in between.
func Make(name string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range all {
		folder := hierarchy
		for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
			above := folder
			folder = filepath.Join(folder, part)
			if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("making cgroup %s: %w", name, err)
			}
			if err := inheritSets(above, folder); err != nil {
				return fmt.Errorf("making cgroup %s: %w", name, err)
			}
		}
	}
	return nil
}

// inheritSets copies the sets of processors and memory: with version 1 a new cpuset has none, and takes no process.
func inheritSets(above, folder string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		set, err := os.ReadFile(filepath.Join(folder, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(set)) != "" {
			continue
		}
		if set, err = os.ReadFile(filepath.Join(above, file)); err != nil {
			return err
		}
		if strings.TrimSpace(string(set)) == "" {
			continue // version 2: inherited by itself
		}
		if err := os.WriteFile(filepath.Join(folder, file), set, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes the folder and all below it, in which no process is any more.
func Remove(ctx context.Context, name string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	for _, hierarchy := range all {
		for {
			err := removeTree(filepath.Join(hierarchy, name))
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("removing cgroup %s: %w", name, err)
			case <-time.After(removePoll):
			}
		}
	}
	return nil
}

// removeTree removes folders from the bottom; their files go with them.
func removeTree(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
