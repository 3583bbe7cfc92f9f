package subresource

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

const (
	// Namespace and service are virt-api's, as KubeVirt is installed.
	Namespace = "kubevirt"
	service   = "virt-api"
	// serviceAddress is the address of the Service. The API server's range of them is loopback (deploy/local/kube), so
	// that the server listens on it itself. Several stacks share it and differ in ports.
	serviceAddress = "127.96.0.10"

	certificateLife = 30 * 24 * time.Hour // longer than a local stack lives
	availableIn     = time.Minute         // the API server looks at once, and then every few seconds
	availablePoll   = 50 * time.Millisecond
)

func apiService() *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1." + virt.SubresourceGroupName}}
}

// Register tells the cluster's API server where to forward to, and returns when it does. Run must be running.
func (s *Server) Register(ctx context.Context) error {
	port := int32(s.listener.Addr().(*net.TCPAddr).Port)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	if err := s.client.Create(ctx, namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making namespace %s: %w", Namespace, err)
	}
	if err := s.ensureService(ctx, port); err != nil {
		return fmt.Errorf("making service %s: %w", service, err)
	}
	registered := apiService()
	if _, err := controllerutil.CreateOrUpdate(ctx, s.client, registered, func() error {
		registered.Spec = apiregistrationv1.APIServiceSpec{
			Group: virt.SubresourceGroupName, Version: "v1",
			Service:              &apiregistrationv1.ServiceReference{Namespace: Namespace, Name: service, Port: &port},
			CABundle:             s.bundle,
			GroupPriorityMinimum: 1000, // KubeVirt's, as the next one
			VersionPriority:      15,
		}
		return nil
	}); err != nil {
		return fmt.Errorf("registering %s: %w", virt.SubresourceGroupName, err)
	}
	return s.waitAvailable(ctx)
}

// ensureService makes the Service, of type LoadBalancer: with one of type ClusterIP the API server wants endpoints too,
// and those must not be loopback addresses.
func (s *Server) ensureService(ctx context.Context, port int32) error {
	if s.address != "" {
		return s.ensureEndpoint(ctx, port)
	}
	o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: service}}
	_, err := controllerutil.CreateOrUpdate(ctx, s.client, o, func() error {
		o.Spec.Type = corev1.ServiceTypeLoadBalancer
		o.Spec.AllocateLoadBalancerNodePorts = new(false)
		o.Spec.ClusterIP = serviceAddress
		o.Spec.Ports = []corev1.ServicePort{{Name: "https", Port: port, Protocol: corev1.ProtocolTCP}}
		return nil
	})
	return err
}

// ensureEndpoint makes a Service of type ClusterIP and its endpoint: an API server that reaches pods asks for endpoints.
func (s *Server) ensureEndpoint(ctx context.Context, port int32) error {
	ports := []corev1.ServicePort{{Name: "https", Port: port, Protocol: corev1.ProtocolTCP}}
	o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: service}}
	if _, err := controllerutil.CreateOrUpdate(ctx, s.client, o, func() error {
		o.Spec.Ports = ports
		return nil
	}); err != nil {
		return err
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: service}}
	_, err := controllerutil.CreateOrUpdate(ctx, s.client, slice, func() error {
		slice.Labels = map[string]string{discoveryv1.LabelServiceName: service}
		slice.AddressType = discoveryv1.AddressTypeIPv4
		slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{s.address}}}
		slice.Ports = []discoveryv1.EndpointPort{{Name: &ports[0].Name, Port: &ports[0].Port, Protocol: &ports[0].Protocol}}
		return nil
	})
	return err
}

func (s *Server) waitAvailable(ctx context.Context) error {
	last := "the API server has not looked yet"
	err := wait.PollUntilContextTimeout(ctx, availablePoll, availableIn, true, func(ctx context.Context) (bool, error) {
		registered := apiService()
		if err := s.client.Get(ctx, client.ObjectKeyFromObject(registered), registered); err != nil {
			return false, err
		}
		for _, c := range registered.Status.Conditions {
			if c.Type == apiregistrationv1.Available {
				last = c.Message
				return c.Status == apiregistrationv1.ConditionTrue, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("waiting until %s is available (%s): %w", virt.SubresourceGroupName, last, err)
	}
	return nil
}

// selfSigned is a certificate for the Service's name, and itself as PEM.
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
		DNSNames:              []string{service + "." + Namespace + ".svc"},
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
