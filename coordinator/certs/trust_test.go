package certs

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/test/harness"
)

// TestBundle: whom to trust is in a ConfigMap, which is made, and put right again
// when somebody else changed it.
func TestBundle(t *testing.T) {
	config := harness.APIServer(t)
	c, err := client.New(config, client.Options{Scheme: clientgoscheme.Scheme})
	require.NoError(t, err)
	ns := harness.Namespace(t, config)
	secret, trust := types.NamespacedName{Namespace: ns, Name: "certificate"}, Trust{Bundle: types.NamespacedName{Namespace: ns, Name: "bundle"}}
	ctx, cancel := context.WithCancel(t.Context())
	watched, changed, err := Watch(ctx, config, clientgoscheme.Scheme, secret, trust)
	require.NoError(t, err)
	k := NewKeeper(Options{
		Client: c, Secret: secret, Trust: trust, Names: []string{"127.0.0.1"}, Lifetimes: APILifetimes(), Changed: changed,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() { _ = watched.Start(ctx) })
	wg.Go(func() { _ = k.Start(ctx) })

	told := func() bool {
		var s corev1.Secret
		var m corev1.ConfigMap
		return c.Get(t.Context(), secret, &s) == nil && c.Get(t.Context(), trust.Bundle, &m) == nil && m.Data["ca.crt"] == string(parse(s.Data).bundle())
	}
	require.Eventually(t, func() bool { return k.Ready() == nil && told() }, patience, 20*time.Millisecond)
	var m corev1.ConfigMap
	require.NoError(t, c.Get(t.Context(), trust.Bundle, &m))
	m.Data["ca.crt"] = "somebody else's"
	require.NoError(t, c.Update(t.Context(), &m))
	require.Eventually(t, told, patience, 20*time.Millisecond)
	require.NoError(t, c.Delete(t.Context(), &m))
	require.Eventually(t, told, patience, 20*time.Millisecond)
}
