package command

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/pkg/api/v1alpha1"
)

func (a *app) backupCreate() *cobra.Command {
	var o creator
	var point pointOptions
	var target, policy string
	c := &cobra.Command{
		Use:               "create VM [--target TARGET]",
		Short:             "Back up a virtual machine, running or stopped",
		Args:              exactly("the VM's name"),
		ValidArgsFunction: cobra.NoFileCompletions,
		Example: `  hayloft backup create web --target s3
  hayloft backup create web --target s3 --wait --timeout 1h
  hayloft backup create web --target s3 --exclude scratch --quiesce required`,
	}
	c.Flags().StringVarP(&target, "target", "t", "", "BackupTarget to write to, see hayloft get targets (default the one with spec.default)")
	c.Flags().StringVar(&policy, "deletion-policy", string(v1alpha1.DeletionDelete), "what deleting the backup does to its data: Delete or Retain")
	point.bind(c)
	o.bind(c, "backup")
	// The only error is that there is no such flag.
	_ = c.RegisterFlagCompletionFunc("target", a.completeNames("target"))
	c.RunE = func(c *cobra.Command, args []string) error {
		vm := args[0]
		if err := checkName(c, "the name of a VM", vm); err != nil {
			return err
		}
		keep, err := deletionPolicy(c, policy)
		if err != nil {
			return err
		}
		if err := o.check(c, "backup"); err != nil {
			return err
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		b := &v1alpha1.VMBackup{
			ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace},
			Spec:       v1alpha1.VMBackupSpec{VM: vm, Target: target, DeletionPolicy: keep},
		}
		if err := point.apply(c, &b.Spec); err != nil {
			return err
		}
		if err := a.create(c.Context(), cluster, &o, vm, b); err != nil {
			return err
		}
		k, _ := kinds.Find("backup")
		return a.created(c.Context(), cluster, k, &o, b)
	}
	return c
}

// deletionPolicy accepts any case.
func deletionPolicy(c *cobra.Command, s string) (v1alpha1.DeletionPolicy, error) {
	all := []v1alpha1.DeletionPolicy{v1alpha1.DeletionDelete, v1alpha1.DeletionRetain}
	i := slices.IndexFunc(all, func(p v1alpha1.DeletionPolicy) bool { return strings.EqualFold(string(p), s) })
	if i < 0 {
		return "", usage(c, "--deletion-policy %q is not one of Delete, Retain", s)
	}
	return all[i], nil
}
