package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hayloft.dev/cli/internal/sentence"
	"hayloft.dev/pkg/upgrade"
	"hayloft.dev/pkg/words"
)

func (a *app) upgradeCommands() []*cobra.Command {
	return []*cobra.Command{a.upgradeCheck(), a.upgradePrepare(), a.upgradeFinish()}
}

func (a *app) upgradeCheck() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "check",
		Short: "List what is in the way of an upgrade",
		Long: `List what is in the way of an upgrade of Hayloft or of the cluster: backups and
restores under way and schedules that may begin more, of all namespaces. The exit
code is 1 if there is anything.`,
		Args: exactly(),
	}
	c.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkOutput(c, output, "table", "json"); err != nil {
			return err
		}
		steps, err := a.steps()
		if err != nil {
			return err
		}
		report, err := steps.Check(c.Context())
		if err != nil {
			return err
		}
		if output == "json" {
			err = reported(a.Out, report)
		} else {
			err = listBlockers(a.Out, report)
		}
		if err == nil && !report.Ready() {
			return errFailed
		}
		return err
	}
	return c
}

func (a *app) upgradePrepare() *cobra.Command {
	var o upgrade.PrepareOptions
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "prepare",
		Short: "Suspend all schedules and wait for what runs",
		Long: `Suspend every active schedule of all namespaces, for the upgrade, and wait until no
backup and no restore is under way. It can be repeated: what it has suspended is
marked so, and hayloft upgrade finish resumes just that. Until then no schedule that
failures have suspended resumes by itself either.`,
		Args:    exactly(),
		Example: `  hayloft upgrade prepare --cancel --timeout 30m`,
	}
	c.Flags().BoolVar(&o.Cancel, "cancel", false, "cancel backups and restores that are under way")
	c.Flags().StringVar(&o.Reason, "reason", "an upgrade is being prepared", "sentence that is kept on each schedule")
	c.Flags().DurationVar(&timeout, "timeout", 0, "longest time to wait, such as 30m (default no limit)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if timeout < 0 {
			return usage(c, "--timeout %s is negative", timeout)
		}
		steps, err := a.steps()
		if err != nil {
			return err
		}
		ctx, cancel := withTimeout(c.Context(), timeout)
		defer cancel()
		var last upgrade.Report
		err = steps.Wait(ctx, o, func(r upgrade.Report) {
			last = r
			if !r.Ready() {
				fmt.Fprintf(a.Err, "%s waiting for %s\n", a.Now().Format(time.TimeOnly), inWords(r.Blockers))
			}
		})
		switch {
		case errors.Is(err, errTimeout) && last.Ready():
			return fmt.Errorf("after %s it was not known yet what is in the way; repeat it with more time: %w", timeout, err)
		case errors.Is(err, errTimeout):
			return fmt.Errorf("after %s %s, see: hayloft upgrade check; suspended schedules stay so until hayloft upgrade finish: %w",
				timeout, stillThere(last.Blockers), err)
		case err != nil:
			return err
		}
		_, err = fmt.Fprintf(a.Out, "Ready to upgrade: %s suspended. Afterwards: hayloft upgrade finish\n",
			words.Count(len(last.Suspended), "schedule")+words.Verb(len(last.Suspended), " is", " are"))
		return err
	}
	return c
}

func (a *app) upgradeFinish() *cobra.Command {
	return &cobra.Command{
		Use:   "finish",
		Short: "Resume the schedules that prepare has suspended, and no others",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			steps, err := a.steps()
			if err != nil {
				return err
			}
			resumed, failed := steps.Finish(c.Context())
			for _, s := range resumed {
				if _, err := fmt.Fprintf(a.Out, "schedule %s/%s resumed\n", s.Namespace, s.Name); err != nil {
					return err
				}
			}
			if failed == nil {
				if len(resumed) == 0 {
					fmt.Fprintln(a.Err, "No schedule is suspended for an upgrade.")
				}
				return nil
			}
			return a.each(c.Context(), failed)
		},
	}
}

// each says every one of joined errors.
func (a *app) each(ctx context.Context, err error) error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || ctx.Err() != nil {
		return err
	}
	for _, one := range joined.Unwrap() {
		what, _, _ := strings.Cut(one.Error(), ": ")
		a.complain(what + ": " + sentence.Of(errors.Unwrap(one)))
	}
	return errFailed
}

func (a *app) steps() (*upgrade.Steps, error) {
	cluster, err := a.flags.Open(a.Err)
	if err != nil {
		return nil, err
	}
	return &upgrade.Steps{Client: cluster.Client}, nil
}

func reported(out io.Writer, r upgrade.Report) error {
	data, err := json.MarshalIndent(r, "", "    ")
	if err != nil {
		return fmt.Errorf("writing the report as json: %w", err)
	}
	_, err = fmt.Fprintln(out, string(data))
	return err
}

func listBlockers(out io.Writer, r upgrade.Report) error {
	if n := len(r.Suspended); n > 0 {
		fmt.Fprintf(out, "%s %s suspended for an upgrade.\n", words.Count(n, "schedule"), words.Verb(n, "is", "are"))
	}
	if r.Ready() {
		_, err := fmt.Fprintln(out, "Nothing is in the way of an upgrade.")
		return err
	}
	fmt.Fprintf(out, "In the way of an upgrade %s %s:\n", words.Verb(len(r.Blockers), "is", "are"), inWords(r.Blockers))
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "  KIND\tNAMESPACE\tNAME\tSTATE\tMESSAGE")
	for _, b := range r.Blockers {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", kindWord(b.Kind), b.Namespace, b.Name, b.State, strings.Join(strings.Fields(b.Message), " "))
	}
	return w.Flush()
}

// kindWord is what people call a kind.
func kindWord(kind string) string { return strings.ToLower(strings.TrimPrefix(kind, "VM")) }

// inWords counts blockers: "1 schedule, 2 backups".
func inWords(blockers []upgrade.Blocker) string {
	var out []string
	for _, kind := range []string{"VMSchedule", "VMBackup", "VMRestore"} {
		n := 0
		for _, b := range blockers {
			if b.Kind == kind {
				n++
			}
		}
		if n > 0 {
			out = append(out, words.Count(n, kindWord(kind)))
		}
	}
	return strings.Join(out, ", ")
}

func stillThere(blockers []upgrade.Blocker) string {
	return inWords(blockers) + words.Verb(len(blockers), " is", " are") + " still in the way"
}
