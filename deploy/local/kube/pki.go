package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificateLife is how long the certificates are good for. A stack is thrown away long before.
const certificateLife = 365 * 24 * time.Hour

// proxyUser is whose certificate the API server shows to the API servers behind it (aggregation). Those trust what it
// says about the caller only under this name.
const proxyUser = "front-proxy-client"

// pki is the folder with the stack's keys: the authority, the server's certificate, the clients' certificates, the
// authority and the certificate of aggregation, and the key that signs service-account tokens.
type pki struct{ dir string }

func (p pki) path(name string) string { return filepath.Join(p.dir, name) }

func (p pki) caCert() string            { return p.path("ca.crt") }
func (p pki) caKey() string             { return p.path("ca.key") }
func (p pki) serverCert() string        { return p.path("apiserver.crt") }
func (p pki) serverKey() string         { return p.path("apiserver.key") }
func (p pki) adminCert() string         { return p.path("admin.crt") }
func (p pki) adminKey() string          { return p.path("admin.key") }
func (p pki) controllersCert() string   { return p.path("controller-manager.crt") }
func (p pki) controllersKey() string    { return p.path("controller-manager.key") }
func (p pki) proxyCACert() string       { return p.path("front-proxy-ca.crt") }
func (p pki) proxyCAKey() string        { return p.path("front-proxy-ca.key") }
func (p pki) proxyCert() string         { return p.path("front-proxy-client.crt") }
func (p pki) proxyKey() string          { return p.path("front-proxy-client.key") }
func (p pki) serviceAccountKey() string { return p.path("service-account.key") }
func (p pki) serviceAccountPub() string { return p.path("service-account.pub") }

// ensure makes the whole set unless the folder already has one. ips are the server's addresses besides 127.0.0.1.
func (p pki) ensure(ips []net.IP) error {
	switch _, err := os.Stat(p.serviceAccountPub()); { // written last: its presence means that all are there
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	ca, err := makeAuthority("local-ca", p.caCert(), p.caKey())
	if err != nil {
		return fmt.Errorf("making the authority: %w", err)
	}
	server := x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: append([]net.IP{net.IPv4(127, 0, 0, 1)}, ips...),
		DNSNames:    []string{"localhost", "kubernetes.default.svc"},
	}
	if err := ca.issue(server, p.serverCert(), p.serverKey()); err != nil {
		return fmt.Errorf("issuing the server's certificate: %w", err)
	}
	// Both clients are in system:masters: the first is the human with the kubeconfig, the second stands for a dozen
	// controllers whose separate accounts would say nothing about Hayloft.
	for _, c := range []struct{ user, cert, key string }{
		{"admin", p.adminCert(), p.adminKey()},
		{"system:kube-controller-manager", p.controllersCert(), p.controllersKey()},
	} {
		if err := ca.issue(clientTemplate(c.user, "system:masters"), c.cert, c.key); err != nil {
			return fmt.Errorf("issuing the certificate of %s: %w", c.user, err)
		}
	}
	if err := p.makeProxy(); err != nil {
		return fmt.Errorf("making the certificate of aggregation: %w", err)
	}
	return p.makeServiceAccountKey()
}

// makeProxy makes the certificate of aggregation. Its authority signs nothing else: whoever has a certificate of it may
// say to an API server behind this one that he is anybody.
func (p pki) makeProxy() error {
	ca, err := makeAuthority("front-proxy-ca", p.proxyCACert(), p.proxyCAKey())
	if err != nil {
		return err
	}
	return ca.issue(clientTemplate(proxyUser), p.proxyCert(), p.proxyKey())
}

func clientTemplate(user string, groups ...string) x509.Certificate {
	return x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func makeAuthority(name, certPath, keyPath string) (*authority, error) {
	key, err := writeKey(keyPath)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	cert := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Minute), // a clock that steps back a little must not lock everybody out
		NotAfter:              now.Add(certificateLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key}, writePEM(certPath, "CERTIFICATE", der, 0o644)
}

// issue completes the template, signs it and writes certificate and key.
func (a *authority) issue(template x509.Certificate, certPath, keyPath string) error {
	key, err := writeKey(keyPath)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return err
	}
	template.NotBefore, template.NotAfter = a.cert.NotBefore, a.cert.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	return writePEM(certPath, "CERTIFICATE", der, 0o644)
}

func (p pki) makeServiceAccountKey() error {
	key, err := writeKey(p.serviceAccountKey())
	if err != nil {
		return fmt.Errorf("making the service-account key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("making the service-account key: %w", err)
	}
	return writePEM(p.serviceAccountPub(), "PUBLIC KEY", der, 0o644)
}

func writeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(path, "EC PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode fs.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
