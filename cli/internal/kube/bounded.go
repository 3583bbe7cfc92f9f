package kube

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// requestTimeout bounds one request that is not a watch. A slow API server
// answers within seconds; one that never answers must not hold a script.
const requestTimeout = 30 * time.Second

// bounded gives each request a deadline. Watches have the command's own: a
// timeout of the HTTP client would cut them too.
type bounded struct{ client.WithWatch }

func within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return do(ctx)
}

func (b bounded) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	return within(ctx, func(ctx context.Context) error { return b.WithWatch.Get(ctx, key, o, opts...) })
}

func (b bounded) List(ctx context.Context, l client.ObjectList, opts ...client.ListOption) error {
	return within(ctx, func(ctx context.Context) error { return b.WithWatch.List(ctx, l, opts...) })
}

func (b bounded) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	return within(ctx, func(ctx context.Context) error { return b.WithWatch.Create(ctx, o, opts...) })
}

func (b bounded) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	return within(ctx, func(ctx context.Context) error { return b.WithWatch.Delete(ctx, o, opts...) })
}

func (b bounded) Patch(ctx context.Context, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	return within(ctx, func(ctx context.Context) error { return b.WithWatch.Patch(ctx, o, p, opts...) })
}
