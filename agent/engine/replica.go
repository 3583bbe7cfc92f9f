package engine

import (
	"context"
	"fmt"
	"strings"

	replicaclient "github.com/longhorn/longhorn-engine/pkg/replica/client"
	"github.com/longhorn/longhorn-engine/pkg/types"
)

// view is one replica's word on its disk files.
type view = answer[*types.ReplicaInfo]

// views asks each replica for its disk files. One that an ending engine has
// closed still answers, and shows none: nothing follows from that.
func (e *Engine) views(ctx context.Context, replicas []Replica) []view {
	return ask(replicas, func(r Replica) (*types.ReplicaInfo, error) {
		info, err := replicaCall(ctx, e, r, (*replicaclient.ReplicaClient).GetReplica)
		if err == nil && len(info.Disks) == 0 {
			return nil, fmt.Errorf("%w: it is %s and shows no files", ErrUnavailable, info.State)
		}
		return info, err
	})
}

// notRebuilding is nil when every replica answered and none is being rebuilt.
// A replica knows that earlier and longer than the engine's list of modes.
func notRebuilding(views []view) error {
	if err := joined(views); err != nil {
		return err
	}
	for _, v := range views {
		if v.value.Rebuilding {
			return fmt.Errorf("%w: replica %s", ErrRebuilding, v.replica.Address)
		}
	}
	return nil
}

// askAll runs f for every replica of the engine, those that it has given up
// included. It is an error when the engine cannot be asked, has none, or none
// answers.
func askAll[T any](ctx context.Context, e *Engine, f func(context.Context, Replica) (T, error)) ([]answer[T], error) {
	info, err := e.info(ctx)
	if err != nil {
		return nil, err
	}
	if len(info.Replicas) == 0 {
		return nil, ErrNoReplica
	}
	answers := ask(info.Replicas, func(r Replica) (T, error) { return f(ctx, r) })
	for _, a := range answers {
		if a.err == nil {
			return answers, nil
		}
	}
	return nil, joined(answers)
}

// replicaErrors holds what went wrong on several replicas, in one line.
type replicaErrors []error

func (e replicaErrors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "; ")
}

func (e replicaErrors) Unwrap() []error { return e }

// joined is the errors of all replicas, each with its address; nil when there
// are none.
func joined[T any](answers []answer[T]) error {
	var errs replicaErrors
	for _, a := range answers {
		if a.err != nil {
			errs = append(errs, fmt.Errorf("replica %s: %w", a.replica.Address, a.err))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}
