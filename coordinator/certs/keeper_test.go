package certs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/test/harness"
)

const patience = 3 * time.Minute

// cluster is a real API server that calls a webhook, for ConfigMaps of one
// namespace, which two keepers serve in turn.
type cluster struct {
	t       *testing.T
	ctx     context.Context
	c       client.Client
	ns      string
	keepers []*Keeper
	address string // of the webhook: each connection goes to the next keeper's server
}

// newCluster begins with what a Secret holds; nil: there is none.
func newCluster(t *testing.T, l Lifetimes, held map[string][]byte) *cluster {
	t.Helper()
	config := harness.APIServer(t)
	c, err := client.New(config, client.Options{Scheme: clientgoscheme.Scheme})
	require.NoError(t, err)
	cl := &cluster{t: t, ctx: t.Context(), c: c, ns: harness.Namespace(t, config)}
	if held != nil {
		require.NoError(t, c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cl.ns, Name: "certificate"}, Data: held}))
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); wg.Wait() })
	start := func(run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
	}
	for range 2 {
		secret := types.NamespacedName{Namespace: cl.ns, Name: "certificate"}
		watched, changed, err := Watch(ctx, config, clientgoscheme.Scheme, secret, Trust{Configuration: cl.ns})
		require.NoError(t, err)
		k := NewKeeper(Options{
			Client: c, Secret: secret, Trust: Trust{Configuration: cl.ns}, Names: []string{"127.0.0.1"},
			Lifetimes: l, Changed: changed, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		cl.keepers = append(cl.keepers, k)
		start(watched.Start)
		start(k.Start)
	}
	return cl
}

// serve answers as a webhook that allows everything.
func (cl *cluster) serve() {
	cl.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(cl.t, err)
	cl.address = listener.Addr().String()
	var mu sync.Mutex
	turn := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		w.Header().Set("Connection", "close") // so that each request needs a handshake
		_ = json.NewEncoder(w).Encode(review) // a client that went away is no error of ours
	}))
	server.Listener = tls.NewListener(listener, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		turn++
		return cl.keepers[turn%len(cl.keepers)].GetCertificate(h)
	}})
	server.Start()
	cl.t.Cleanup(server.Close)
}

// configure makes the webhook's configuration, without anybody to trust.
func (cl *cluster) configure() {
	cl.t.Helper()
	url, none := "https://"+cl.address+"/", admissionregistrationv1.SideEffectClassNone
	require.NoError(cl.t, cl.c.Create(cl.ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: cl.ns},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "configmaps.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: &none,
			ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &url},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: cl.ns}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}))
	cl.t.Cleanup(func() {
		c := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: cl.ns}}
		require.NoError(cl.t, cl.c.Delete(context.Background(), c))
	})
}

// ask has the API server call the webhook.
func (cl *cluster) ask() error {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: cl.ns, Name: "m"}}
	return cl.c.Create(cl.ctx, m, client.DryRunAll)
}

func (cl *cluster) stored() keyring {
	cl.t.Helper()
	var s corev1.Secret
	require.NoError(cl.t, cl.c.Get(cl.ctx, client.ObjectKey{Namespace: cl.ns, Name: "certificate"}, &s))
	return parse(s.Data)
}

func (cl *cluster) eventually(what string, ok func() bool) {
	cl.t.Helper()
	require.Eventually(cl.t, ok, patience, 20*time.Millisecond, what)
}

// TestBegins: from nothing, two processes agree on one certificate, and the API
// server trusts it, also when the configuration comes late or is put back.
func TestBegins(t *testing.T) {
	cl := newCluster(t, DefaultLifetimes(), nil)
	for _, k := range cl.keepers {
		cl.eventually("a certificate", func() bool { return k.Ready() == nil })
	}
	first := cl.stored()
	for _, k := range cl.keepers {
		require.Equal(t, first.serving.pair.Certificate, k.served.Load().Certificate)
	}
	cl.serve()
	cl.configure()
	cl.eventually("the webhook to be called", func() bool { return cl.ask() == nil })

	var c admissionregistrationv1.ValidatingWebhookConfiguration
	require.NoError(t, cl.c.Get(t.Context(), client.ObjectKey{Name: cl.ns}, &c))
	c.Webhooks[0].ClientConfig.CABundle = nil
	require.NoError(t, cl.c.Update(t.Context(), &c))
	cl.eventually("the webhook to be trusted again", func() bool {
		return cl.c.Get(t.Context(), client.ObjectKey{Name: cl.ns}, &c) == nil && place{Object: &c}.trusts(first.bundle()) && cl.ask() == nil
	})

	require.NoError(t, cl.c.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cl.ns, Name: "certificate"}}))
	cl.eventually("a new certificate to be served by all", func() bool {
		return !slices.ContainsFunc(cl.keepers, func(k *Keeper) bool {
			return slices.EqualFunc(k.served.Load().Certificate, first.serving.pair.Certificate, slices.Equal)
		})
	})
	cl.eventually("the webhook to be called", func() bool { return cl.ask() == nil })
}

// TestRotation: an authority whose time has come is exchanged while the API
// server goes on calling: no call fails.
func TestRotation(t *testing.T) {
	l := Lifetimes{Authority: time.Hour, Serving: 50 * time.Minute, Settle: 5 * time.Second}
	// All is due at once, and expires only in ten minutes.
	then := time.Now().Add(-45 * time.Minute)
	old, _ := made(t, view{now: then, names: []string{"127.0.0.1"}, lifetimes: l})
	old, err := old.do(newServing, then.Add(5*time.Minute), []string{"127.0.0.1"}, l)
	require.NoError(t, err)
	data, err := old.encode()
	require.NoError(t, err)

	cl := newCluster(t, l, data)
	cl.serve()
	cl.configure()
	cl.eventually("the webhook to be called", func() bool { return cl.ask() == nil })

	authorities := map[int]bool{}
	calls := 0
	done := func() bool {
		k := cl.stored()
		authorities[len(k.authorities)] = true
		return len(k.authorities) == 1 && !k.authorities[0].cert.Equal(old.authorities[0].cert)
	}
	for deadline := time.Now().Add(patience); !done(); {
		require.NoError(t, cl.ask(), "call %d", calls)
		require.True(t, time.Now().Before(deadline), "it takes too long")
		calls++
	}
	require.NoError(t, cl.ask())
	require.True(t, authorities[2], "both were trusted for a time")
	cl.eventually("the new certificate to be served by all", func() bool {
		now := cl.stored().serving.pair.Certificate
		return !slices.ContainsFunc(cl.keepers, func(k *Keeper) bool { return !slices.EqualFunc(k.served.Load().Certificate, now, slices.Equal) })
	})
	t.Logf("%d calls", calls)
}
