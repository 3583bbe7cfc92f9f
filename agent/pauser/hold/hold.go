// Package hold keeps containers paused for as long as somebody wants them to be,
// and not longer: it lets them go when it is told to, when who asked is gone,
// when their time is over, when this program ends, and at its next start.
//
// In the same way it has the hooks of a pod run around a cut, where that is
// allowed: what is for afterwards is run whoever is gone.
//
// It decides when; how a container is found, paused and resumed, and how a command
// is run in it, is Containers'.
package hold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"hayloft.dev/agent/pauser/wire"
)

const (
	// requestTime is how long who connects may take to say what for, and to take
	// an answer.
	requestTime = 5 * time.Second
	// callTime bounds one try to let a container go.
	callTime = 5 * time.Second
	// retryFloor and retryCeiling are the pauses between two such tries.
	retryFloor, retryCeiling = 100 * time.Millisecond, time.Second
	// closeTime is how long the end of this program waits for what is held.
	closeTime = 10 * time.Second
)

// ErrUncertain is in errors of Pause that leave open whether the container is
// paused.
var ErrUncertain = errors.New("whether the container was paused is not known")

// ErrPaused is in errors of Find about a container that is paused.
var ErrPaused = errors.New("is paused already")

var (
	errGone  = errors.New("who asked for the pause is gone")
	errLimit = errors.New("the time that a pause may take is over")
	errEnds  = errors.New("the pauser is ending")
)

// Containers are those of this node.
type Containers interface {
	// Find returns the ids of a pod's running containers of that name, or all of
	// them, but its sandbox; none is an error, and ErrPaused one that is paused.
	Find(ctx context.Context, pod wire.Pod, container string) ([]string, error)
	// Users are the containers that run and may write to volumes, paused ones too.
	Users(ctx context.Context, u wire.Users) ([]User, error)
	// Pause makes a record and pauses a running container. One that is paused
	// already is refused. After an error nothing of ours is left, unless it is
	// ErrUncertain.
	Pause(ctx context.Context, id string) error
	// Resume undoes Pause. It is to be called until it returns no error; held
	// tells whether this call found it paused.
	Resume(ctx context.Context, id string) (held bool, err error)
	// Left are the containers with a record.
	Left(ctx context.Context) ([]string, error)
	// Annotations of a pod, as the kubelet has told them to the runtime.
	Annotations(ctx context.Context, pod wire.Pod) (map[string]string, error)
	// Run runs a command in a container and waits for its end, at most until ctx
	// ends; then it is killed. Any other exit code than 0 is an error.
	Run(ctx context.Context, id string, command []string) error
}

// User is a container that has a volume mounted.
type User struct {
	ID   string
	Name string // for people
}

// Server holds containers. All fields must be set.
type Server struct {
	Containers Containers
	Limit      time.Duration // of each hold
	Hooks      bool          // those of pods are run
	Log        *slog.Logger

	mu    sync.Mutex
	busy  map[string]chan struct{} // id, held or being let go -> closed when it is not any more
	holds sync.WaitGroup
}

// Recover lets go what an earlier process has left paused. It returns when it is
// known which containers these are; they are let go in the background.
func (s *Server) Recover(ctx context.Context) error {
	for wait := retryFloor; ; wait = min(2*wait, retryCeiling) {
		cctx, cancel := context.WithTimeout(ctx, callTime)
		left, err := s.Containers.Left(cctx)
		cancel()
		if err == nil {
			for _, id := range left {
				if s.take(ctx, id) != nil {
					break
				}
				s.Log.Warn("letting a container go that an earlier process has left paused", "container", id)
				s.holds.Go(func() { s.letGo(ctx, id) })
			}
			return nil
		}
		s.Log.Warn("cannot ask which containers were left paused; asking again", "error", err)
		if pause(ctx, wait) != nil {
			return fmt.Errorf("looking for containers that were left paused: %w", err)
		}
	}
}

// Serve answers on the listener until ctx ends. Then everything that is held is
// let go; what that is not possible for in time, the next start does.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return s.wait()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("accepting connections: %w", err), s.wait())
		}
		s.holds.Go(func() {
			defer conn.Close()
			s.serve(ctx, conn)
		})
	}
}

// wait returns when nothing is held any more.
func (s *Server) wait() error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.holds.Wait()
	}()
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("containers are still paused %s after the end was asked for; the next start lets them go", closeTime)
	}
}
