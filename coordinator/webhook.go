package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"hayloft.dev/coordinator/admission"
	"hayloft.dev/coordinator/certs"
	"hayloft.dev/coordinator/control"
)

// Names of the objects that belong to the webhook; a role names them, too.
const (
	webhookSecret        = "hayloft-webhook-certificate" //nolint:gosec // a name
	webhookConfiguration = "hayloft"
)

type webhookFlags struct {
	listen string // host:port
	names  string
}

func (f webhookFlags) server(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) (webhook.Server, error) {
	host, port, err := net.SplitHostPort(f.listen)
	if err != nil {
		return nil, fmt.Errorf("--webhook-listen: %w", err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return nil, fmt.Errorf("--webhook-listen: %q is no port", port)
	}
	return webhook.NewServer(webhook.Options{Host: host, Port: int(number), TLSOpts: []func(*tls.Config){
		func(c *tls.Config) { c.GetCertificate, c.MinVersion = certificate, tls.VersionTLS12 },
	}}), nil
}

// add has the webhook served by the manager, if that is wanted. The function
// returned says why it is not yet.
func (f webhookFlags) add(ctx context.Context, mgr ctrl.Manager, facts admission.Facts, o control.Options, counts admission.Observer) (served func() error, err error) {
	if f.listen == "" {
		return func() error { return nil }, nil
	}
	names := []string{"hayloft-webhook." + o.Namespace + ".svc"}
	if f.names != "" {
		names = strings.Split(f.names, ",")
	}
	live, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme()})
	if err != nil {
		return nil, fmt.Errorf("making a client for the webhook's certificate: %w", err)
	}
	secret := types.NamespacedName{Namespace: o.Namespace, Name: webhookSecret}
	watched, changed, err := certs.Watch(ctx, mgr.GetConfig(), mgr.GetScheme(), secret, webhookConfiguration)
	if err != nil {
		return nil, err
	}
	keeper := certs.NewKeeper(certs.Options{
		Client: live, Secret: secret, Configuration: webhookConfiguration, Names: names,
		Lifetimes: certs.DefaultLifetimes(), Changed: changed, Log: o.Log,
	})
	server, err := f.server(keeper.GetCertificate)
	if err != nil {
		return nil, err
	}
	admission.Register(server, admission.Options{
		Scheme: mgr.GetScheme(), Facts: facts, Prober: o.Targets, Live: mgr.GetAPIReader(), Log: o.Log, Observer: counts,
	})
	late := &lateServer{server: server, filled: mgr.GetCache().WaitForCacheSync}
	for what, r := range map[string]manager.Runnable{
		"the certificate's cache": everywhere(watched.Start), "the certificate's keeper": keeper, "the webhook": everywhere(late.start),
	} {
		if err := mgr.Add(r); err != nil {
			return nil, fmt.Errorf("adding %s: %w", what, err)
		}
	}
	return func() error { return errors.Join(late.ready(), keeper.Ready()) }, nil
}

// everywhere runs in every coordinator, leading or not.
type everywhere func(context.Context) error

func (e everywhere) Start(ctx context.Context) error { return e(ctx) }
func (everywhere) NeedLeaderElection() bool          { return false }

// lateServer begins to listen when the caches are filled: until then another
// coordinator has to answer.
type lateServer struct {
	server  webhook.Server
	filled  func(context.Context) bool
	listens atomic.Bool
}

func (s *lateServer) start(ctx context.Context) error {
	if !s.filled(ctx) {
		return nil // it ends
	}
	s.listens.Store(true)
	return s.server.Start(ctx)
}

func (s *lateServer) ready() error {
	if !s.listens.Load() {
		return errors.New("the webhook is not served yet")
	}
	return s.server.StartedChecker()(nil)
}
