// Package kubeconfig is how a program reaches the API server by a kubeconfig
// file, with credentials that may be exchanged while it runs: certificates, keys,
// tokens and authorities, whether they are in the file or in others that it names.
//
// The file is followed as mounted files are (package reload). Requests begin with
// what it says now; those that are under way, watches above all, go on with what
// they began with, as the API server lets them, and are begun anew within minutes.
// One that names another server is refused: a program belongs to one cluster.
// Inside a cluster there is no such file, and client-go reads the mounted token
// again by itself.
package kubeconfig

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"hayloft.dev/pkg/reload"
)

// Transport carries requests with the credentials that are in force.
type Transport struct {
	*reload.Value[*access]
	current atomic.Pointer[access]
}

// access is what one content of the file gives.
type access struct {
	server    *url.URL
	transport http.RoundTripper
	config    *rest.Config
}

// Open reads a kubeconfig. The configuration that it returns holds no credentials:
// its requests go through the Transport, which is to be run (Start) for changes
// to be taken up.
func Open(file string, log *slog.Logger) (*rest.Config, *Transport, error) {
	t := &Transport{}
	value, err := reload.Open(reload.Options[*access]{Files: []string{file}, Changed: t.exchange, Log: log, Parse: t.parser(file)})
	if err != nil {
		return nil, nil, err
	}
	t.Value = value
	first := value.Get()
	t.current.Store(first)
	out := rest.AnonymousClientConfig(first.config)
	out.TLSClientConfig, out.Transport = rest.TLSClientConfig{}, t
	out.Host = first.server.String() // with its scheme, which would be guessed without a certificate
	return out, t, nil
}

// parser makes access of a file's content.
func (t *Transport) parser(file string) func([][]byte) (*access, error) {
	return func(contents [][]byte) (*access, error) {
		a, err := parse(file, contents[0])
		if err != nil {
			return nil, err
		}
		if now := t.current.Load(); now != nil && now.server.String() != a.server.String() {
			return nil, fmt.Errorf("it names server %s in place of %s: restart the program to move it to another cluster", a.server, now.server)
		}
		return a, nil
	}
}

func parse(file string, content []byte) (*access, error) {
	api, err := clientcmd.Load(content)
	if err != nil {
		// The decoder's own words may quote what it could not read.
		return nil, errors.New("it is not a kubeconfig: write one as kubectl takes it")
	}
	for _, c := range api.Clusters {
		c.LocationOfOrigin = file
	}
	for _, u := range api.AuthInfos {
		u.LocationOfOrigin = file
	}
	if err := clientcmd.ResolveLocalPaths(api); err != nil {
		return nil, fmt.Errorf("following the paths in it: %w", err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*api, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("using it: %w", err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("using its credentials: %w", err)
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("reading its server: %w", err)
	}
	return &access{server: server, transport: transport, config: config}, nil
}

// exchange puts new credentials in force.
func (t *Transport) exchange(a *access) {
	former := t.current.Swap(a)
	utilnet.CloseIdleConnectionsFor(former.transport)
}

// RoundTrip carries one request.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.current.Load().transport.RoundTrip(r)
}
