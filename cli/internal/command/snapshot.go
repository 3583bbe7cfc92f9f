package command

import (
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/pkg/api/v1alpha1"
)

// snapshotCreate makes a VMBackup of type Snapshot.
func (a *app) snapshotCreate() *cobra.Command {
	var o creator
	var point pointOptions
	c := &cobra.Command{
		Use:               "create VM",
		Short:             "Take a snapshot of a virtual machine, running or stopped",
		Long:              "Take a snapshot of a virtual machine. It stays in the VM's own volumes, needs no\ntarget, and goes when the VM is deleted.",
		Args:              exactly("the VM's name"),
		ValidArgsFunction: cobra.NoFileCompletions,
		Example: `  hayloft snapshot create web --wait
  hayloft snapshot create web --quiesce required --note "before the upgrade"`,
	}
	point.bind(c)
	o.bind(c, "snapshot")
	c.RunE = func(c *cobra.Command, args []string) error {
		vm := args[0]
		if err := checkName(c, "the name of a VM", vm); err != nil {
			return err
		}
		if err := o.check(c, "snapshot"); err != nil {
			return err
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		b := &v1alpha1.VMBackup{
			ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace},
			Spec:       v1alpha1.VMBackupSpec{VM: vm, Type: v1alpha1.TypeSnapshot},
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
