package command

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/pkg/api/v1alpha1"
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
		which := v1alpha1.RememberAll
		if !all {
			which = strings.Join(args[1:], ",")
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
			v1alpha1.AnnotationRemember: which,
			v1alpha1.AnnotationRefresh:  a.Now().UTC().Format(time.RFC3339Nano),
		}}})
		if err != nil {
			return err
		}
		t := &v1alpha1.BackupTarget{}
		t.Name = args[0]
		if err := cluster.Client.Patch(c.Context(), t, client.RawPatch("application/merge-patch+json", patch)); err != nil {
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
	var t v1alpha1.BackupTarget
	if err := cluster.Client.Get(ctx, client.ObjectKey{Name: target}, &t); err != nil {
		return err
	}
	var parts corev1.ConfigMapList
	err := cluster.Client.List(ctx, &parts, client.InNamespace(cluster.System),
		client.MatchingLabels{v1alpha1.LabelTarget: string(t.UID), v1alpha1.LabelKept: v1alpha1.KeptGraves})
	if err != nil {
		return err
	}
	var lines []string
	for _, m := range parts.Items {
		for uid, why := range m.Data {
			name, rest, _ := strings.Cut(why, " ")
			lines = append(lines, fmt.Sprintf("%s\t%s\t%s", name, uid, rest))
		}
	}
	slices.Sort(lines)
	if len(lines) == 0 {
		_, err := fmt.Fprintln(a.Err, "no backup is forgotten on target "+target)
		return err
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(a.Out, line); err != nil {
			return err
		}
	}
	return nil
}
