// Package command is the tree of hayloft's commands: it reads arguments, talks
// to the API server and says how it went. What is shown, and how, is in the
// packages beside it.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/pkg/version"
)

// Env is what a run gets from its process.
type Env struct {
	// Program is the name it was called by.
	Program string
	Args    []string
	// In is standard input, which is read only where it is named.
	In io.Reader
	// Out gets results, Err progress and errors.
	Out, Err io.Writer
	Now      func() time.Time
}

// app is one run.
type app struct {
	Env
	flags kube.Flags
}

// Run runs a command line and returns the exit code.
func Run(ctx context.Context, env Env) int {
	if env.Program == pluginCompletion {
		env.Args = append([]string{cobra.ShellCompRequestCmd}, env.Args...)
	}
	a := &app{Env: env}
	root := a.root()
	root.SetArgs(env.Args)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	return a.exit(ctx, root.ExecuteContext(ctx))
}

// Names by which kubectl calls its plugin, and asks for completions of it.
const (
	plugin           = "kubectl-hayloft"
	pluginCompletion = "kubectl_complete-hayloft"
)

const about = `Hayloft backs up KubeVirt virtual machines whose disks are on Longhorn, or takes
snapshots of them, and restores either as new virtual machines. A snapshot is a
backup of type Snapshot: get, describe, delete and restore take it as one.

Exit codes: 0 done (with --wait: ready), 1 failed, 2 the command line or a
value in it is wrong, 3 --timeout passed, 4 hayloft doctor could not look at
everything, 130 interrupted. Results go to standard output, progress and errors
to standard error.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "hayloft",
		Short:         "Back up and restore KubeVirt VMs on Longhorn",
		Long:          about,
		Version:       version.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Example: `  hayloft backup create web --target s3 --wait
  hayloft get backups
  hayloft restore create web-20261123-041500 --new-vm web2 --wait`,
	}
	if a.Program == plugin || a.Program == pluginCompletion {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl hayloft"}
	}
	a.flags.Bind(root.PersistentFlags())
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, "%v", err) })
	group(root)
	root.AddCommand(
		group(&cobra.Command{Use: "backup", Short: "Make backups, and verify them"}, a.backupCreate(), a.backupVerify()),
		group(&cobra.Command{Use: "snapshot", Short: "Make snapshots, which stay in the cluster"}, a.snapshotCreate()),
		group(&cobra.Command{Use: "restore", Short: "Restore backups"}, a.restoreCreate()),
		group(&cobra.Command{Use: "schedule", Short: "Have backups and snapshots made again and again"}, a.scheduleCommands()...),
		group(&cobra.Command{Use: "retention", Short: "See which points schedules keep"}, a.retentionPreview()),
		group(&cobra.Command{Use: "upgrade", Short: "Bring work to rest before an upgrade, and let it go on after"}, a.upgradeCommands()...),
		group(&cobra.Command{Use: "target", Short: "Make targets and look after them"}, a.targetCreate(), a.targetRefresh(), a.targetTest(), a.targetNamespaces(), a.targetRemember(), a.targetLeftovers()),
		group(&cobra.Command{Use: "key", Short: "Make keys for the Secrets in backups"}, a.keyGenerate()),
		a.get(), a.describe(), a.waitFor(), a.delete(), a.cancel(), a.pin(), a.unpin(), a.claim(), a.doctor(), a.uninstall(), a.version(),
	)
	return root
}

// group makes a command that only holds others: help without arguments, an
// error with one that none of them is called.
func group(c *cobra.Command, children ...*cobra.Command) *cobra.Command {
	c.AddCommand(children...)
	c.Args = cobra.ArbitraryArgs
	c.SuggestionsMinimumDistance = 2 // two letters may be wrong
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		hint := ""
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
		}
		return usage(c, "there is no command %q%s", args[0], hint)
	}
	return c
}

// exactly wants as many arguments as there are names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage(c, "%s is missing", strings.Join(names[len(args):], " and "))
		case len(args) > len(names):
			return usage(c, "there is one argument too many: %q", args[len(names)])
		}
		return nil
	}
}

// kindArg reads the first argument of get, describe and delete.
func kindArg(c *cobra.Command, word string, allowed ...string) (kinds.Kind, error) {
	k, ok := kinds.Find(word)
	if !ok || len(allowed) > 0 && !slices.Contains(allowed, k.Word) {
		if len(allowed) == 0 {
			allowed = kinds.Words()
		}
		return kinds.Kind{}, usage(c, "%q is not one of %s", word, strings.Join(allowed, ", "))
	}
	return k, nil
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(a.Out, "hayloft", version.Version)
			return err
		},
	}
}

// usageError is a mistake in the command line.
type usageError struct{ sentence string }

func (e usageError) Error() string { return e.sentence }

func usage(c *cobra.Command, format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...) + fmt.Sprintf(" (see %s --help)", c.CommandPath())}
}

// errFailed means that the backup or restore failed; its cause was printed.
var errFailed = errors.New("failed")
