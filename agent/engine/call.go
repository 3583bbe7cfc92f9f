package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	ctrlclient "github.com/longhorn/longhorn-engine/pkg/controller/client"
	replicaclient "github.com/longhorn/longhorn-engine/pkg/replica/client"
)

// statusLimit bounds a question about a status to one replica, so that one
// that hangs does not use up the caller's time for the others. Such a question
// is answered from memory, in milliseconds.
const statusLimit = 5 * time.Second

// call runs f on its own goroutine and waits for it or for ctx. f owns what
// it opens and closes it: Longhorn's replica client connects lazily, closing
// it from here while f uses it would be a data race.
func call[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	if ctx.Err() != nil {
		return none, ended(ctx)
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, classify(r.err)
	case <-ctx.Done():
		return none, ended(ctx)
	}
}

// controllerCall runs f with a client to the engine's controller.
func controllerCall[T any](ctx context.Context, e *Engine, f func(*ctrlclient.ControllerClient) (T, error)) (T, error) {
	v, err := call(ctx, func() (T, error) {
		c, err := ctrlclient.NewControllerClient(e.addr.Addr, e.addr.Volume, e.addr.Instance)
		if err != nil {
			var none T
			return none, err
		}
		defer func() { _ = c.Close() }()
		return f(c)
	})
	if err != nil {
		return v, fmt.Errorf("engine at %s: %w", e.addr.Addr, err)
	}
	return v, nil
}

// replicaCall runs f with a client to one replica and its sync agent. The
// replica's instance name is not known to an engine, so only the volume's
// name is sent for the replica to check. The error does not name the replica
// yet; joined does.
func replicaCall[T any](ctx context.Context, e *Engine, r Replica, f func(*replicaclient.ReplicaClient) (T, error)) (T, error) {
	return call(ctx, func() (T, error) {
		c, err := replicaclient.NewReplicaClient(r.Address, e.addr.Volume, "")
		if err != nil {
			var none T
			return none, err
		}
		defer func() { _ = c.Close() }()
		return f(c)
	})
}

// answer is what one replica said.
type answer[T any] struct {
	replica Replica
	value   T
	err     error
}

// ask runs f for all replicas at once and returns the answers in their order.
func ask[T any](replicas []Replica, f func(Replica) (T, error)) []answer[T] {
	answers := make([]answer[T], len(replicas))
	var wg sync.WaitGroup
	for i, r := range replicas {
		wg.Go(func() {
			v, err := f(r)
			answers[i] = answer[T]{replica: r, value: v, err: err}
		})
	}
	wg.Wait()
	return answers
}
