package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
	"hayloft.dev/pkg/forgotten"
)

// targetRemember brings points back that were deleted here with their data kept.
func (a *app) targetRemember() *cobra.Command {
	var all, list bool
	c := &cobra.Command{
		Use:   "remember NAME (BACKUP... | --all | --list)",
		Short: "Have backups found again that were deleted with their data kept",
		Long: `A backup that is deleted here while its data stays on the target does not come
back by itself. This takes that back: the next look through the target, which is
asked for too, finds what is still there. A BACKUP is NAMESPACE/NAME, or the UID
that it had where it was taken; --list shows which are forgotten.`,
		Example: `  hayloft target remember s3 --list
  hayloft target remember s3 shop/web-20261123-041500
  hayloft target remember s3 --all`,
		ValidArgsFunction: a.completeNames("target"),
	}
	c.Flags().BoolVar(&all, "all", false, "remember every backup that is forgotten")
	c.Flags().BoolVar(&list, "list", false, "show the backups that are forgotten, and change nothing")
	c.Args = func(c *cobra.Command, args []string) error {
		given := 0
		for _, x := range []bool{all, list, len(args) > 1} {
			if x {
				given++
			}
		}
		switch {
		case len(args) == 0:
			return usage(c, "the target's name is missing")
		case given != 1:
			return usage(c, "say which backups: their names, --all, or --list to see them")
		}
		for _, name := range args[1:] {
			if !forgotten.IsName(name) {
				return usage(c, "%q is neither NAMESPACE/NAME nor a UID", name)
			}
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		if list {
			return a.listForgotten(c.Context(), cluster, args[0])
		}
		which := args[1:]
		if all {
			which = []string{v1alpha1.RememberAll}
		}
		if _, err := ask.Target(c.Context(), cluster.Client, args[0], ask.Remember(which, ask.Word(a.Now()))); err != nil {
			return err
		}
		k, _ := kinds.Find("target")
		_, err = fmt.Fprintf(a.Out, "%s is asked to remember: the backups appear with the next look through it\n", k.Named(args[0]))
		return err
	}
	return c
}

// listForgotten shows what the coordinator has written down of a target.
func (a *app) listForgotten(ctx context.Context, cluster *kube.Cluster, target string) error {
	points, err := forgotten.List(ctx, cluster.Client, cluster.System, target)
	if err != nil {
		return err
	}
	if len(points) == 0 {
		_, err := fmt.Fprintln(a.Err, "no backup is forgotten on target "+target)
		return err
	}
	for _, p := range points {
		when := ""
		if !p.At.IsZero() {
			when = p.At.Format(time.RFC3339)
		}
		if _, err := fmt.Fprintf(a.Out, "%s/%s\t%s\t%s %s\n", p.Namespace, p.Name, p.UID, p.Reason, when); err != nil {
			return err
		}
	}
	return nil
}
