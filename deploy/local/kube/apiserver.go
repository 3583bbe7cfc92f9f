package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"hayloft.dev/deploy/local/crds"
)

// serviceRange is where Services get their addresses from. There is no kube-proxy that leads from such an address to
// where a server listens, so they are loopback addresses: a server of the stack listens on its Service's address itself,
// and the API server, when it forwards requests for an APIService, finds it there.
const serviceRange = "127.96.0.0/16"

// etcdAddressFile is where, in the API server's folder, the address of etcd is, for whoever measures it or fills it
// faster than the API server would.
const etcdAddressFile = "etcd.address"

type apiserverOptions struct {
	dir        string
	address    string
	port       int
	ips        []net.IP
	kubeconfig string
	crds       []string
	ephemeral  bool
	withParent bool
}

func apiserverCommand() *cobra.Command {
	var o apiserverOptions
	cmd := &cobra.Command{
		Use:   "apiserver --dir DIR [flags] [-- FLAGS OF kube-apiserver]",
		Short: "kube-apiserver with etcd in the same process; writes the admin kubeconfig when it is ready",
		RunE: func(cmd *cobra.Command, extra []string) error {
			ctx := cmd.Context()
			if o.withParent {
				ctx = untilStdinCloses(ctx)
			}
			return runAPIServer(ctx, o, extra)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "folder for etcd's data and the keys; one that was used before is continued")
	f.StringVar(&o.address, "address", "127.0.0.1", "where to listen; 0.0.0.0 is all addresses")
	f.IntVar(&o.port, "port", 0, "port; 0 takes a free one")
	f.IPSliceVar(&o.ips, "certificate-ips", nil, "addresses besides 127.0.0.1 that clients may reach it at")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "where to write the admin kubeconfig (default DIR/kubeconfig)")
	f.StringSliceVar(&o.crds, "crds", nil, "files or folders of CustomResourceDefinitions to install before it counts as ready")
	f.BoolVar(&o.ephemeral, "ephemeral", false, "remove DIR at the end, unless it ends with an error")
	f.BoolVar(&o.withParent, "with-parent", false, "end when standard input is closed")
	_ = cmd.MarkFlagRequired("dir") // fails only for a flag that does not exist
	return cmd
}

// runAPIServer serves until ctx ends. A server that was asked to end is no error.
func runAPIServer(ctx context.Context, o apiserverOptions, extra []string) (err error) {
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	if o.kubeconfig == "" {
		o.kubeconfig = filepath.Join(o.dir, "kubeconfig")
	}
	if o.ephemeral {
		defer func() {
			if err == nil { // what failed stays to be looked at
				err = os.RemoveAll(o.dir)
			}
		}()
	}
	keys := pki{dir: filepath.Join(o.dir, "pki")}
	if err := keys.ensure(o.ips); err != nil {
		return fmt.Errorf("making keys: %w", err)
	}
	etcd, etcdAddress, err := startEtcd(ctx, o.dir)
	if err != nil {
		return err
	}
	defer etcd.Close()
	if err := os.WriteFile(filepath.Join(o.dir, etcdAddressFile), []byte(etcdAddress), 0o600); err != nil {
		return err
	}

	// The port is bound before anybody is told of it, so that nobody else can have taken it meanwhile.
	listener, err := net.Listen("tcp", net.JoinHostPort(o.address, strconv.Itoa(o.port)))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	bound := listener.Addr().(*net.TCPAddr)
	server := "https://" + reachable(bound)
	opts, err := serverOptions(keys, etcdAddress, extra)
	if err != nil {
		return err
	}
	opts.SecureServing.Listener = listener
	opts.SecureServing.BindPort = bound.Port

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, opts) })
	group.Go(func() error {
		if err := prepare(ctx, server, keys, o.crds); err != nil {
			if ctx.Err() != nil {
				return nil // asked to end while starting
			}
			return err
		}
		if err := writeKubeconfig(filepath.Join(o.dir, controllersKubeconfig), server,
			keys.caCert(), keys.controllersCert(), keys.controllersKey()); err != nil {
			return err
		}
		return writeKubeconfig(o.kubeconfig, server, keys.caCert(), keys.adminCert(), keys.adminKey())
	})
	group.Go(func() error {
		select {
		case err := <-etcd.Err():
			return fmt.Errorf("etcd: %w", err)
		case <-ctx.Done():
			return nil
		}
	})
	return group.Wait()
}

// reachable is an address that clients beside the server reach it at.
func reachable(bound *net.TCPAddr) string {
	if bound.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(bound.Port))
	}
	return bound.String()
}

// prepare waits for the server and installs the definitions.
func prepare(ctx context.Context, server string, keys pki, paths []string) error {
	admin := &rest.Config{Host: server, TLSClientConfig: rest.TLSClientConfig{
		CAFile: keys.caCert(), CertFile: keys.adminCert(), KeyFile: keys.adminKey(),
	}}
	definitions, err := crds.Load(paths...) // before waiting: a wrong path is told at once
	if err != nil {
		return err
	}
	if err := waitReady(ctx, admin); err != nil {
		return err
	}
	if len(definitions) == 0 {
		return nil
	}
	return crds.Install(ctx, admin, definitions)
}

// serverOptions are the flags of kube-apiserver; extra, its own flags as a user wrote them, comes last and wins.
func serverOptions(keys pki, etcdAddress string, extra []string) (*options.ServerRunOptions, error) {
	opts := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range opts.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	args := append([]string{
		"--etcd-servers=" + etcdAddress,
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none", // loopback addresses are refused in Endpoints, and no Pod will use them
		"--service-cluster-ip-range=" + serviceRange,
		"--tls-cert-file=" + keys.serverCert(),
		"--tls-private-key-file=" + keys.serverKey(),
		"--client-ca-file=" + keys.caCert(),
		"--authorization-mode=RBAC",
		"--requestheader-client-ca-file=" + keys.proxyCACert(),
		"--requestheader-allowed-names=" + proxyUser,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + keys.proxyCert(),
		"--proxy-client-key-file=" + keys.proxyKey(),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + keys.serviceAccountPub(),
		"--service-account-signing-key-file=" + keys.serviceAccountKey(),
	}, extra...)
	if err := flags.Parse(args); err != nil {
		return nil, fmt.Errorf("flags of kube-apiserver: %w", err)
	}
	return opts, nil
}

func serve(ctx context.Context, opts *options.ServerRunOptions) error {
	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{}) // its loopback client would warn about its own requests
	completed, err := opts.Complete(ctx)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return fmt.Errorf("kube-apiserver: %w", errors.Join(errs...))
	}
	if err := app.Run(ctx, completed); err != nil && ctx.Err() == nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	return nil
}
