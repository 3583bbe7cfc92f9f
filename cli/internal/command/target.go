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

// awaitTarget waits until a target has the answer to a request. answered tells
// whether it has, or what is waited for, which is shown. The last state of the target
// comes back with errTimeout, too.
func (a *app) awaitTarget(ctx context.Context, cluster *kube.Cluster, t *v1alpha1.BackupTarget, timeout time.Duration, answered func(*v1alpha1.BackupTarget) (done bool, waits string)) (*v1alpha1.BackupTarget, error) {
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	k, _ := kinds.Find("target")
	last, trouble, said := t, "", ""
	err := a.display(ctx, func(ctx context.Context, events chan<- event) error {
		f := follow.Follower{Client: cluster.Client, Kind: k, Key: client.ObjectKeyFromObject(t), UID: t.UID, Trouble: remark(ctx, events, &trouble)}
		f.Seen = func(o client.Object) bool {
			last, trouble = o.(*v1alpha1.BackupTarget), ""
			done, waits := answered(last)
			if waits != said && !done {
				said = waits
				send(ctx, events, event{remark: waits})
			}
			return done
		}
		return f.Run(ctx)
	})
	if errors.Is(err, follow.ErrGone) {
		return last, fmt.Errorf("target %s was deleted while it was waited for", t.Name)
	}
	return last, err
}

// targetRefresh asks for a look through a target.
func (a *app) targetRefresh() *cobra.Command {
	var wait bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "refresh NAME",
		Short: "Have a target looked through for backups now",
		Long: `Ask for a look through a target without waiting for its interval. It begins when
the shortest allowed time since the last one has passed, and within the CPU time
that refreshing may take in an hour: see hayloft describe target. With --wait the
exit code tells whether the target could be looked through.`,
		Example:           "  hayloft target refresh s3 --wait --timeout 5m",
		ValidArgsFunction: a.completeNames("target"),
		Args:              exactly("the target's name"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkWait(c, wait, timeout); err != nil {
				return err
			}
			k, _ := kinds.Find("target")
			cluster, err := a.flags.Open(a.Err)
			if err != nil {
				return err
			}
			asked := a.Now().UTC()
			t, err := ask.Target(c.Context(), cluster.Client, args[0], ask.Refresh(ask.Word(asked)))
			if err != nil {
				return err
			}
			if wait {
				return a.awaitRefresh(c.Context(), cluster, t, asked, timeout)
			}
			_, err = fmt.Fprintf(a.Out, "%s refresh requested\n", k.Named(args[0]))
			return err
		},
	}
	waitFlags(c, "the target was looked through", &wait, &timeout)
	return c
}
