// Package subresource serves subresources.kubevirt.io/v1 as KubeVirt's virt-api does: an API server of its own, to which
// the cluster's API server forwards (an APIService, with virt-api's Service). Of its many subresources it has freeze,
// unfreeze, pause and unpause of an instance, and start, stop and restart of a VM. What it answers, and with what it
// refuses, follows KubeVirt v1.7.0.
//
// It decides who may ask and what is asked for; what then happens to a guest is its caller's (Guests). It knows neither
// processes nor disks, and has no version v1alpha3, no consoles and no dry runs.
package subresource

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	readTimeout = 10 * time.Second // of one request, which is a few hundred bytes
	endTimeout  = 5 * time.Second  // for taking the APIService back
)

// Guests is what can be done to the guest of an instance that runs. An error is what virt-launcher, or libvirt behind
// it, says.
type Guests interface {
	// Freeze returns when nothing is written any more. The guest thaws by itself after timeout; 0 is never.
	Freeze(ctx context.Context, vmi *virt.VirtualMachineInstance, timeout time.Duration) error
	Unfreeze(ctx context.Context, vmi *virt.VirtualMachineInstance) error
	Pause(ctx context.Context, vmi *virt.VirtualMachineInstance) error
	Unpause(ctx context.Context, vmi *virt.VirtualMachineInstance) error
}

// Server is the API server.
type Server struct {
	client   client.Client
	guests   Guests
	log      *slog.Logger
	callers  callers
	bundle   []byte // the certificate that the cluster's API server is to trust
	address  string // "" is the Service's own
	listener net.Listener
	server   *http.Server
}

// Listen makes the server, on an IP address by which the cluster's API server reaches it, or with "" on the Service's
// own, where that is loopback. c reads uncached and is an administrator's; its scheme has KubeVirt's and APIService's types.
func Listen(ctx context.Context, c client.Client, guests Guests, address string, log *slog.Logger) (*Server, error) {
	trusted, err := readCallers(ctx, c)
	if err != nil {
		return nil, err
	}
	certificate, bundle, err := selfSigned()
	if err != nil {
		return nil, fmt.Errorf("making the certificate of %s: %w", virt.SubresourceGroupName, err)
	}
	listener, err := tls.Listen("tcp", net.JoinHostPort(cmp.Or(address, serviceAddress), "0"), &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientCAs:    trusted.authority,
		// Discovery and health are for everybody, all else asks for the certificate itself.
		ClientAuth: tls.VerifyClientCertIfGiven,
		MinVersion: tls.VersionTLS12,
	})
	if err != nil {
		return nil, fmt.Errorf("listening for %s: %w", virt.SubresourceGroupName, err)
	}
	s := &Server{client: c, guests: guests, log: log, callers: trusted, bundle: bundle, address: address, listener: listener}
	s.server = &http.Server{Handler: s.routes(), ReadHeaderTimeout: readTimeout}
	return s, nil
}

// Run serves until ctx ends. Then the APIService is taken back: one that nobody answers keeps namespaces from being
// deleted.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		_ = client.IgnoreNotFound(s.client.Delete(clean, apiService())) // the API server may be gone already
		_ = s.server.Close()
	})
	defer stop()
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", virt.SubresourceGroupName, err)
	}
	return nil
}

const (
	prefix    = "/apis/" + virt.SubresourceGroupName + "/v1"
	ofObjects = prefix + "/namespaces/{namespace}/"
)

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	mux.HandleFunc("GET /apis", discoverGroups)
	mux.HandleFunc("GET /apis/"+virt.SubresourceGroupName, discoverGroup)
	mux.HandleFunc("GET "+prefix, discoverResources)
	for subresource, do := range s.ofInstances() {
		mux.HandleFunc("PUT "+ofObjects+instances+"/{name}/"+subresource, s.authorized(instances, subresource, do))
	}
	for subresource, do := range s.ofMachines() {
		mux.HandleFunc("PUT "+ofObjects+machines+"/{name}/"+subresource, s.authorized(machines, subresource, do))
	}
	return mux
}
