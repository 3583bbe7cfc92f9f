package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"hayloft.dev/coordinator/certs"
	"hayloft.dev/coordinator/control"
	"hayloft.dev/pkg/reload"
)

// certificate is what the webhook is served with.
type certificate struct {
	get     func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	ready   func() error
	keepers map[string]manager.Runnable // what they are -> what keeps it new
}

// certificate is the mounted one, or one that the coordinators make.
func (f webhookFlags) certificate(ctx context.Context, mgr ctrl.Manager, o control.Options) (certificate, error) {
	if f.certDir != "" {
		return f.mounted(o)
	}
	names := []string{"hayloft-webhook." + o.Namespace + ".svc"}
	if f.names != "" {
		names = strings.Split(f.names, ",")
	}
	live, err := client.New(mgr.GetConfig(), client.Options{Scheme: mgr.GetScheme()})
	if err != nil {
		return certificate{}, fmt.Errorf("making a client for the webhook's certificate: %w", err)
	}
	secret := types.NamespacedName{Namespace: o.Namespace, Name: webhookSecret}
	trust := certs.Trust{Configuration: webhookConfiguration}
	watched, changed, err := certs.Watch(ctx, mgr.GetConfig(), mgr.GetScheme(), secret, trust)
	if err != nil {
		return certificate{}, err
	}
	keeper := certs.NewKeeper(certs.Options{
		Client: live, Secret: secret, Trust: trust, Names: names,
		Lifetimes: certs.DefaultLifetimes(), Changed: changed, Log: o.Log,
	})
	return certificate{keeper.GetCertificate, keeper.Ready, map[string]manager.Runnable{
		"the certificate's cache": everywhere(watched.Start), "the certificate's keeper": keeper,
	}}, nil
}

// mounted follows a certificate that somebody else renews, such as cert-manager,
// who also tells the API server whom to trust.
func (f webhookFlags) mounted(o control.Options) (certificate, error) {
	value, err := reload.Open(reload.Options[*tls.Certificate]{
		Files: []string{filepath.Join(f.certDir, "tls.crt"), filepath.Join(f.certDir, "tls.key")}, Parse: keyPair, Log: o.Log,
	})
	if err != nil {
		return certificate{}, fmt.Errorf("--webhook-cert-dir: %w", err)
	}
	return certificate{
		get:     func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return value.Get(), nil },
		ready:   func() error { return nil },
		keepers: map[string]manager.Runnable{"the mounted certificate": value},
	}, nil
}

// keyPair refuses a key that is not the certificate's, and a certificate that has
// expired: the one before may hold on longer. Its errors quote nothing of the key.
func keyPair(contents [][]byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, fmt.Errorf("reading the certificate and its key: %w", err)
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return nil, errors.New("the certificate expired on " + pair.Leaf.NotAfter.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	return &pair, nil
}
