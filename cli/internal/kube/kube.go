// Package kube finds the cluster that the user means, as kubectl does, and
// opens a client to it.
package kube

import (
	"errors"
	"fmt"
	"io"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/spf13/pflag"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/version"
)

// SystemNamespace is where Hayloft runs unless it is told otherwise.
const SystemNamespace = "hayloft-system"

// Flags choose cluster and namespace.
type Flags struct {
	Kubeconfig string
	Context    string
	Namespace  string
	System     string
}

// Bind adds the flags to a command's.
func (f *Flags) Bind(set *pflag.FlagSet) {
	set.StringVar(&f.Kubeconfig, "kubeconfig", "", "kubeconfig file (default $KUBECONFIG, then ~/.kube/config, then the pod's service account)")
	set.StringVar(&f.Context, "context", "", "context in the kubeconfig")
	set.StringVarP(&f.Namespace, "namespace", "n", "", "namespace of the VM (default the context's)")
	set.StringVar(&f.System, "system-namespace", SystemNamespace, "namespace that Hayloft runs in")
}

// Cluster is an opened connection. No request was sent yet.
type Cluster struct {
	Client client.WithWatch
	// Namespace is the one that the user means.
	Namespace string
	// System is Hayloft's own.
	System string
	// Clock compares clocks, as answers come.
	Clock *Clock
}

// Open reads the configuration. The API server's warnings go to warnings.
func (f *Flags) Open(warnings io.Writer) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: f.Context}
	overrides.Context.Namespace = f.Namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("there is no kubeconfig: name one with --kubeconfig or KUBECONFIG")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("reading the namespace from the kubeconfig: %w", err)
	}
	// Otherwise controller-runtime would log them.
	config.WarningHandler = rest.NewWarningWriter(warnings, rest.WarningWriterOptions{Deduplicate: true})
	clock := &Clock{}
	config.Wrap(clock.listen)
	c, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("opening a client for %s: %w", config.Host, err)
	}
	return &Cluster{Client: c, Namespace: namespace, System: f.System, Clock: clock}, nil
}

func newClient(config *rest.Config) (client.WithWatch, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	for _, add := range []func(*runtime.Scheme) error{longhorn.AddToScheme, coordinationv1.AddToScheme, authorizationv1.AddToScheme, admissionv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	config.UserAgent = "hayloft/" + version.Version
	config.QPS, config.Burst = 50, 300 // as kubectl
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: kinds.Mapper()})
	if err != nil {
		return nil, err
	}
	return bounded{c}, nil
}

// NamespaceOf is where objects of a kind are looked for.
func (c *Cluster) NamespaceOf(k kinds.Kind) string {
	switch k.Scope {
	case kinds.Cluster:
		return ""
	case kinds.System:
		return c.System
	}
	return c.Namespace
}
