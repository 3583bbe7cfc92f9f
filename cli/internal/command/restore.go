package command

import (
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/pkg/api/v1alpha1"
)

func (a *app) restoreCreate() *cobra.Command {
	var o creator
	var spec v1alpha1.VMRestoreSpec
	c := &cobra.Command{
		Use:               "create BACKUP --new-vm NAME",
		Short:             "Restore a backup as a new virtual machine",
		Args:              exactly("the backup's name"),
		ValidArgsFunction: a.completeNames("backup"),
		Example: `  hayloft restore create web-20261123-041500 --new-vm web2 --wait
  hayloft restore create web-20261123-041500 --new-vm web --keep-mac --halt`,
	}
	c.Flags().StringVar(&spec.NewVM, "new-vm", "", "name of the VM to make; it must be free")
	c.Flags().BoolVar(&spec.KeepMACAddresses, "keep-mac", false, "give the new VM the source's MAC addresses; refused while the source exists")
	c.Flags().BoolVar(&spec.HaltAfterRestore, "halt", false, "leave the new VM stopped")
	o.bind(c, "restore")
	c.RunE = func(c *cobra.Command, args []string) error {
		spec.Backup = args[0]
		if err := checkName(c, "the name of a backup", spec.Backup); err != nil {
			return err
		}
		if spec.NewVM == "" {
			return usage(c, "--new-vm is missing: name the VM to make")
		}
		if err := checkLabel(c, "the name of a VM", spec.NewVM); err != nil {
			return err
		}
		if err := o.check(c, "restore"); err != nil {
			return err
		}
		cluster, err := a.flags.Open(a.Err)
		if err != nil {
			return err
		}
		r := &v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace}, Spec: spec}
		if err := a.create(c.Context(), cluster, &o, spec.NewVM, r); err != nil {
			return err
		}
		k, _ := kinds.Find("restore")
		return a.created(c.Context(), cluster, k, &o, r)
	}
	return c
}
