// Package kubeconfig is how a program reaches the API server, by a kubeconfig file
// or by the account of its Pod, with credentials that may be exchanged while it
// runs: certificates, keys, tokens and authorities, whether they are in the file or
// in others that it names.
//
// The file is followed as mounted files are (package reload), and so is that of the
// authority; tokens and client certificates in files of their own client-go reads
// again by itself. Requests begin with what the files say now; those that are under
// way, watches above all, go on with what they began with, as the API server lets
// them, and are begun anew within minutes. A kubeconfig that names another server is
// refused: a program belongs to one cluster.
package kubeconfig

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"hayloft.dev/pkg/reload"
	"hayloft.dev/pkg/version"
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

// Find is how a program reaches the API server: by a kubeconfig, or by the account of
// its Pod where file is "".
//
// Requests are not limited here. Watches and pools bound the load, and the API
// server's priority and fairness is the limit that counts: one of the client's own
// would delay claims, and heartbeats until they are late.
func Find(file, program string, log *slog.Logger) (config *rest.Config, t *Transport, err error) {
	if file == "" {
		config, t, err = InCluster(log)
	} else {
		config, t, err = Open(file, log)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("finding the API server (--kubeconfig %q): %w", file, err)
	}
	config.QPS, config.UserAgent = -1, program+"/"+version.Version
	return config, t, nil
}

// Open reads a kubeconfig. The configuration that it returns holds no credentials:
// its requests go through the Transport, which is to be run (Start) for changes
// to be taken up.
func Open(file string, log *slog.Logger) (*rest.Config, *Transport, error) {
	files := []string{file}
	if ca := authority(file); ca != "" {
		files = append(files, ca)
	}
	return open(files, log, func(contents [][]byte) (*access, error) { return parse(file, contents[0]) })
}

// authority is the file of the authority that a kubeconfig names; "": none.
func authority(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return "" // which is told by whoever needs it
	}
	config, err := load(file, content)
	if err != nil {
		return ""
	}
	return config.CAFile
}

// mounted is where Kubernetes puts the authority beside the token of an account.
const mounted = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"

// InCluster is Open for the account of the Pod.
func InCluster(log *slog.Logger) (*rest.Config, *Transport, error) {
	return account(mounted, rest.InClusterConfig, log)
}

func account(ca string, find func() (*rest.Config, error), log *slog.Logger) (*rest.Config, *Transport, error) {
	if _, err := find(); err != nil {
		return nil, nil, err
	}
	var files []string
	if _, err := os.Stat(ca); err == nil {
		files = []string{ca}
	}
	return open(files, log, func(contents [][]byte) (*access, error) {
		config, err := find()
		if err != nil {
			return nil, err
		}
		if len(contents) > 0 {
			config.CAData, config.CAFile = contents[0], ""
		}
		return use(config)
	})
}

func open(files []string, log *slog.Logger, read func([][]byte) (*access, error)) (*rest.Config, *Transport, error) {
	t := &Transport{}
	value, err := reload.Open(reload.Options[*access]{Files: files, Changed: t.exchange, Log: log, Parse: t.parser(read)})
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

// parser makes access of the files' contents.
func (t *Transport) parser(read func([][]byte) (*access, error)) func([][]byte) (*access, error) {
	return func(contents [][]byte) (*access, error) {
		a, err := read(contents)
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
	config, err := load(file, content)
	if err != nil {
		return nil, err
	}
	return use(config)
}

func load(file string, content []byte) (*rest.Config, error) {
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
	return config, nil
}

func use(config *rest.Config) (*access, error) {
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
