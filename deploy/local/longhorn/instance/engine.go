package instance

import (
	"context"
	"fmt"
	"os"
	"strconv"
)

const (
	enginePorts  = 1
	replicaPorts = 10 // control, data, sync agent, and seven for files that the sync agent receives, as Longhorn gives it
)

// Replica is a replica to run. Sizes are in bytes.
type Replica struct {
	Name, Volume     string
	IP               string
	Dir              string
	Size             int64
	BackingFile      string // "" is none
	SnapshotMaxCount int
	SnapshotMaxSize  int64
	NoRevisions      bool // do not count writes
}

// StartReplica runs a replica on its folder, which is made when it is missing.
func (s *Set) StartReplica(ctx context.Context, r Replica) (Info, error) {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return Info{}, fmt.Errorf("starting %s: %w", r.Name, err)
	}
	return s.launch(ctx, r.Volume, r.Name, r.IP, replicaPorts, []int{0, 1, 2}, func(port int) Command {
		args := []string{
			"--volume-name", r.Volume,
			"replica", r.Dir,
			"--size", strconv.FormatInt(r.Size, 10),
		}
		if r.BackingFile != "" {
			args = append(args, "--backing-file", r.BackingFile)
		}
		if r.NoRevisions {
			args = append(args, "--disableRevCounter")
		}
		args = append(args,
			"--replica-instance-name", r.Name,
			"--snapshot-max-count", strconv.Itoa(r.SnapshotMaxCount),
			"--snapshot-max-size", strconv.FormatInt(r.SnapshotMaxSize, 10),
			"--sync-agent-port-count", strconv.Itoa(replicaPorts-3),
			"--listen", address(r.IP, port))
		return Command{Kind: "replica", Name: r.Name, Args: args, Labels: labels(r.Volume)}
	})
}

// Engine is an engine controller to run. Sizes are in bytes.
type Engine struct {
	Name, Volume     string
	IP               string
	Size             int64
	Replicas         []string // ip:port of each
	Frontend         bool     // the socket front end; off means that there is none
	SnapshotMaxCount int
	SnapshotMaxSize  int64
	NoRevisions      bool // as its replicas
	Salvage          bool // without revisions: find the replica that was written last and take no other
}

// StartEngine runs an engine. It fails when none of its replicas can be used.
func (s *Set) StartEngine(ctx context.Context, e Engine) (Info, error) {
	frontend := ""
	if e.Frontend {
		frontend = "socket"
	}
	info, err := s.launch(ctx, e.Volume, e.Name, e.IP, enginePorts, []int{0}, func(port int) Command {
		size := strconv.FormatInt(e.Size, 10)
		args := []string{
			"--engine-instance-name", e.Name,
			"controller", e.Volume,
			"--frontend", frontend,
			"--size", size,
			"--current-size", size,
			"--snapshot-max-count", strconv.Itoa(e.SnapshotMaxCount),
			"--snapshot-max-size", strconv.FormatInt(e.SnapshotMaxSize, 10),
			"--listen", address(e.IP, port),
		}
		if e.NoRevisions {
			args = append(args, "--disableRevCounter")
		}
		if e.Salvage {
			args = append(args, "--salvageRequested")
		}
		for _, replica := range e.Replicas {
			args = append(args, "--replica", "tcp://"+replica)
		}
		return Command{Kind: "engine", Name: e.Name, Args: args, Labels: labels(e.Volume)}
	})
	if err != nil || !e.Frontend {
		return info, err
	}
	// The engine answers before its front end does, and whoever sees the volume attached opens it.
	if err := waitFile(ctx, SocketPath(e.Volume)); err != nil {
		s.Stop(e.Name)
		return Info{}, fmt.Errorf("starting %s: %w", e.Name, err)
	}
	return info, nil
}

func labels(volume string) map[string]string { return map[string]string{"volume": volume} }
