// Command pauser pauses containers of this node for the agent, while the disks
// of a VM are cut whose guest cannot be frozen. It is not part of an
// installation unless an administrator wants that.
//
// It is a program of its own, in a container of its own beside the agent's,
// because of what it is given: containerd's socket, which is power over the node.
// It does nothing with it but find containers by their pod, pause them for some
// seconds at most, and resume those that it has paused; and, with --hooks, run what
// a pod itself declares around a cut. It talks to nothing else.
//
// Whoever is killed, the containers go on: the agent's connection breaks with it
// and is what holds them; the worker that holds them is started again and finds
// them by the records that it has made; and so is this program, by the kubelet.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"hayloft.dev/agent/pauser/containers"
	"hayloft.dev/agent/pauser/hold"
	"hayloft.dev/agent/pauser/keep"
	"hayloft.dev/pkg/version"
)

// work is the argument by which the program starts itself for the work.
const work = "work"

// openRetry is the pause between two looks for a containerd that is not there.
const openRetry = time.Second

type options struct {
	socket, namespace, listen string
	limit                     time.Duration
	hooks                     bool
	level                     slog.Level
}

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "pauser:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	worker := len(args) > 0 && args[0] == work
	if worker {
		args = args[1:]
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: o.level}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if worker {
		return serve(keep.Kept(ctx), o, log)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	return keep.Run(ctx, log, self, append([]string{work}, args...)...)
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("pauser", flag.ContinueOnError)
	fs.StringVar(&o.socket, "containerd-socket", "/run/containerd/containerd.sock", "path of the node's containerd socket")
	fs.StringVar(&o.namespace, "containerd-namespace", "k8s.io", "containerd's namespace of the kubelet's containers")
	fs.StringVar(&o.listen, "listen", "", "path of the socket on which the agent asks")
	fs.DurationVar(&o.limit, "limit", 10*time.Second, "the longest that a container stays paused, whatever is asked for")
	fs.BoolVar(&o.hooks, "hooks", false, "run the commands that pods declare by annotations pre.hook.hayloft.dev/command and post.hook.hayloft.dev/command, in their containers")
	fs.TextVar(&o.level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	asked := version.Flag(fs)
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if err := asked(); err != nil {
		return o, err
	}
	if o.listen == "" {
		return o, errors.New("--listen is empty: give a path in a folder that the agent's container shares")
	}
	if o.limit < 100*time.Millisecond || o.limit > time.Minute {
		return o, fmt.Errorf("--limit %s: give 100ms to 1m", o.limit)
	}
	return o, nil
}

// serve is the worker: it holds what it is asked to until ctx ends.
func serve(ctx context.Context, o options, log *slog.Logger) error {
	c, err := open(ctx, o, log)
	if err != nil || c == nil {
		return err
	}
	defer c.Close()
	s := &hold.Server{Containers: c, Limit: o.limit, Hooks: o.hooks, Log: log}
	if err := s.Recover(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := os.Remove(o.listen); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the socket of an earlier process: %w", err)
	}
	listener, err := net.Listen("unix", o.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	// A worker that is slow to end must not remove the next one's.
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	// The agent runs as another user: the folder's group lets it in.
	if err := os.Chmod(o.listen, 0o660); err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	log.Info("ready to pause containers", "containerd", o.socket, "namespace", o.namespace, "limit", o.limit)
	return s.Serve(ctx, listener)
}

// open waits for containerd; nil when ctx ended meanwhile.
func open(ctx context.Context, o options, log *slog.Logger) (*containers.Containerd, error) {
	for said := false; ; said = true {
		c, err := containers.Open(ctx, o.socket, o.namespace)
		if err == nil {
			return c, nil
		}
		if !said {
			log.Warn("waiting for containerd", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(openRetry):
		}
	}
}
