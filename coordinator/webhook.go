package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"hayloft.dev/coordinator/admission"
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
	// certDir holds a certificate that is mounted; "" has one made.
	certDir string
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
	cert, err := f.certificate(ctx, mgr, o)
	if err != nil {
		return nil, err
	}
	server, err := f.server(cert.get)
	if err != nil {
		return nil, err
	}
	admission.Register(server, admission.Options{
		Scheme: mgr.GetScheme(), Facts: facts, Prober: o.Targets, Live: mgr.GetAPIReader(), Log: o.Log, Observer: counts,
	})
	late := &lateServer{server: server, filled: mgr.GetCache().WaitForCacheSync}
	cert.keepers["the webhook"] = everywhere(late.start)
	for what, r := range cert.keepers {
		if err := mgr.Add(r); err != nil {
			return nil, fmt.Errorf("adding %s: %w", what, err)
		}
	}
	return func() error { return errors.Join(late.ready(), cert.ready()) }, nil
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
