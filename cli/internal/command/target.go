package command

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/pkg/api/v1alpha1"
)

// askTarget writes an annotation that asks the coordinator for something once; the
// target is as it was when that was written.
func askTarget(ctx context.Context, cluster *kube.Cluster, name, annotation, request string) (*v1alpha1.BackupTarget, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{annotation: request}}})
	if err != nil {
		return nil, err
	}
	t := &v1alpha1.BackupTarget{}
	t.Name = name
	return t, cluster.Client.Patch(ctx, t, client.RawPatch(types.MergePatchType, patch))
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
			t, err := askTarget(c.Context(), cluster, args[0], v1alpha1.AnnotationRefresh, asked.Format(time.RFC3339Nano))
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
