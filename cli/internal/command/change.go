package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
)

// cancel ends a backup or restore that has not ended by itself.
func (a *app) cancel() *cobra.Command {
	var wait bool
	var timeout time.Duration
	c := a.change(&cobra.Command{
		Use:   "cancel backup|restore NAME",
		Short: "Cancel a backup or restore on its way",
		Long: `Cancel a backup or restore that is not ready yet: it ends as failed and what it
made so far is removed. A transfer that an engine has begun cannot be stopped,
so a backup's clean-up waits for its end. With --wait the exit code is 0 when it has
ended, cancelled or not.`,
		ValidArgsFunction: a.completeKinds([]string{"backup", "restore"}, false),
		Args:              exactly("what to cancel", "its name"),
	}, `{"spec":{"cancel":true}}`, "cancelled", "backup", "restore")
	waitFlags(c, "it has ended", &wait, &timeout)
	c.PreRunE = func(c *cobra.Command, _ []string) error { return checkWait(c, wait, timeout) }
	ask := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := ask(c, args); err != nil || !wait {
			return err
		}
		k, _ := kinds.Find(args[0]) // it was asked for
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		o := k.New()
		o.SetNamespace(cluster.NamespaceOf(k))
		o.SetName(args[1])
		last, err := a.pursue(c.Context(), cluster, k, o, timeout)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.Out, "%s %s has ended: %s\n", k.Word, args[1], statusOf(last).Phase)
		return err
	}
	return c
}

// pin keeps retention from a point, unpin lets it have it.
func (a *app) pin() *cobra.Command {
	return a.change(&cobra.Command{
		Use: "pin backup NAME", Short: "Keep retention from removing a backup",
		ValidArgsFunction: a.completeKinds([]string{"backup"}, false), Args: exactly("what to pin", "its name"),
	}, `{"spec":{"pinned":true}}`, "pinned", "backup")
}

func (a *app) unpin() *cobra.Command {
	return a.change(&cobra.Command{
		Use: "unpin backup NAME", Short: "Let retention remove a backup again",
		ValidArgsFunction: a.completeKinds([]string{"backup"}, false), Args: exactly("what to unpin", "its name"),
	}, `{"spec":{"pinned":false}}`, "unpinned", "backup")
}

// claim takes a found point over.
func (a *app) claim() *cobra.Command {
	return a.change(&cobra.Command{
		Use:   "claim backup NAME",
		Short: "Take over a backup that another cluster has left on the target",
		Long: `Take over a backup that was found on the target: from then on deleting it deletes
its data there. Do this only when the cluster that took it is gone or has given
it up, since it would miss its backup. It cannot be taken back; hayloft delete
backup NAME --keep-data leaves the data. It needs the verb claim on the target.`,
		ValidArgsFunction: a.completeKinds([]string{"backup"}, false),
		Args:              exactly("what to claim", "its name"),
	}, `{"spec":{"claimed":true,"deletionPolicy":"Delete"}}`, "claimed: deleting it deletes its data", "backup")
}

// change makes a command that merges a patch into one object.
func (a *app) change(c *cobra.Command, patch, did string, allowed ...string) *cobra.Command {
	c.RunE = func(c *cobra.Command, args []string) error {
		k, err := kindArg(c, args[0], allowed...)
		if err != nil {
			return err
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		o := k.New()
		o.SetNamespace(cluster.NamespaceOf(k))
		o.SetName(args[1])
		if err := cluster.Client.Patch(c.Context(), o, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.Out, "%s %s\n", k.Named(args[1]), did)
		return err
	}
	return c
}
