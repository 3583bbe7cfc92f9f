package command

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
)

// targetTest has a target tried out, and says what is wrong with it.
func (a *app) targetTest() *cobra.Command {
	var wait bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "test NAME",
		Short: "Try a target out and tell what is wrong with it",
		Long: `Have the coordinator try a target out: it lists it, and writes, reads and deletes a
small object there; of a target that is only read it lists and reads. The answer
comes within seconds and names the cause: a name that is not found, a refused
connection, a certificate with its names and dates, a wrong key, a missing bucket,
a right that lacks, a clock, a full disk. It also says when the target keeps what
is deleted, so that deleting backups would free nothing.`,
		Example:           "  hayloft target test s3",
		ValidArgsFunction: a.completeNames("target"),
		Args:              exactly("the target's name"),
	}
	c.Flags().BoolVar(&wait, "wait", true, "wait for the answer; its exit code is 1 when the target cannot be used")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "longest time to wait, 0 for no limit")
	c.RunE = func(c *cobra.Command, args []string) error {
		if timeout < 0 {
			return usage(c, "--timeout %s is negative", timeout)
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		asked := ask.Word(a.Now())
		t, err := ask.Target(c.Context(), cluster.Client, args[0], ask.Test(asked))
		if err != nil {
			return err
		}
		if !wait {
			k, _ := kinds.Find("target")
			_, err := fmt.Fprintf(a.Out, "%s test requested\n", k.Named(t.Name))
			return err
		}
		t, err = a.awaitTarget(c.Context(), cluster, t, timeout, func(t *v1alpha1.BackupTarget) (bool, string) {
			return t.Status.Test != nil && t.Status.Test.Requested == asked, ""
		})
		if errors.Is(err, errTimeout) {
			return fmt.Errorf("no coordinator has tested target %s within %s: does one run? The test goes on, see: hayloft describe target %s: %w", t.Name, timeout, t.Name, err)
		}
		if err != nil {
			return err
		}
		return a.testResult(t.Name, t.Status.Test)
	}
	return c
}

func (a *app) testResult(name string, found *v1alpha1.TargetTest) error {
	if !found.Passed {
		a.complain(fmt.Sprintf("target %s cannot be used (%s): %s", name, found.Reason, found.Message))
		return errFailed
	}
	if found.Warning != "" {
		fmt.Fprintf(a.Err, "Warning: %s\n", found.Warning)
	}
	_, err := fmt.Fprintf(a.Out, "target %s can be used, found out in %s\n", name, units.Duration(time.Duration(found.Milliseconds)*time.Millisecond))
	return err
}
