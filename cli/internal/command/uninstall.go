package command

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
)

const (
	// finalizerPrefix is that of every finalizer of ours.
	finalizerPrefix = "hayloft.dev/"
	// uninstallPoll is the time between two looks at what is still there.
	uninstallPoll = 500 * time.Millisecond
	// uninstallLimit is how long the API server may take for definitions in which
	// nothing is left.
	uninstallLimit = time.Minute
)

func (a *app) uninstall() *cobra.Command {
	var yes bool
	var wait time.Duration
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove Hayloft's objects and definitions; no data on any target is deleted",
		Long: `Remove all objects and CustomResourceDefinitions of Hayloft from the cluster. Data
on targets stays where it is: whoever installs Hayloft again, here or elsewhere,
finds it there. Restored VMs stay too. Snapshots have their data in the cluster,
and cannot be restored afterwards.

Coordinators that run get --wait to remove the engine snapshots that nobody will
need. Then, or where none runs any more, the objects are let go as they are.
Coordinators and agents, their accounts and policies and the webhook are for
whoever installed them to remove, before or after this.`,
		Args: exactly(),
	}
	c.Flags().BoolVar(&yes, "yes", false, "do it; without, what would go is only told")
	c.Flags().DurationVar(&wait, "wait", time.Minute, "how long coordinators that run may take")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if wait < 0 {
			return usage(c, "--wait %s is negative", wait)
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		definitions, err := ownDefinitions(c.Context(), cluster)
		if err != nil {
			return err
		}
		found, err := countOwn(c.Context(), cluster)
		if err != nil {
			return err
		}
		if len(definitions) == 0 {
			_, err := fmt.Fprintln(a.Out, "nothing of Hayloft is in this cluster")
			return err
		}
		if !yes {
			_, err := fmt.Fprintf(a.Out, "this would remove %s with %s; data on targets stays. Say --yes to do it\n",
				words.Count(len(definitions), "definition"), found)
			return err
		}
		if err := removeAll(c.Context(), cluster, definitions, wait); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.Out, "removed %s with %s; data on targets is as it was\n", words.Count(len(definitions), "definition"), found)
		return err
	}
	return c
}

// ownDefinitions are the CustomResourceDefinitions of Hayloft's group.
func ownDefinitions(ctx context.Context, cluster *kube.Cluster) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kinds.DefinitionKind)
	if err := cluster.Client.List(ctx, list); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(o metav1.PartialObjectMetadata) bool {
		return !strings.HasSuffix(o.Name, "."+v1alpha1.GroupVersion.Group)
	}), nil
}

// own are the objects of a kind in all namespaces.
func own(ctx context.Context, cluster *kube.Cluster, k kinds.Kind) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(k.GVK())
	err := cluster.Client.List(ctx, list)
	return list.Items, client.IgnoreNotFound(err) // its definition is gone
}

// countOwn tells how many objects there are of each kind that users make.
func countOwn(ctx context.Context, cluster *kube.Cluster) (string, error) {
	var out []string
	for _, k := range kinds.All() {
		list, err := own(ctx, cluster, k)
		if err != nil {
			return "", err
		}
		out = append(out, words.Count(len(list), k.Word))
	}
	return strings.Join(out, ", "), nil
}

// removeAll deletes the definitions, and after a while what keeps their objects.
// That of jobs goes last: coordinators need jobs to remove engine snapshots.
func removeAll(ctx context.Context, cluster *kube.Cluster, definitions []metav1.PartialObjectMetadata, wait time.Duration) error {
	jobs := func(d metav1.PartialObjectMetadata) bool { return strings.HasPrefix(d.Name, "nodejobs.") }
	for i := range definitions {
		if !jobs(definitions[i]) {
			if err := remove(ctx, cluster, &definitions[i]); err != nil {
				return err
			}
		}
	}
	began := time.Now()
	for {
		left, err := ownDefinitions(ctx, cluster)
		if err != nil || len(left) == 0 {
			return err
		}
		if len(left) == 1 && jobs(left[0]) {
			if err := remove(ctx, cluster, &left[0]); err != nil {
				return err
			}
		}
		if time.Since(began) >= wait {
			if err := letGo(ctx, cluster); err != nil {
				return err
			}
		}
		if time.Since(began) >= wait+uninstallLimit {
			return fmt.Errorf("%s is still there: look what keeps it with kubectl get crd %s -o yaml", left[0].Name, left[0].Name)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(uninstallPoll):
		}
	}
}

func remove(ctx context.Context, cluster *kube.Cluster, d *metav1.PartialObjectMetadata) error {
	d.SetGroupVersionKind(kinds.DefinitionKind)
	return client.IgnoreNotFound(cluster.Client.Delete(ctx, d, client.Preconditions{UID: &d.UID}))
}

// letGo takes our finalizers from objects that are being deleted.
func letGo(ctx context.Context, cluster *kube.Cluster) error {
	for _, k := range kinds.All() {
		list, err := own(ctx, cluster, k)
		if err != nil {
			return err
		}
		for i := range list {
			o := &list[i]
			o.SetGroupVersionKind(k.GVK())
			before := o.DeepCopy()
			o.Finalizers = slices.DeleteFunc(o.Finalizers, func(f string) bool { return strings.HasPrefix(f, finalizerPrefix) })
			if o.DeletionTimestamp.IsZero() || len(o.Finalizers) == len(before.Finalizers) {
				continue
			}
			err := cluster.Client.Patch(ctx, o, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
			if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) { // somebody was faster, or it is looked at again
				return err
			}
		}
	}
	return nil
}
