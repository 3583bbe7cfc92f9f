package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// waitFor shows the progress of a backup or restore that somebody has begun, such as
// a schedule.
func (a *app) waitFor() *cobra.Command {
	var timeout time.Duration
	var output string
	c := &cobra.Command{
		Use:   "wait backup|restore NAME",
		Short: "Show the progress of a backup or restore until it is ready",
		Long: `Show the progress of a backup or restore that is under way, whoever has begun it,
until it is ready or has failed: what --wait does for those that are made here.`,
		Example: `  hayloft wait backup nightly-web-29340120
  hayloft wait restore to-web2 --timeout 30m -o json`,
		ValidArgsFunction: a.completeKinds([]string{"backup", "restore"}, false),
		Args:              exactly("what to wait for", "its name"),
	}
	c.Flags().DurationVar(&timeout, "timeout", 0, "longest time to wait, such as 30m (default no limit)")
	c.Flags().StringVarP(&output, "output", "o", "", "print the object at its end: json, yaml or name")
	c.RunE = func(c *cobra.Command, args []string) error {
		k, err := kindArg(c, args[0], "backup", "restore")
		if err != nil {
			return err
		}
		if timeout < 0 {
			return usage(c, "--timeout %s is negative", timeout)
		}
		if err := checkOutput(c, output, "json", "yaml", "name"); err != nil {
			return err
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		o := k.New()
		if err := cluster.Client.Get(c.Context(), client.ObjectKey{Namespace: cluster.NamespaceOf(k), Name: args[1]}, o); err != nil {
			return err
		}
		last, failed := a.await(c.Context(), cluster, k, o, timeout, false)
		switch {
		case output != "":
			last.GetObjectKind().SetGroupVersionKind(k.GVK())
			err = encode(a.Out, output, last, k, args[1])
		case failed == nil:
			_, err = fmt.Fprintf(a.Out, "%s %s is ready\n", k.Word, args[1])
		}
		if failed != nil {
			return failed
		}
		return err
	}
	return c
}
