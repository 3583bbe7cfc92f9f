package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/follow"
	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/pkg/api/v1alpha1"
)

func (a *app) delete() *cobra.Command {
	var keep, force, wait bool
	var timeout time.Duration
	var points string
	c := &cobra.Command{
		Use:   "delete backup|restore|schedule NAME",
		Short: "Delete a backup and its data, a restore, or a schedule",
		Long: `Delete a backup, a restore or a schedule.

A backup's data on its target goes with it, unless its deletion policy is Retain
or --keep-data is given. Where the target does not answer, the deletion waits for
it; --keep-data, also given later, lets the backup go without its data. --force
waits for nothing, neither target nor agents nor jobs that run, and leaves behind
what there is; an event says what. Data that is kept does not show up as a backup
again by itself.

Deleting a finished restore leaves the VM that it made; deleting an unfinished
one removes what it made so far. The backups that a schedule made stay, unless it
says otherwise or --points delete is given.`,
		ValidArgsFunction: a.completeKinds([]string{"backup", "restore", "schedule"}, false),
		Args:              exactly("what to delete", "its name"),
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait until it is gone")
	c.Flags().DurationVar(&timeout, "timeout", 0, "longest time to wait with --wait, such as 5m (default no limit)")
	c.Flags().BoolVar(&keep, "keep-data", false, "leave a backup's data on the target")
	c.Flags().BoolVar(&force, "force", false, "let a backup go at once, whatever is left behind")
	c.Flags().StringVar(&points, "points", "", "what becomes of the points that a schedule made: retain or delete (default as it says itself)")
	c.RunE = func(c *cobra.Command, args []string) error {
		k, err := kindArg(c, args[0], "backup", "restore", "schedule")
		if err != nil {
			return err
		}
		switch {
		case keep && k.Word != "backup":
			return usage(c, "--keep-data is for backups only")
		case force && k.Word != "backup":
			return usage(c, "--force is for backups only")
		case points != "" && k.Word != "schedule":
			return usage(c, "--points is for schedules only")
		case points != "" && !strings.EqualFold(points, "retain") && !strings.EqualFold(points, "delete"):
			return usage(c, "--points %q is not one of retain, delete", points)
		}
		if err := checkWait(c, wait, timeout); err != nil {
			return err
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		o := k.New()
		key := client.ObjectKey{Namespace: cluster.NamespaceOf(k), Name: args[1]}
		if err := cluster.Client.Get(c.Context(), key, o); err != nil {
			return err
		}
		if change := beforeDeletion(keep, force); change != nil {
			if err := cluster.Client.Patch(c.Context(), o, change); err != nil {
				return err
			}
		}
		if s, ok := o.(*v1alpha1.VMSchedule); ok && points != "" {
			before := s.DeepCopy()
			s.Spec.PointsOnDelete = v1alpha1.PointsRetain
			if strings.EqualFold(points, "delete") {
				s.Spec.PointsOnDelete = v1alpha1.PointsDelete
			}
			// It must not be gone before the coordinator has told its points.
			if s.Spec.PointsOnDelete == v1alpha1.PointsDelete && !slices.Contains(s.Finalizers, v1alpha1.FinalizerPoints) {
				s.Finalizers = append(s.Finalizers, v1alpha1.FinalizerPoints)
			}
			patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
			if err := cluster.Client.Patch(c.Context(), s, patch); err != nil {
				return err
			}
		}
		// The object meant is the one just read, not a later one of its name.
		uid := o.GetUID()
		if err := cluster.Client.Delete(c.Context(), o, client.Preconditions{UID: &uid}); err != nil {
			return err
		}
		if wait {
			if err := a.awaitGone(c.Context(), cluster, k, o, timeout); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintf(a.Out, "%s deleted\n", k.Named(key.Name))
		return err
	}
	return c
}

// beforeDeletion is what a backup is told before it is deleted; nil: nothing. It
// may be told so when its deletion was asked for before.
func beforeDeletion(keep, force bool) client.Patch {
	change := map[string]any{}
	if keep {
		change["spec"] = map[string]any{"deletionPolicy": v1alpha1.DeletionRetain}
	}
	if force {
		change["metadata"] = map[string]any{"annotations": map[string]any{v1alpha1.AnnotationForceDeletion: "true"}}
	}
	if len(change) == 0 {
		return nil
	}
	raw, _ := json.Marshal(change) // of strings only
	return client.RawPatch(types.MergePatchType, raw)
}

// awaitGone waits until the object is gone, showing what it waits for.
func (a *app) awaitGone(ctx context.Context, cluster *kube.Cluster, k kinds.Kind, o client.Object, timeout time.Duration) error {
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	last, trouble := o, ""
	err := a.display(ctx, func(ctx context.Context, events chan<- event) error {
		f := follow.Follower{
			Client: cluster.Client, Kind: k, Key: client.ObjectKeyFromObject(o), UID: o.GetUID(),
			Seen: func(o client.Object) bool {
				last, trouble = o, ""
				send(ctx, events, event{status: statusOf(o)})
				return false
			},
			Trouble: remark(ctx, events, &trouble),
		}
		return f.Run(ctx)
	})
	switch {
	case errors.Is(err, follow.ErrGone):
		return nil
	case errors.Is(err, errTimeout):
		return fmt.Errorf("%s %s is not gone after %s (%s), see: hayloft describe %s %s: %w",
			k.Word, o.GetName(), timeout, phaseAndWhy(statusOf(last)), k.Word, o.GetName(), err)
	}
	return err
}
