package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/cli/internal/table"
)

func (a *app) get() *cobra.Command {
	var output, selector, vm string
	var all bool
	c := &cobra.Command{
		Use:               "get " + strings.Join(kinds.Words(), "|") + " [NAME...]",
		Short:             "List backups, restores, schedules, targets, quotas or jobs",
		ValidArgsFunction: a.completeKinds(kinds.Words(), true),
		Example: `  hayloft get backups -A
  hayloft get backups --vm web
  hayloft get schedules -l tier=db
  hayloft get restores web2-20261123-050000 -o yaml`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(c, "what to get is missing: one of %s", strings.Join(kinds.Words(), ", "))
			}
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "table", "table, wide, json, yaml or name")
	c.Flags().BoolVarP(&all, "all-namespaces", "A", false, "of all namespaces")
	c.Flags().StringVarP(&selector, "selector", "l", "", "only those with these labels, such as tier=db,env!=test")
	c.Flags().StringVar(&vm, "vm", "", "only those of this VM: backups that were taken of it, restores that make or replace it, schedules that name it or, by its labels, pick it")
	_ = c.RegisterFlagCompletionFunc("vm", a.completeVMs)
	c.RunE = func(c *cobra.Command, args []string) error {
		k, err := kindArg(c, args[0])
		if err != nil {
			return err
		}
		names := args[1:]
		if all && len(names) > 0 {
			return usage(c, "a name and --all-namespaces do not go together")
		}
		only, err := newFilter(c, k, selector, vm)
		if err != nil {
			return err
		}
		if only.any() && len(names) > 0 {
			return usage(c, "a name does not go with --selector and --vm")
		}
		if err := checkOutput(c, output, "table", "wide", "json", "yaml", "name"); err != nil {
			return err
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		namespace := cluster.NamespaceOf(k)
		if all {
			namespace = ""
		}
		var found []client.Object
		if len(names) > 0 {
			found, err = named(c.Context(), cluster, k, namespace, names)
		} else {
			found, err = only.listed(c.Context(), cluster, k, namespace)
		}
		if err != nil {
			return err
		}
		if len(found) == 0 && (output == "table" || output == "wide") {
			where := ""
			if namespace != "" {
				where = " in namespace " + namespace
			}
			_, err := fmt.Fprintf(a.Err, "There are no %ss%s%s.\n", k.Word, only, where)
			return err
		}
		return a.print(k, found, output, all && k.Scope != kinds.Cluster, len(names) == 1)
	}
	return c
}

func named(ctx context.Context, cluster *kube.Cluster, k kinds.Kind, namespace string, names []string) ([]client.Object, error) {
	var out []client.Object
	for _, name := range names {
		o := k.New()
		if err := cluster.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// listed is oldest first.
func listed(ctx context.Context, cluster *kube.Cluster, k kinds.Kind, namespace string, which ...client.ListOption) ([]client.Object, error) {
	l := k.NewList()
	if err := cluster.Client.List(ctx, l, append(which, client.InNamespace(namespace))...); err != nil {
		return nil, err
	}
	var out []client.Object
	err := meta.EachListItem(l, func(o runtime.Object) error {
		out = append(out, o.(client.Object))
		return nil
	})
	slices.SortStableFunc(out, func(x, y client.Object) int {
		if d := x.GetCreationTimestamp().Compare(y.GetCreationTimestamp().Time); d != 0 {
			return d
		}
		return strings.Compare(x.GetNamespace()+"/"+x.GetName(), y.GetNamespace()+"/"+y.GetName())
	})
	return out, err
}

func (a *app) print(k kinds.Kind, found []client.Object, output string, namespaces, single bool) error {
	for _, o := range found {
		o.GetObjectKind().SetGroupVersionKind(k.GVK())
		o.SetManagedFields(nil)
	}
	switch output {
	case "table", "wide":
		return table.Print(a.Out, found, table.Options{Now: a.Now(), Namespaces: namespaces, Wide: output == "wide"})
	case "name":
		for _, o := range found {
			if err := encode(a.Out, output, o, k, o.GetName()); err != nil {
				return err
			}
		}
		return nil
	}
	if single {
		return encode(a.Out, output, found[0], k, found[0].GetName())
	}
	return encode(a.Out, output, listOf(found), k, "")
}
