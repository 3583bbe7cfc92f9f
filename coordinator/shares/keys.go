package shares

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Keys of the Secret of a Pod, which has its name. Both sides trust the one
// certificate of the other, which no authority has signed, and nothing else: there
// is no key that is worth more than one Pod.
const (
	KeyServerCert = "server.crt"
	KeyServerKey  = "server.key"
	KeyClientCert = "client.crt"
	KeyClientKey  = "client.key"
)

const (
	// keysLast is how long a certificate is good for. After two thirds of it the Pod
	// is followed by another one.
	keysLast = 90 * 24 * time.Hour
	// backdate lets a certificate be good where the clock is behind.
	backdate = time.Hour
	// serverName stands in every server's certificate; which server it is, its key
	// tells.
	serverName = "hayloft-share"
)

// NewKeys makes the Secret of a Pod. It belongs to that very Pod and goes with it.
func NewKeys(now time.Time, p *corev1.Pod) (*corev1.Secret, error) {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: p.Name,
			Labels:          map[string]string{LabelShare: p.Labels[LabelShare], LabelMount: p.Labels[LabelMount]},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID}},
		},
		Type: corev1.SecretTypeOpaque, Data: map[string][]byte{},
	}
	for _, side := range []struct {
		cert, key string
		usage     x509.ExtKeyUsage
	}{{KeyServerCert, KeyServerKey, x509.ExtKeyUsageServerAuth}, {KeyClientCert, KeyClientKey, x509.ExtKeyUsageClientAuth}} {
		cert, key, err := pair(now, side.usage)
		if err != nil {
			return nil, err
		}
		s.Data[side.cert], s.Data[side.key] = cert, key
	}
	return s, nil
}

// Of tells whether a Secret was made for this very Pod.
func Of(s *corev1.Secret, p *corev1.Pod) bool {
	for _, owner := range s.OwnerReferences {
		if owner.UID == p.UID {
			return true
		}
	}
	return false
}

func pair(now time.Time, usage x509.ExtKeyUsage) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("making a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: serverName}, DNSNames: []string{serverName},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(keysLast),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, fmt.Errorf("signing a certificate: %w", err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}), nil
}

// ServerTLS is for a Pod that serves its share: only the owner of the client's key
// may speak to it. data are the keys that the Pod has.
func ServerTLS(data map[string][]byte) (*tls.Config, error) {
	own, peer, err := parse(data, KeyServerCert, KeyServerKey, KeyClientCert)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: own, ClientCAs: peer, ClientAuth: tls.RequireAndVerifyClientCert}, nil
}

// ClientTLS is for the target worker. data are the keys of the Pod's Secret.
func ClientTLS(data map[string][]byte) (*tls.Config, error) {
	own, peer, err := parse(data, KeyClientCert, KeyClientKey, KeyServerCert)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: own, RootCAs: peer, ServerName: serverName}, nil
}

func parse(data map[string][]byte, cert, key, peer string) ([]tls.Certificate, *x509.CertPool, error) {
	own, err := tls.X509KeyPair(data[cert], data[key])
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s and %s: %w", cert, key, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data[peer]) {
		return nil, nil, errors.New("reading " + peer + ": it holds no certificate")
	}
	return []tls.Certificate{own}, pool, nil
}
