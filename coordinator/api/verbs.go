package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/problem"
)

// get adds the reading of one object of a namespace.
func get[O client.Object, T any](s *service, api huma.API, op huma.Operation, empty func() O, view func(O) T) {
	huma.Register(api, op, func(ctx context.Context, in *Named) (*one[T], error) {
		o := empty()
		if err := s.Client.Get(ctx, in.key(), o); err != nil {
			return nil, problem.FromCluster(err)
		}
		return &one[T]{view(o)}, nil
	})
}

// change adds an operation that merges a patch into one object of a namespace.
func change[O client.Object, T any](s *service, api huma.API, op huma.Operation, empty func() O, view func(O) T, patch string) {
	huma.Register(api, op, func(ctx context.Context, in *Named) (*one[T], error) {
		o := empty()
		o.SetNamespace(in.Namespace)
		o.SetName(in.Name)
		if err := s.Client.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			return nil, problem.FromCluster(err)
		}
		return &one[T]{view(o)}, nil
	})
}

// remove adds the deletion of one object of a namespace. It is accepted, not
// done, as long as something has to be cleaned up first.
func remove[O client.Object](s *service, api huma.API, op huma.Operation, empty func() O) {
	op.DefaultStatus = http.StatusAccepted
	huma.Register(api, op, func(ctx context.Context, in *Named) (*struct{}, error) {
		o := empty()
		o.SetNamespace(in.Namespace)
		o.SetName(in.Name)
		return nil, problem.FromCluster(s.Client.Delete(ctx, o))
	})
}
