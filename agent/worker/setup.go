package worker

import (
	"context"
	"fmt"

	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"hayloft.dev/pkg/api/v1alpha1"
)

// SetupWithManager makes the manager's queue of NodeJobs feed the worker, with
// up to concurrency jobs at once.
func (w *Worker) SetupWithManager(mgr ctrl.Manager, concurrency int) error {
	// The cache holds the jobs of this node only, so a job that goes to another
	// node is deleted from it.
	informer, err := mgr.GetCache().GetInformer(context.Background(), &v1alpha1.NodeJob{})
	if err != nil {
		return fmt.Errorf("watching NodeJobs: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		DeleteFunc: func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if job, ok := o.(client.Object); ok {
				w.Withdraw(client.ObjectKeyFromObject(job))
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watching for withdrawn jobs: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("nodejob").
		For(&v1alpha1.NodeJob{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency}).
		Complete(w)
}
