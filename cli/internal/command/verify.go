package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/follow"
	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
)

// backupVerify has a backup looked at on its target.
func (a *app) backupVerify() *cobra.Command {
	var blocks, wait bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "verify NAME",
		Short: "Look whether a backup is whole on its target",
		Long: `Have the coordinator look whether a backup is whole on its target: its document, and
for each disk the backup's list of blocks. With --all-blocks it also looks for every
block, which takes a request for each 2 MiB of data; what is in the blocks is not
read. One backup is verified at a time.

What is not whole becomes Damaged: it is not restored, does not count as good, and
retention lets it be; a later look with --all-blocks that finds it whole makes it Ready
again. The exit code is 1 when it is damaged, or when that could not be found out.`,
		Example: `  hayloft backup verify web-20261123-041500
  hayloft backup verify web-20261123-041500 --all-blocks --timeout 1h`,
		ValidArgsFunction: a.completeNames("backup"),
		Args:              exactly("the backup's name"),
	}
	c.Flags().BoolVar(&blocks, "all-blocks", false, "look for every block too")
	c.Flags().BoolVar(&wait, "wait", true, "wait for the answer")
	c.Flags().DurationVar(&timeout, "timeout", 0, "longest time to wait, 0 for no limit")
	c.RunE = func(c *cobra.Command, args []string) error {
		if timeout < 0 {
			return usage(c, "--timeout %s is negative", timeout)
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		b, err := ask.Point(c.Context(), cluster.Client, cluster.Namespace, args[0], ask.Verify(blocks, ask.Word(a.Now())))
		if err != nil {
			return err
		}
		if !wait {
			k, _ := kinds.Find("backup")
			_, err := fmt.Fprintf(a.Out, "%s verification requested\n", k.Named(b.Name))
			return err
		}
		return a.awaitVerification(c.Context(), cluster, b, timeout)
	}
	return c
}

func (a *app) awaitVerification(ctx context.Context, cluster *kube.Cluster, b *v1alpha1.VMBackup, timeout time.Duration) error {
	asked := ask.Verification(b).Word
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	k, _ := kinds.Find("backup")
	var found *v1alpha1.Verification
	trouble, said, replaced := "", "", false
	err := a.display(ctx, func(ctx context.Context, events chan<- event) error {
		f := follow.Follower{Client: cluster.Client, Kind: k, Key: client.ObjectKeyFromObject(b), UID: b.UID, Trouble: remark(ctx, events, &trouble)}
		f.Seen = func(o client.Object) bool {
			b := o.(*v1alpha1.VMBackup)
			v := b.Status.Verification
			trouble = ""
			waits := "no coordinator has taken it up yet"
			switch {
			case ask.Verification(b).Word != asked:
				replaced = true
				return true
			case v != nil && v.Requested == asked && v.EndedAt != nil:
				found = v
				return true
			case v != nil && v.Requested == asked:
				waits = v.Message
			}
			if waits != said {
				said = waits
				send(ctx, events, event{remark: waits})
			}
			return false
		}
		return f.Run(ctx)
	})
	switch {
	case errors.Is(err, follow.ErrGone):
		return fmt.Errorf("backup %s was deleted while it was verified", b.Name)
	case err != nil:
		return err
	case replaced:
		return fmt.Errorf("somebody else has asked for another verification of backup %s meanwhile, which took the place of this one", b.Name)
	}
	switch found.Result {
	case v1alpha1.VerificationPassed:
		_, err := fmt.Fprintf(a.Out, "backup %s: %s\n", b.Name, found.Message)
		return err
	case v1alpha1.VerificationDamaged:
		a.complain(fmt.Sprintf("backup %s is damaged (%s): %s", b.Name, found.Reason, found.Message))
	default:
		a.complain(fmt.Sprintf("it is not known whether backup %s is whole (%s): %s", b.Name, found.Reason, found.Message))
	}
	return errFailed
}
