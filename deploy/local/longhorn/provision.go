package longhorn

import (
	"context"
	"fmt"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/longhorn/csi"
)

// Provision runs no more than the provisioner, beside the real longhorn-manager, until ctx ends. Where that runs there is no
// iSCSI for block devices (deploy/longhorn), so every volume is given the front end iscsi, whoever makes it. Of the options
// only Config is needed.
func Provision(ctx context.Context, o Options) error {
	o = o.withDefaults()
	if err := provision(ctx, o); err != nil && ctx.Err() == nil {
		return fmt.Errorf("provisioning Longhorn's volumes: %w", err)
	}
	return nil
}

func provision(ctx context.Context, o Options) error {
	mgr, c, err := o.manager(&lh.Volume{})
	if err != nil {
		return err
	}
	if err := csi.Setup(mgr, c, csi.Options{Namespace: o.Namespace, BesideManager: true}); err != nil {
		return err
	}
	if err := ctrl.NewControllerManagedBy(mgr).Named("front-ends").For(&lh.Volume{}).Complete(frontends{client: c}); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	o.start(ctx, group, mgr)
	return group.Wait()
}

// frontends changes volumes' front ends from a block device to iscsi.
type frontends struct{ client client.Client }

// Reconcile looks at one volume.
func (f frontends) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	volume := &lh.Volume{}
	if err := f.client.Get(ctx, req.NamespacedName, volume); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if volume.DeletionTimestamp != nil || volume.Spec.Frontend != lh.VolumeFrontendBlockDev {
		return ctrl.Result{}, nil
	}
	before := volume.DeepCopy()
	volume.Spec.Frontend = lh.VolumeFrontendISCSI
	if err := client.IgnoreNotFound(f.client.Patch(ctx, volume, client.MergeFrom(before))); err != nil {
		return ctrl.Result{}, fmt.Errorf("changing the front end of volume %s: %w", volume.Name, err)
	}
	return ctrl.Result{}, nil
}
