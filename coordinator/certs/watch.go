package certs

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Watch is a cache of one Secret and the objects of Trust, to be run, and a channel
// that tells of their changes. Its requests name each, so that a role may, too.
func Watch(ctx context.Context, config *rest.Config, scheme *runtime.Scheme, secret types.NamespacedName, trust Trust) (cache.Cache, <-chan struct{}, error) {
	named := func(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }
	of := map[client.Object]cache.ByObject{
		&corev1.Secret{}: {Namespaces: map[string]cache.Config{secret.Namespace: {FieldSelector: named(secret.Name)}}},
	}
	watched := []client.Object{&corev1.Secret{}}
	for _, told := range trust.empty() {
		theirs := cache.ByObject{Field: named(told.key.Name)}
		if told.key.Namespace != "" {
			theirs = cache.ByObject{Namespaces: map[string]cache.Config{told.key.Namespace: {FieldSelector: named(told.key.Name)}}}
		}
		of[told.Object] = theirs
		watched = append(watched, told.Object)
	}
	c, err := cache.New(config, cache.Options{Scheme: scheme, ByObject: of})
	if err != nil {
		return nil, nil, fmt.Errorf("making a cache of a certificate: %w", err)
	}
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default: // one is on its way
		}
	}
	for _, o := range watched {
		informer, err := c.GetInformer(ctx, o, cache.BlockUntilSynced(false))
		if err == nil {
			_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
				AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
			})
		}
		if err != nil {
			return nil, nil, fmt.Errorf("watching a certificate: %w", err)
		}
	}
	return c, changed, nil
}
