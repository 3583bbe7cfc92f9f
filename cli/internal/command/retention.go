package command

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/cli/internal/preview"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/retention"
	"hayloft.dev/pkg/status"
)

// whatIf are numbers to try out in place of a schedule's own.
type whatIf struct{ last, hourly, daily, weekly, monthly, yearly, minGood int32 }

// fields pairs the flags with the schedule's fields.
func (w *whatIf) fields(r *v1alpha1.Retention) map[string][2]*int32 {
	return map[string][2]*int32{
		"keep-last": {&w.last, &r.KeepLast}, "keep-hourly": {&w.hourly, &r.KeepHourly}, "keep-daily": {&w.daily, &r.KeepDaily},
		"keep-weekly": {&w.weekly, &r.KeepWeekly}, "keep-monthly": {&w.monthly, &r.KeepMonthly}, "keep-yearly": {&w.yearly, &r.KeepYearly},
		"min-good": {&w.minGood, &r.MinGood},
	}
}

func (a *app) retentionPreview() *cobra.Command {
	var try whatIf
	var output string
	c := &cobra.Command{
		Use:   "preview SCHEDULE",
		Short: "Say of each point of a schedule whether retention lets it stay, and why",
		Long: `Say of each point that a schedule has made whether retention lets it stay or go,
and why. Nothing is changed. With the flags other numbers than the schedule's own
are tried out.`,
		Example: `  hayloft retention preview nightly
  hayloft retention preview nightly --keep-last 3 --keep-weekly 4`,
		Args:              exactly("the schedule's name"),
		ValidArgsFunction: a.completeNames("schedule"),
	}
	c.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	for flag, pair := range try.fields(&v1alpha1.Retention{}) {
		c.Flags().Int32Var(pair[0], flag, 0, "as in schedule create, in place of what the schedule has")
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkOutput(c, output, "table", "json"); err != nil {
			return err
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		s := &v1alpha1.VMSchedule{}
		if err := cluster.Client.Get(c.Context(), client.ObjectKey{Namespace: cluster.Namespace, Name: args[0]}, s); err != nil {
			return err
		}
		for flag, pair := range try.fields(&s.Spec.Retention) {
			switch {
			case !c.Flags().Changed(flag):
			case *pair[0] < 0:
				return usage(c, "--%s %d is negative", flag, *pair[0])
			default:
				*pair[1] = *pair[0]
			}
		}
		policy, err := retention.PolicyOf(s)
		if err != nil {
			return err
		}
		vms, err := a.judged(c.Context(), cluster, s, policy)
		switch {
		case err != nil:
			return err
		case output == "json":
			return fates(a, vms)
		case len(vms) == 0:
			fmt.Fprintf(a.Err, "Schedule %s has no points.\n", s.Name)
			return nil
		}
		return preview.Retention(a.Out, vms, policy.Zone)
	}
	return c
}

// judged are the VMs of a schedule's points, by name.
func (a *app) judged(ctx context.Context, cluster *kube.Cluster, s *v1alpha1.VMSchedule, policy retention.Policy) ([]preview.VM, error) {
	var points v1alpha1.VMBackupList
	if err := cluster.Client.List(ctx, &points, client.InNamespace(s.Namespace), client.MatchingLabels{v1alpha1.LabelSchedule: string(s.UID)}); err != nil {
		return nil, err
	}
	// A point can be restored into any namespace.
	var restores v1alpha1.VMRestoreList
	err := cluster.Client.List(ctx, &restores)
	if apierrors.IsForbidden(err) {
		fmt.Fprintf(a.Err, "You may not list restores in all namespaces: those outside %s are not taken into account.\n", s.Namespace)
		err = cluster.Client.List(ctx, &restores, client.InNamespace(s.Namespace))
	}
	if err != nil {
		return nil, err
	}
	byVM := map[string][]retention.Point{} // VM -> its points
	for i := range points.Items {
		b := &points.Items[i]
		byVM[b.Spec.VM] = append(byVM[b.Spec.VM], retention.PointOf(b, s.Status.Runs, status.Readers(b, restores.Items)))
	}
	var out []preview.VM
	for _, vm := range slices.Sorted(maps.Keys(byVM)) {
		out = append(out, preview.VM{Name: vm, Verdicts: retention.Plan(policy, byVM[vm])})
	}
	return out, nil
}

// fate is one point in the output for programs.
type fate struct {
	VM    string          `json:"vm"`
	Point string          `json:"point"`
	Time  time.Time       `json:"time"`
	State retention.State `json:"state"`
	Fate  string          `json:"fate"`
	Why   string          `json:"why"`
}

func fates(a *app, vms []preview.VM) error {
	out := []fate{}
	for _, vm := range vms {
		for _, v := range vm.Verdicts {
			out = append(out, fate{vm.Name, v.Point.Name, v.Point.Time.UTC(), v.Point.State, preview.Fate(v), v.Why})
		}
	}
	data, err := json.MarshalIndent(out, "", "    ")
	if err != nil {
		return fmt.Errorf("writing the points as json: %w", err)
	}
	_, err = fmt.Fprintln(a.Out, string(data))
	return err
}
