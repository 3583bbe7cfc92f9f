package command

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/pkg/api/v1alpha1"
)

// restoreFlags are what a user can say about a restore besides its name.
type restoreFlags struct {
	spec            v1alpha1.VMRestoreSpec
	replace         string
	volumes         string
	deleteSnapshots []string
	disk, claim     string
	allow           []string
	images          string
}

func (a *app) restoreCreate() *cobra.Command {
	var o creator
	var f restoreFlags
	c := &cobra.Command{
		Use:   "create BACKUP (--new-vm NAME | --replace VM | --disk DISK --claim NAME)",
		Short: "Restore a backup: as a new VM, in place of a VM, or one disk of it",
		Long: `Restore a backup as a new virtual machine, in place of one that is switched off, or one of its disks as a claim.

A VM that is replaced keeps its identity and its MAC addresses. Its former volumes are retained as claims labelled
hayloft.dev/former-vm, or, with --volumes delete, deleted once the restored VM is ready.`,
		Args:              exactly("the backup's name"),
		ValidArgsFunction: a.completeNames("backup"),
		Example: `  hayloft restore create web-20261123-041500 --new-vm web2 --wait
  hayloft restore create web-20261123-041500 --new-vm web --keep-mac --halt
  hayloft restore create web-20261123-041500 --replace web --volumes delete
  hayloft restore create web-20261123-041500 --from-namespace shop --new-vm web --storage-class fast=longhorn --network shop/vlan7=lab/vlan7
  hayloft restore create web-20261123-041500 --disk root --claim rescued`,
	}
	f.bind(c)
	o.bind(c, "restore")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkName(c, "the name of a backup", args[0]); err != nil {
			return err
		}
		spec, base, err := f.restore(c, args[0])
		if err != nil {
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
		if err := a.create(c.Context(), cluster, &o, base, r); err != nil {
			return err
		}
		k, _ := kinds.Find("restore")
		return a.created(c.Context(), cluster, k, &o, r)
	}
	return c
}

func (f *restoreFlags) bind(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.spec.NewVM, "new-vm", "", "name of the VM to make; it must be free")
	flags.StringVar(&f.replace, "replace", "", "name of the VM to replace: the one that was backed up, switched off")
	flags.StringVar(&f.volumes, "volumes", "retain", "with --replace: retain the VM's former volumes, or delete them once the restored VM is ready")
	flags.StringSliceVar(&f.deleteSnapshots, "delete-snapshot", nil, "with --volumes delete: a VMBackup of type Snapshot in the former volumes that may go with them; may be repeated")
	flags.StringVar(&f.disk, "disk", "", "restore only this disk, as the claim named by --claim")
	flags.StringVar(&f.claim, "claim", "", "with --disk: name of the claim to make; it must be free")
	flags.StringVar(&f.spec.BackupNamespace, "from-namespace", "", "namespace of the backup (default that of the restore)")
	flags.StringToStringVar(&f.spec.StorageClasses, "storage-class", nil, "use another StorageClass: THE-BACKUPS=ONE-HERE; may be repeated")
	flags.StringToStringVar(&f.spec.Networks, "network", nil, "use another network: NAMESPACE/NAME-OF-THE-BACKUP=NAMESPACE/NAME-HERE; may be repeated")
	flags.BoolVar(&f.spec.KeepMACAddresses, "keep-mac", false, "give the new VM the source's MAC addresses; refused while the source exists")
	flags.BoolVar(&f.spec.HaltAfterRestore, "halt", false, "leave the VM stopped")
	flags.BoolVar(&f.spec.WithoutSecrets, "without-secrets", false, "restore without the Secrets, for when their identity is lost: you make them before the VM can start")
	flags.StringVar(&f.images, "images", "", "where an image that a disk was made from is missing: recreate has Harvester's made again, fetch also from a URL that only a point found on a target names, require refuses; recreate if you may, unless you say so")
	flags.StringSliceVar(&f.allow, "allow", nil, "keep in the VM of a point that was found on a target what is left out otherwise: HostDevices, ServiceAccounts, PodSettings; may be repeated")
}

// restore makes the spec of the flags; base is what the restore is named after.
func (f *restoreFlags) restore(c *cobra.Command, backup string) (spec v1alpha1.VMRestoreSpec, base string, err error) {
	spec = f.spec
	for _, word := range f.allow {
		spec.Allow = append(spec.Allow, v1alpha1.Allowance(word))
	}
	policy, known := map[string]v1alpha1.ImagePolicy{
		"": "", "recreate": v1alpha1.ImagesRecreate, "fetch": v1alpha1.ImagesFetch, "require": v1alpha1.ImagesRequire,
	}[strings.ToLower(f.images)]
	if !known {
		return spec, "", usage(c, "--images is recreate, fetch or require, not %q", f.images)
	}
	spec.Images = policy
	spec.Backup = backup
	changed := func(name string) bool { return c.Flags().Changed(name) }
	ways := slices.DeleteFunc([]string{"new-vm", "replace", "disk"}, func(name string) bool { return !changed(name) })
	switch {
	case len(ways) == 0:
		return spec, "", usage(c, "say what to make: --new-vm NAME, --replace VM, or --disk DISK --claim NAME")
	case len(ways) > 1:
		return spec, "", usage(c, "--%s do not go together: choose one", strings.Join(ways, " and --"))
	}
	belongs := map[string]string{"volumes": "replace", "delete-snapshot": "replace", "claim": "disk", "keep-mac": "new-vm"}
	for _, name := range slices.Sorted(maps.Keys(belongs)) {
		if changed(name) && ways[0] != belongs[name] {
			return spec, "", usage(c, "--%s goes with --%s only", name, belongs[name])
		}
	}
	if spec.BackupNamespace != "" {
		if err := checkLabel(c, "a namespace", spec.BackupNamespace); err != nil {
			return spec, "", err
		}
	}
	switch ways[0] {
	case "replace":
		if spec.Replace, err = f.replaced(c); err != nil {
			return spec, "", err
		}
		return spec, f.replace, nil
	case "disk":
		if changed("halt") || changed("network") || changed("without-secrets") || changed("allow") {
			return spec, "", usage(c, "--halt, --network, --without-secrets and --allow do not go with --disk, which makes no VM")
		}
		if f.claim == "" {
			return spec, "", usage(c, "--claim is missing: name the claim to make of disk %s", f.disk)
		}
		if err := checkLabel(c, "the name of a disk", f.disk); err != nil {
			return spec, "", err
		}
		if err := checkName(c, "the name of a claim", f.claim); err != nil {
			return spec, "", err
		}
		spec.DiskClaim = &v1alpha1.DiskClaim{Disk: f.disk, Claim: f.claim}
		return spec, f.claim, nil
	}
	return spec, spec.NewVM, checkLabel(c, "the name of a VM", spec.NewVM)
}

func (f *restoreFlags) replaced(c *cobra.Command) (*v1alpha1.Replace, error) {
	if err := checkName(c, "the name of a VM", f.replace); err != nil {
		return nil, err
	}
	r := &v1alpha1.Replace{VM: f.replace, DeleteSnapshots: f.deleteSnapshots}
	for _, p := range []v1alpha1.VolumePolicy{v1alpha1.VolumesRetain, v1alpha1.VolumesDelete} {
		if strings.EqualFold(string(p), f.volumes) {
			r.Volumes = p
		}
	}
	if r.Volumes == "" {
		return nil, usage(c, "--volumes %q is not one of retain, delete", f.volumes)
	}
	if len(r.DeleteSnapshots) > 0 && r.Volumes != v1alpha1.VolumesDelete {
		return nil, usage(c, "--delete-snapshot goes with --volumes delete only")
	}
	return r, nil
}
