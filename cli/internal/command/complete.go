package command

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"hayloft.dev/cli/internal/kinds"
)

// completionTimeout is how long a shell may be held up by a Tab.
const completionTimeout = 3 * time.Second

// completeKinds completes one of words, then names of that kind.
func (a *app) completeKinds(words []string, many bool) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return words, cobra.ShellCompDirectiveNoFileComp
		}
		k, ok := kinds.Find(args[0])
		if !ok || len(args) > 1 && !many {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.names(c.Context(), k), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeNames completes one name of a kind.
func (a *app) completeNames(word string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		k, ok := kinds.Find(word)
		if !ok || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.names(c.Context(), k), cobra.ShellCompDirectiveNoFileComp
	}
}

// names that exist; none when they cannot be had, since a completion has no
// place for an error.
func (a *app) names(ctx context.Context, k kinds.Kind) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	cluster, err := a.flags.Open(io.Discard)
	if err != nil {
		return nil
	}
	found, err := listed(ctx, cluster, k, cluster.NamespaceOf(k))
	if err != nil {
		return nil
	}
	var out []string
	for _, o := range found {
		out = append(out, o.GetName())
	}
	return out
}
