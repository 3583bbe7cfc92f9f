package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// targetLeftovers shows what nobody needs any more on a target, and removes it.
func (a *app) targetLeftovers() *cobra.Command {
	var remove bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "leftovers NAME",
		Short: "See what nobody needs any more on a target, and remove it",
		Long: `Have a target looked through for transfers that never ended, complete backups that
no document names, and drafts of points that are gone. With --remove those that
may go are removed: they were made by Hayloft, are older than a day, belong to no
point that any cluster has or may be taking, and the target lists all points that
this cluster has. What stays says why.`,
		Example: `  hayloft target leftovers s3
  hayloft target leftovers s3 --remove`,
		ValidArgsFunction: a.completeNames("target"),
		Args:              exactly("the target's name"),
	}
	c.Flags().BoolVar(&remove, "remove", false, "remove those that may go")
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "longest time to wait for the answer")
	c.RunE = func(c *cobra.Command, args []string) error {
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		word := v1alpha1.LeftoversList
		if remove {
			word = v1alpha1.LeftoversRemove
		}
		request := word + " " + a.Now().UTC().Format(time.RFC3339Nano)
		t, err := askTarget(c.Context(), cluster, args[0], v1alpha1.AnnotationLeftovers, request)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context(), timeout)
		defer cancel()
		for {
			if s := t.Status.Leftovers; s != nil && s.Requested == request && s.Time != nil {
				return a.showLeftovers(s)
			}
			select {
			case <-ctx.Done():
				if c.Context().Err() == nil {
					return fmt.Errorf("no coordinator has answered within %s: is one leading? The answer will be in the target's status.leftovers: %w", timeout, errTimeout)
				}
				return c.Context().Err()
			case <-time.After(500 * time.Millisecond):
			}
			if err := cluster.Client.Get(ctx, client.ObjectKey{Name: args[0]}, t); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
		}
	}
	return c
}

func (a *app) showLeftovers(s *v1alpha1.TargetLeftovers) error {
	for _, l := range s.Items {
		what := l.Path
		if what == "" {
			what = "backup " + l.Backup + " of volume " + l.Volume
		}
		became := "may be removed (--remove)"
		switch {
		case l.Removed:
			became = "removed"
		case l.Keep != "":
			became = "stays: " + l.Keep
		}
		if _, err := fmt.Fprintf(a.Out, "%s\t%s\t%s\n", l.Kind, what, became); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.Err, "in progress: %d, without a document: %d, drafts: %d, removed: %d\n", s.InProgress, s.NoDocument, s.Drafts, s.Removed)
	if err == nil && s.Message != "" {
		return errors.New(s.Message)
	}
	return err
}
