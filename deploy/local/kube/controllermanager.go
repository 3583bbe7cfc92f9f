package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
)

// controllersKubeconfig is where, in the API server's folder, the controller manager finds its way in.
const controllersKubeconfig = "controller-manager.kubeconfig"

// controllers are those that a stack without kubelets and workloads needs: volumes are bound and protected, namespaces
// and owned objects are cleaned up, every namespace has its default account and the authority's certificate.
func controllers() []string {
	return []string{
		names.PersistentVolumeBinderController,
		names.PersistentVolumeClaimProtectionController,
		names.PersistentVolumeProtectionController,
		names.GarbageCollectorController,
		names.NamespaceController,
		names.ServiceAccountController,
		names.RootCACertificatePublisherController,
	}
}

func controllerManagerCommand() *cobra.Command {
	var dir string
	var withParent bool
	cmd := &cobra.Command{
		Use:   "controller-manager --dir DIR [flags] [-- FLAGS OF kube-controller-manager]",
		Short: "kube-controller-manager with the controllers that the stack needs",
		RunE: func(cmd *cobra.Command, extra []string) error {
			ctx := cmd.Context()
			if withParent {
				ctx = untilStdinCloses(ctx)
			}
			return runControllerManager(ctx, dir, extra)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "", "the API server's folder")
	f.BoolVar(&withParent, "with-parent", false, "end when standard input is closed")
	_ = cmd.MarkFlagRequired("dir") // fails only for a flag that does not exist
	return cmd
}

// runControllerManager runs the upstream command, which does not return by itself: this process ends with ctx.
func runControllerManager(ctx context.Context, dir string, extra []string) error {
	keys := pki{dir: filepath.Join(dir, "pki")}
	cmd := app.NewControllerManagerCommand()
	cmd.SetArgs(append([]string{
		"--kubeconfig=" + filepath.Join(dir, controllersKubeconfig),
		"--controllers=" + strings.Join(controllers(), ","),
		"--leader-elect=false", // there is only this one, and its renewals would be noise in every request count
		"--secure-port=0",
		"--root-ca-file=" + keys.caCert(),
	}, extra...))
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	select {
	case err := <-ended:
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("kube-controller-manager: %w", err)
		}
		return nil
	case <-ctx.Done():
		return nil
	}
}
