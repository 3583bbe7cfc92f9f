// Package admission answers the API server as Longhorn's admission webhooks do, for volumes, their attachments and snapshots: what
// is missing is filled in, tickets get their generation, and what Longhorn would refuse is refused at once. It covers what
// a user of volumes meets and no more. One thing is let through that the real one refuses: a volume of data engine v2,
// since a cluster can hold such volumes and this stand-in has no other way to have one.
package admission

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	mutatorName   = "longhorn-webhook-mutator"
	validatorName = "longhorn-webhook-validator"

	certificateLife = 30 * 24 * time.Hour // longer than a local stack lives
	endTimeout      = 5 * time.Second     // for taking the configurations back
	readTimeout     = 10 * time.Second    // of one request, which is a few kilobytes
)

// Server is the webhooks. Objects of other namespaces are not theirs.
type Server struct {
	listener net.Listener
	bundle   []byte // the certificate that the API server is to trust
	server   *http.Server
	client   client.Client
	suffix   string // of the configurations' names, for namespaces other than Longhorn's own
	scope    string
}

// Listen makes the server, on a free port of loopback. c reads uncached.
func Listen(c client.Client, namespace string, d Defaults, log logr.Logger) (*Server, error) {
	certificate, bundle, err := selfSigned()
	if err != nil {
		return nil, fmt.Errorf("making the webhooks' certificate: %w", err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   tls.VersionTLS12,
	})
	if err != nil {
		return nil, fmt.Errorf("listening for the webhooks: %w", err)
	}
	h := handlers{reader: c, defaults: d}
	mux := http.NewServeMux()
	logger := func(logr.Logger, *admission.Request) logr.Logger { return log }
	mux.Handle("/mutate", &admission.Webhook{Handler: admission.HandlerFunc(h.mutate), LogConstructor: logger})
	mux.Handle("/validate", &admission.Webhook{Handler: admission.HandlerFunc(h.validate), LogConstructor: logger})
	s := &Server{
		listener: listener,
		bundle:   bundle,
		server:   &http.Server{Handler: mux, ReadHeaderTimeout: readTimeout},
		client:   c,
		scope:    namespace,
	}
	if namespace != "longhorn-system" {
		s.suffix = "-" + namespace
	}
	return s, nil
}

// Run serves until ctx ends. The API server is told of the webhooks by Register, and here of their end: configurations
// that nobody answers would refuse every write.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		_ = client.IgnoreNotFound(s.client.Delete(clean, s.mutating())) // the API server may be gone already
		_ = client.IgnoreNotFound(s.client.Delete(clean, s.validating()))
		_ = s.server.Shutdown(clean)
	})
	defer stop()
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the webhooks: %w", err)
	}
	return nil
}

// Register tells the API server. Run must be running.
func (s *Server) Register(ctx context.Context) error {
	mutating, validating := s.mutating(), s.validating()
	if _, err := controllerutil.CreateOrUpdate(ctx, s.client, mutating, func() error {
		mutating.Webhooks = []admissionregistrationv1.MutatingWebhook{{
			Name:                    "mutator.longhorn.io",
			ClientConfig:            s.clientConfig("/mutate"),
			Rules:                   rules(),
			NamespaceSelector:       s.selector(),
			FailurePolicy:           new(admissionregistrationv1.Fail),
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}}
		return nil
	}); err != nil {
		return fmt.Errorf("registering the mutating webhook: %w", err)
	}
	if _, err := controllerutil.CreateOrUpdate(ctx, s.client, validating, func() error {
		validating.Webhooks = []admissionregistrationv1.ValidatingWebhook{{
			Name:                    "validator.longhorn.io",
			ClientConfig:            s.clientConfig("/validate"),
			Rules:                   rules(),
			NamespaceSelector:       s.selector(),
			FailurePolicy:           new(admissionregistrationv1.Fail),
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
		}}
		return nil
	}); err != nil {
		return fmt.Errorf("registering the validating webhook: %w", err)
	}
	return nil
}

func (s *Server) mutating() *admissionregistrationv1.MutatingWebhookConfiguration {
	return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: mutatorName + s.suffix}}
}

func (s *Server) validating() *admissionregistrationv1.ValidatingWebhookConfiguration {
	return &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: validatorName + s.suffix}}
}

func (s *Server) clientConfig(path string) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{
		URL:      new("https://" + s.listener.Addr().String() + path),
		CABundle: s.bundle,
	}
}

func (s *Server) selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.scope}}
}

func rules() []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
		Rule: admissionregistrationv1.Rule{
			APIGroups:   []string{lh.SchemeGroupVersion.Group},
			APIVersions: []string{lh.SchemeGroupVersion.Version},
			Resources:   []string{volumes, attachments, snapshots}, // status is not asked about
		},
	}}
}

// selfSigned is a certificate for loopback, and itself as PEM.
func selfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(certificateLife),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, bundle, nil
}
