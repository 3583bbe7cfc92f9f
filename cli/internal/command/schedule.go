package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/cli/internal/preview"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/schedule"
)

func (a *app) scheduleCommands() []*cobra.Command {
	return []*cobra.Command{
		a.scheduleCreate(), a.scheduleSet(),
		a.scheduleChange(&cobra.Command{
			Use: "suspend NAME", Short: "Let a schedule begin no more runs",
			Long: "Let a schedule begin no more runs. What runs goes on. One that failures or an\nupgrade have suspended stays so until it is resumed by hand.",
		}, true, "suspended"),
		a.scheduleChange(&cobra.Command{
			Use: "resume NAME", Short: "Let a suspended schedule run again",
			Long: `Let a suspended schedule run again. Its count of failures begins anew; of what
passed meanwhile one run at most is made up for. One of backups is not resumed
while its target cannot be used.`,
		}, false, "resumed"),
	}
}

func (a *app) scheduleCreate() *cobra.Command {
	var o scheduleOptions
	var vm, selector, output string
	var snapshot, suspended, dryRun bool
	c := &cobra.Command{
		Use:               "create NAME --cron EXPRESSION (--vm VM | --selector LABELS) [--target TARGET | --snapshot]",
		Short:             "Have backups or snapshots made again and again, and old ones removed",
		Args:              exactly("the schedule's name"),
		ValidArgsFunction: cobra.NoFileCompletions,
		Example: `  hayloft schedule create nightly --vm web --cron "0 2 * * *" --time-zone Europe/Berlin --target s3
  hayloft schedule create nightly --vm web --cron "0 2 * * *" --target s3 --keep-daily 14 --dry-run
  hayloft schedule create hourly --selector tier=db --cron @hourly --snapshot --keep-last 24 --keep-daily 7`,
	}
	f := c.Flags()
	f.StringVar(&vm, "vm", "", "the virtual machine")
	f.StringVarP(&selector, "selector", "l", "", "all virtual machines of the namespace with these labels, such as tier=db,env!=test")
	f.BoolVar(&snapshot, "snapshot", false, "take snapshots, which stay in the cluster, in place of backups")
	f.BoolVar(&suspended, "suspended", false, "create it suspended")
	f.BoolVar(&dryRun, "dry-run", false, "make nothing; print the next runs, and what retention would hold then")
	f.StringVarP(&output, "output", "o", "", "print the object: json, yaml or name")
	o.bind(c)
	_ = c.RegisterFlagCompletionFunc("target", a.completeNames("target"))
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkName(c, "the name of a schedule", args[0]); err != nil {
			return err
		}
		if err := checkOutput(c, output, "json", "yaml", "name"); err != nil {
			return err
		}
		s, err := o.schedule(c, a.Now())
		if err != nil {
			return err
		}
		switch {
		case o.cron == "":
			return usage(c, "--cron is missing: say when")
		case (vm == "") == !c.Flags().Changed("selector"):
			return usage(c, "give one of --vm and --selector")
		case snapshot && o.target != "":
			return usage(c, "--target and --snapshot do not go together: a snapshot stays in the cluster")
		case vm != "":
			if err := checkName(c, "the name of a VM", vm); err != nil {
				return err
			}
		default:
			if s.Spec.Selector, err = metav1.ParseToLabelSelector(selector); err != nil {
				return usage(c, "--selector %q: %v", selector, err)
			}
		}
		s.Name, s.Spec.VM, s.Spec.Suspend = args[0], vm, suspended
		if snapshot {
			s.Spec.Type = v1alpha1.TypeSnapshot
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		s.Namespace = cluster.Namespace
		if dryRun {
			return a.rehearse(c, cluster, s)
		}
		if err := cluster.Client.Create(c.Context(), s); err != nil {
			return err
		}
		k, _ := kinds.Find("schedule")
		return a.created(c.Context(), cluster, k, &creator{output: output}, s)
	}
	return c
}

// rehearse asks the API server what it would make of a schedule, so that its
// defaults and refusals count, and prints what that would do. The rules on times
// are asked here as well: where no webhook is, the coordinator would make the
// schedule and refuse to run it.
func (a *app) rehearse(c *cobra.Command, cluster *kube.Cluster, s *v1alpha1.VMSchedule) error {
	if err := cluster.Client.Create(c.Context(), s, client.DryRunAll); err != nil {
		return err
	}
	var others v1alpha1.VMScheduleList
	switch err := cluster.Client.List(c.Context(), &others, client.InNamespace(s.Namespace)); {
	case apierrors.IsForbidden(err):
		fmt.Fprintf(a.Err, "You may not list schedules in namespace %s: how close this one is to others is not known.\n", s.Namespace)
	case err != nil:
		return err
	}
	if refusals := schedule.Refusals(s, others.Items); len(refusals) > 0 {
		return errors.New(strings.Join(refusals, "; "))
	}
	return preview.Schedule(a.Out, a.Now(), s, nil)
}

// scheduleSet changes what is given of a schedule and nothing else.
func (a *app) scheduleSet() *cobra.Command {
	var o scheduleOptions
	c := &cobra.Command{
		Use:               "set NAME",
		Aliases:           []string{"edit"},
		Short:             "Change a schedule's times, target, retention or limits",
		Long:              "Change what is given of a schedule, at once. Which VMs it is for, and whether it\ntakes snapshots, cannot be changed: create another one.",
		Args:              exactly("the schedule's name"),
		ValidArgsFunction: a.completeNames("schedule"),
		Example:           `  hayloft schedule set nightly --cron "30 3 * * *" --keep-last 14`,
	}
	o.bind(c)
	_ = c.RegisterFlagCompletionFunc("target", a.completeNames("target"))
	c.RunE = func(c *cobra.Command, args []string) error {
		spec, err := o.changes(c, a.Now())
		if err != nil {
			return err
		}
		if len(spec) == 0 {
			return usage(c, "say what to change")
		}
		return a.patchSchedule(c, args[0], map[string]any{"spec": spec}, "changed")
	}
	return c
}

func (a *app) scheduleChange(c *cobra.Command, suspend bool, did string) *cobra.Command {
	c.Args = exactly("the schedule's name")
	c.ValidArgsFunction = a.completeNames("schedule")
	c.RunE = func(c *cobra.Command, args []string) error {
		patch := map[string]any{"spec": map[string]any{"suspend": suspend}}
		if suspend {
			// Now a user did it, whoever had before.
			notes := map[string]any{v1alpha1.AnnotationSuspendedBy: nil, v1alpha1.AnnotationSuspendReason: nil}
			patch["metadata"] = map[string]any{"annotations": notes}
		}
		return a.patchSchedule(c, args[0], patch, did)
	}
	return c
}

func (a *app) patchSchedule(c *cobra.Command, name string, patch map[string]any, did string) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("writing the change: %w", err)
	}
	cluster, err := a.flags.Open(a.Err)
	if err != nil {
		return err
	}
	k, _ := kinds.Find("schedule")
	s := &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace, Name: name}}
	if err := cluster.Client.Patch(c.Context(), s, client.RawPatch("application/merge-patch+json", body)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "%s %s\n", k.Named(name), did)
	return err
}
