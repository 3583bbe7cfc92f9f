package command

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
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
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "longest time to wait for the answer, 0 for no limit")
	c.RunE = func(c *cobra.Command, args []string) error {
		if timeout < 0 {
			return usage(c, "--timeout %s is negative", timeout)
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		request := ask.Leftovers(remove, ask.Word(a.Now()))
		t, err := ask.Target(c.Context(), cluster.Client, args[0], request)
		if err != nil {
			return err
		}
		t, err = a.awaitTarget(c.Context(), cluster, t, timeout, func(t *v1alpha1.BackupTarget) (bool, string) {
			s := t.Status.Leftovers
			return s != nil && s.Requested == request[v1alpha1.AnnotationLeftovers] && s.Time != nil, ""
		})
		if errors.Is(err, errTimeout) {
			return fmt.Errorf("no coordinator has answered within %s: is one leading? The answer will be in the target's status.leftovers: %w", timeout, err)
		}
		if err != nil {
			return err
		}
		return a.showLeftovers(t.Status.Leftovers)
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
