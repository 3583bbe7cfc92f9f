package hold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/agent/pauser/wire"
)

// cutTime is how long an agent may take between the two hooks of a pod. It is
// longer than any cut may.
const cutTime = 20 * time.Minute

// hook is one connection: the hooks of one pod around one cut. What is declared is
// read before anything is run, and counts to the end.
func (s *Server) hook(ctx context.Context, conn net.Conn, in *json.Decoder, q wire.Request) {
	declared, err := s.declared(ctx, q)
	if err != nil {
		s.Log.Info("could not run hooks", "pods", q.Pods, "error", err)
		s.answer(conn, wire.Ran{Declared: true, Error: err.Error()})
		return
	}
	pod := q.Pods[0]
	held, drop := context.WithCancelCause(ctx)
	defer drop(nil)
	released := make(chan struct{})
	go func() {
		if err := in.Decode(&wire.Release{}); err != nil {
			drop(errGone)
			return
		}
		close(released)
	}()
	if before := s.run(held, pod, declared.Before); !s.answer(conn, before) {
		drop(errGone)
	}
	timer := time.NewTimer(cutTime)
	defer timer.Stop()
	select {
	case <-released:
	case <-held.Done():
		s.Log.Warn("running what is for after a cut, although nobody asked for it", "pod", pod, "cause", context.Cause(held))
	case <-timer.C:
		s.Log.Warn("running what is for after a cut: nobody has asked for it in time", "pod", pod, "after", cutTime)
	}
	s.answer(conn, s.run(context.WithoutCancel(ctx), pod, declared.After))
}

// declared are the hooks of a request's pod, read from the pod itself.
func (s *Server) declared(ctx context.Context, q wire.Request) (hooks.Hooks, error) {
	if !s.Hooks {
		return hooks.Hooks{}, errors.New("the pauser of this node runs no hooks (--hooks)")
	}
	if len(q.Pods) != 1 || q.Pods[0].Namespace == "" || q.Pods[0].UID == "" {
		return hooks.Hooks{}, fmt.Errorf("hooks are of one pod, named by namespace and UID: %+v", q.Pods)
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	annotations, err := s.Containers.Annotations(ctx, q.Pods[0])
	if err != nil {
		return hooks.Hooks{}, err
	}
	return hooks.Parse(annotations)
}

// run runs one hook, if there is one. Its container is not paused meanwhile.
func (s *Server) run(ctx context.Context, pod wire.Pod, h *hooks.Hook) wire.Ran {
	if h == nil {
		return wire.Ran{}
	}
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, h.Timeout, fmt.Errorf("its timeout of %s is over", h.Timeout))
	defer cancel()
	err := s.runIn(ctx, pod, h)
	out := wire.Ran{Declared: true, Took: time.Since(began)}
	if err != nil {
		out.Error = err.Error()
	}
	s.Log.Info("ran a hook", "pod", pod, "container", h.Container, "took", out.Took, "error", err)
	return out
}

func (s *Server) runIn(ctx context.Context, pod wire.Pod, h *hooks.Hook) error {
	id, err := s.running(ctx, pod, h.Container)
	if err != nil {
		return err
	}
	if err := s.take(ctx, id); err != nil {
		return fmt.Errorf("container %s is paused for a cut: %w", h.Container, err)
	}
	defer s.give(id)
	return s.Containers.Run(ctx, id, h.Command)
}

// running finds a container that runs. One that is paused is waited for: an agent
// that is killed breaks the hold and this connection at once.
func (s *Server) running(ctx context.Context, pod wire.Pod, name string) (string, error) {
	for {
		ids, err := s.Containers.Find(ctx, pod, name)
		switch {
		case errors.Is(err, ErrPaused):
			if pause(ctx, retryFloor) != nil {
				return "", errors.Join(err, context.Cause(ctx))
			}
		case err != nil:
			return "", err
		case len(ids) != 1:
			return "", fmt.Errorf("%d containers of the pod are called %s", len(ids), name)
		default:
			return ids[0], nil
		}
	}
}
