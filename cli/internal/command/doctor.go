package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"hayloft.dev/cli/internal/doctor"
	"hayloft.dev/pkg/words"
)

// errUnchecked means that something could not be looked at; it was printed.
var errUnchecked = fmt.Errorf("something could not be looked at")

// doctor looks through the installation.
func (a *app) doctor() *cobra.Command {
	var output, longhorn string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look through the installation for what is wrong",
		Long: `Look through the installation, and say what is wrong, why that matters and what to
do: definitions and their versions, the rights of Hayloft's accounts and yours, the
coordinator that leads and the webhook, an agent on each node with volumes, their
clocks, targets and what refreshing them costs, refresh intervals of Harvester and
Longhorn, and what was left over. Nothing is changed. It takes as long as agents
take to renew their sessions, five seconds, or fifteen if one does not.

Exit codes: 0 nothing is wrong, 1 there are problems or warnings, 4 there are none,
but something could not be looked at. Notes do not count.`,
		Example: "  hayloft doctor -n shop\n  hayloft doctor -o json | jq '.findings[] | select(.level == \"Problem\")'",
		Args:    exactly(),
	}
	c.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	c.Flags().StringVar(&longhorn, "longhorn-namespace", "longhorn-system", "namespace that Longhorn runs in")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkOutput(c, output, "table", "json"); err != nil {
			return err
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		report, err := doctor.Examine(c.Context(), doctor.Options{
			Client: cluster.Client, System: cluster.System, Longhorn: longhorn, Namespace: cluster.Namespace,
			Skew: cluster.Clock.Ahead, Now: a.Now,
		})
		if err != nil {
			return err
		}
		if err := printReport(a.Out, report, output); err != nil {
			return err
		}
		switch {
		case report.Count(doctor.Problem)+report.Count(doctor.Warning) > 0:
			return errFailed
		case report.Count(doctor.Unchecked) > 0:
			return errUnchecked
		}
		return nil
	}
	return c
}

func printReport(out io.Writer, r doctor.Report, format string) error {
	if format == "json" {
		data, err := json.MarshalIndent(r, "", "    ")
		if err != nil {
			return fmt.Errorf("writing the report as json: %w", err)
		}
		_, err = fmt.Fprintln(out, string(data))
		return err
	}
	var b strings.Builder
	for _, f := range r.Findings {
		line := fmt.Sprintf("%s (%s): %s. Why it matters: %s. What to do: %s.", f.Level, f.Check, f.What, f.Why, f.Do)
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	problems, warnings, unchecked := r.Count(doctor.Problem), r.Count(doctor.Warning), r.Count(doctor.Unchecked)
	fmt.Fprintf(&b, "Looked at %s: ", strings.Join(r.Checks, ", "))
	switch {
	case problems+warnings > 0:
		fmt.Fprintf(&b, "%s, %s", words.Count(problems, "problem"), words.Count(warnings, "warning"))
	case unchecked > 0:
		b.WriteString("nothing is wrong as far as could be seen")
	default:
		b.WriteString("nothing is wrong")
	}
	if unchecked > 0 {
		fmt.Fprintf(&b, "; %s could not be looked at", words.Count(unchecked, "thing"))
	}
	_, err := io.WriteString(out, b.String()+".\n")
	return err
}
