package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"hayloft.dev/coordinator/api"
	"hayloft.dev/coordinator/api/identity"
	"hayloft.dev/coordinator/certs"
	"hayloft.dev/coordinator/control"
	"hayloft.dev/pkg/reload"
)

// Names of the objects that belong to the HTTP API; a role names them, too.
const (
	apiSecret = "hayloft-api-certificate" //nolint:gosec // a name
	apiBundle = "hayloft-api-ca"
)

type apiFlags struct {
	listen          string // host:port
	names           string
	audience        string
	clientAuthority string
	limits          api.Limits
}

func (f *apiFlags) bind(fs *flag.FlagSet) {
	fs.StringVar(&f.listen, "api-listen", "", "address that serves the HTTP API over HTTPS; empty: not served")
	fs.StringVar(&f.names, "api-names", "", "comma-separated DNS names and addresses that callers know the HTTP API by (default hayloft-api.NAMESPACE.svc)")
	fs.StringVar(&f.audience, "api-audience", "", "audience that tokens for the HTTP API must have been issued for (default that of the API server)")
	fs.StringVar(&f.clientAuthority, "api-client-ca", "", "file of the authorities (PEM) whose client certificates the HTTP API takes; empty: none")
	fs.Float64Var(&f.limits.Rate, "api-rate", 20, "requests a second that the HTTP API takes from one caller")
	fs.IntVar(&f.limits.Burst, "api-burst", 100, "requests at once that the HTTP API takes from one caller")
	fs.IntVar(&f.limits.Streams, "api-streams", 200, "progress streams that the HTTP API keeps open")
	fs.IntVar(&f.limits.StreamsEach, "api-streams-each", 20, "progress streams that the HTTP API keeps open for one caller")
}

func (f *apiFlags) check() error {
	if f.listen == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(f.listen); err != nil {
		return fmt.Errorf("--api-listen: %w", err)
	}
	if f.limits.Rate <= 0 || f.limits.Burst < 1 || f.limits.Streams < 1 || f.limits.StreamsEach < 1 {
		return errors.New("--api-rate, --api-burst, --api-streams and --api-streams-each must be more than 0")
	}
	return nil
}

// add has the HTTP API served by the manager, if that is wanted. The function
// returned says why it is not yet.
func (f *apiFlags) add(ctx context.Context, mgr ctrl.Manager, o control.Options, counts api.Recorder) (served func() error, err error) {
	if f.listen == "" {
		return func() error { return nil }, nil
	}
	names := []string{"hayloft-api." + o.Namespace + ".svc"}
	if f.names != "" {
		names = strings.Split(f.names, ",")
	}
	live, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme()})
	if err != nil {
		return nil, fmt.Errorf("making a client for the HTTP API's certificate: %w", err)
	}
	secret := types.NamespacedName{Namespace: o.Namespace, Name: apiSecret}
	trust := certs.Trust{Bundle: types.NamespacedName{Namespace: o.Namespace, Name: apiBundle}}
	watched, changed, err := certs.Watch(ctx, mgr.GetConfig(), mgr.GetScheme(), secret, trust)
	if err != nil {
		return nil, err
	}
	keeper := certs.NewKeeper(certs.Options{
		Client: live, Secret: secret, Trust: trust, Names: names, Lifetimes: certs.APILifetimes(), Changed: changed, Log: o.Log,
	})
	handler, err := f.handler(mgr, o, counts)
	if err != nil {
		return nil, err
	}
	server := &api.Server{Address: f.listen, Handler: handler, GetCertificate: keeper.GetCertificate, Log: o.Log}
	parts := map[string]manager.Runnable{
		"the cache of the HTTP API's certificate": everywhere(watched.Start), "the keeper of the HTTP API's certificate": keeper, "the HTTP API": server,
	}
	if f.clientAuthority != "" {
		value, err := f.clientAuthorities(o.Log)
		if err != nil {
			return nil, err
		}
		server.ClientAuthorities, parts["the authorities of client certificates"] = value.Get, value
	}
	for what, r := range parts {
		if err := mgr.Add(r); err != nil {
			return nil, fmt.Errorf("adding %s: %w", what, err)
		}
	}
	return func() error { return errors.Join(server.Ready(), keeper.Ready()) }, nil
}

func (f *apiFlags) handler(mgr ctrl.Manager, o control.Options, counts api.Recorder) (http.Handler, error) {
	acting, err := identity.NewClient(mgr.GetConfig(), mgr.GetScheme(), api.Mapper())
	if err != nil {
		return nil, err
	}
	own, err := authenticationclient.NewForConfig(mgr.GetConfig())
	if err != nil {
		return nil, fmt.Errorf("making a client that reviews tokens: %w", err)
	}
	return api.New(api.Options{
		Client: acting, Namespace: o.Namespace, Prober: o.Targets, Limits: f.limits, Recorder: counts, Log: o.Log,
		Authenticator: &identity.Authenticator{Tokens: identity.NewTokens(own.TokenReviews(), f.audience)},
	})
}

// clientAuthorities follow the file of --api-client-ca.
func (f *apiFlags) clientAuthorities(log *slog.Logger) (*reload.Value[*x509.CertPool], error) {
	value, err := reload.Open(reload.Options[*x509.CertPool]{Files: []string{f.clientAuthority}, Parse: authorities, Log: log})
	if err != nil {
		return nil, fmt.Errorf("--api-client-ca: %w", err)
	}
	return value, nil
}

// authorities refuses a file in which any certificate is broken: else those whom
// that one vouches for would be turned away without a word.
func authorities(contents [][]byte) (*x509.CertPool, error) {
	pool, rest, n := x509.NewCertPool(), contents[0], 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		n++
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is a %s: write certificates only", n, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d: %w", n, err)
		}
		pool.AddCert(c)
	}
	// What is no PEM is passed over, such as a certificate that is cut off.
	if begun := bytes.Count(contents[0], []byte("-----BEGIN ")); n == 0 || n < begun {
		return nil, fmt.Errorf("%d of %d certificates in it can be read: write each whole, in PEM", n, max(begun, 1))
	}
	return pool, nil
}
