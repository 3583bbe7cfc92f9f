package command

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
	"hayloft.dev/pkg/words"
)

// targetNamespaces makes the namespaces that points on a target wait for.
func (a *app) targetNamespaces() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "namespaces NAME [NAMESPACE... | --all]",
		Short: "Show the namespaces that backups on a target wait for, and make them",
		Long: `A backup on a target appears in the namespace that it was taken in. Where that does
not exist here it waits. This shows those namespaces, and why; the ones that are named,
or with --all those that only need to be made, are created, with your own rights, and
the target is looked through. What a target names, whoever may write to it can have
made up: look before you use --all.`,
		Example: `  hayloft target namespaces s3
  hayloft target namespaces s3 shop`,
		ValidArgsFunction: a.completeNames("target"),
	}
	c.Flags().BoolVar(&all, "all", false, "make every namespace that is shown and only needs to be made")
	c.Args = func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usage(c, "the target's name is missing")
		case all && len(args) > 1:
			return usage(c, "name the namespaces, or say --all")
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		var t v1alpha1.BackupTarget
		if err := cluster.Client.Get(c.Context(), client.ObjectKey{Name: args[0]}, &t); err != nil {
			return fmt.Errorf("reading target %s: %w", args[0], err)
		}
		var waiting []v1alpha1.WaitingNamespace
		if t.Status.Refresh != nil {
			waiting = t.Status.Refresh.Waiting
		}
		if !all && len(args) == 1 {
			return a.showWaiting(t.Name, waiting)
		}
		names, err := toMake(t.Name, waiting, args[1:])
		if err != nil {
			return err
		}
		return a.makeNamespaces(c.Context(), cluster, t.Name, names)
	}
	return c
}

func (a *app) showWaiting(target string, waiting []v1alpha1.WaitingNamespace) error {
	if len(waiting) == 0 {
		_, err := fmt.Fprintln(a.Err, "no backup on target "+target+" waits for a namespace")
		return err
	}
	for _, w := range waiting {
		if _, err := fmt.Fprintf(a.Out, "%s\t%s\t%s\n", w.Namespace, words.Count(int(w.Points), "backup"), w.Message); err != nil {
			return err
		}
	}
	return nil
}

// toMake are the namespaces that can be made of those that are named, or of all. One
// that is named and cannot be is refused, with the reason why its points wait.
func toMake(target string, waiting []v1alpha1.WaitingNamespace, named []string) (names []string, err error) {
	for _, w := range waiting {
		switch {
		case len(named) > 0 && !slices.Contains(named, w.Namespace):
		case w.Message == v1alpha1.NoSuchNamespace:
			names = append(names, w.Namespace)
		case len(named) > 0:
			return nil, fmt.Errorf("namespace %s is not made: %s", w.Namespace, w.Message)
		}
	}
	for _, name := range named {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("no backup on target %s is known to wait for namespace %s: see hayloft target namespaces %s", target, name, target)
		}
	}
	return names, nil
}

// makeNamespaces makes them as the user, and has the target looked through.
func (a *app) makeNamespaces(ctx context.Context, cluster *kube.Cluster, target string, names []string) error {
	for _, name := range names {
		err := cluster.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		became := "created"
		switch {
		case apierrors.IsAlreadyExists(err):
			became = "exists already"
		case err != nil:
			return fmt.Errorf("making namespace %s: %w", name, err)
		}
		if _, err := fmt.Fprintf(a.Out, "namespace/%s %s\n", name, became); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		_, err := fmt.Fprintln(a.Err, "there is no namespace to make")
		return err
	}
	if _, err := ask.Target(ctx, cluster.Client, target, ask.Refresh(ask.Word(a.Now()))); err != nil {
		return err
	}
	k, _ := kinds.Find("target")
	_, err := fmt.Fprintf(a.Err, "%s refresh requested: the backups appear with the next look through it\n", k.Named(target))
	return err
}
