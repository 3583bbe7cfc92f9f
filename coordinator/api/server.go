package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Server serves the API over TLS, in every coordinator, leading or not.
type Server struct {
	// Address to listen on, host:port.
	Address string
	Handler http.Handler
	// GetCertificate is the server's own.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// ClientAuthorities are those whose client certificates are taken. They are
	// asked for with each connection, so that they can be exchanged without a
	// restart; nil: no certificates are taken.
	ClientAuthorities func() *x509.CertPool
	Log               *slog.Logger

	listens atomic.Bool
}

// Bounds of a connection.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 32 << 10
	shutdownTime  = 5 * time.Second
)

// NeedLeaderElection is false: any coordinator can be asked.
func (s *Server) NeedLeaderElection() bool { return false }

// Ready returns why the API is not served yet.
func (s *Server) Ready() error {
	if !s.listens.Load() {
		return errors.New("the HTTP API is not served yet")
	}
	return nil
}

type endingKey struct{}

// Start listens until ctx ends. Requests then get a moment to end; streams are
// ended at once, since they would outlast it.
func (s *Server) Start(ctx context.Context) error {
	config := &tls.Config{GetCertificate: s.GetCertificate, MinVersion: tls.VersionTLS12}
	if s.ClientAuthorities != nil {
		config.GetConfigForClient = s.forClient(config.Clone())
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listening for the HTTP API on %s: %w", s.Address, err)
	}
	server := &http.Server{
		Handler: s.Handler, TLSConfig: config,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug), // handshakes that strangers begin
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.WithoutCancel(ctx), endingKey{}, ctx)
		},
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	s.listens.Store(true)
	s.Log.Info("serving the HTTP API", "address", listener.Addr().String())
	select {
	case err := <-ended:
		return fmt.Errorf("serving the HTTP API on %s: %w", s.Address, err)
	case <-ctx.Done():
	}
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := server.Shutdown(sctx); err != nil {
		return errors.Join(fmt.Errorf("ending the HTTP API: %w", err), server.Close())
	}
	return nil
}

// forClient takes certificates of the authorities that are in force. Who shows no
// certificate may show a token.
func (s *Server) forClient(base *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	return func(*tls.ClientHelloInfo) (*tls.Config, error) {
		config := base.Clone()
		config.ClientCAs, config.ClientAuth = s.ClientAuthorities(), tls.VerifyClientCertIfGiven
		config.NextProtos = []string{"h2", "http/1.1"}
		// A ticket would carry an identity past a change of the authorities.
		config.SessionTicketsDisabled = true
		return config, nil
	}
}
