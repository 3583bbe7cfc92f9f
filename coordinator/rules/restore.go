package rules

import (
	"slices"
	"strings"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

// RestoreFacts is what the rules for a VMRestore look at before its point's
// document was read.
type RestoreFacts struct {
	Restore *v1alpha1.VMRestore
	// Backup is nil when there is no such VMBackup.
	Backup *v1alpha1.VMBackup
	// Target is the point's; nil when there is none of that name. Not looked at
	// for a point of type Snapshot.
	Target *v1alpha1.BackupTarget
	Place  Place
}

// Place is what the cluster has where a restore is to land.
type Place struct {
	// Taken: another's object has the name of spec.newVM or
	// spec.diskClaim.claim.
	Taken bool
	// Replaced is the VM of spec.replace; nil: there is none.
	Replaced *VM
	// Schedule is the VMSchedule that made the point; nil when none did, it is gone,
	// or no VM is replaced.
	Schedule *v1alpha1.VMSchedule
	// SourceLives: the VM that the point was taken of exists.
	SourceLives bool
	// Others are the VMRestores in the restore's namespace; it may be among
	// them.
	Others []v1alpha1.VMRestore
	// Snapshots are names of the VMBackups of type Snapshot in the volumes that
	// the replaced VM has now; looked at only when these are to go.
	Snapshots []string
	// Missing are the objects that spec.storageClasses and spec.networks map
	// to, and that do not exist.
	Missing []Missing
}

// VM is what is known of a VM that is to be replaced.
type VM struct {
	// Leaving: it is being deleted.
	Leaving bool
	// On says in a sentence why it is not off, and what to do; "": it is.
	On string
}

// Missing is an object that a field names and that does not exist.
type Missing struct{ Field, Kind, Name string }

// Restore are the reasons not to begin a restore.
func Restore(f RestoreFacts) []Refusal {
	if r := Point(f.Restore, f.Backup); r != nil {
		return []Refusal{*r}
	}
	out := Way(f.Restore, f.Backup, f.Target)
	spec := f.Restore.Spec
	switch {
	case spec.Replace != nil:
		out = append(out, Replaceable(f.Restore, f.Place.Replaced)...)
		if s := f.Place.Schedule; s != nil && s.DeletionTimestamp.IsZero() && !s.Spec.Suspend {
			out = append(out, refusal(Refused, "spec.replace.vm: VMSchedule %s, which made VMBackup %s, goes on taking points of VM %s while that is replaced: suspend it (hayloft schedule suspend %s) until the restore is done, or restore to a new VM with spec.newVM", s.Name, f.Backup.Name, spec.Replace.VM, s.Name))
		}
		if f.Backup.Spec.Type != v1alpha1.TypeSnapshot && f.Place.Replaced != nil {
			out = append(out, TakenAlong(f.Restore, f.Place.Snapshots, f.Place.Snapshots)...)
		}
	case spec.DiskClaim != nil:
		out = append(out, diskClaim(f)...)
	case f.Place.Taken:
		out = append(out, Taken("VirtualMachine", spec.NewVM, f.Restore.Namespace, "choose another name in spec.newVM"))
	}
	if name := rival(f.Restore, f.Place.Others); name != "" {
		out = append(out, Rival(f.Restore, name))
	}
	if spec.KeepMACAddresses && f.Place.SourceLives {
		out = append(out, refusal(Refused, "spec.keepMACAddresses: source VM %s/%s still exists, and two VMs would answer to one address: delete it, or leave keepMACAddresses out", f.Backup.Namespace, f.Backup.Spec.VM))
	}
	for _, m := range f.Place.Missing {
		out = append(out, refusal(Refused, "%s: there is no %s %s: create it, or name another", m.Field, m.Kind, m.Name))
	}
	return out
}

// Point is the reason not to read a point, nil if there is none.
func Point(s *v1alpha1.VMRestore, b *v1alpha1.VMBackup) *Refusal {
	var r Refusal
	switch {
	case b == nil:
		r = refusal(BackupNotFound, "there is no VMBackup %q in namespace %s (spec.backup): name one that exists", s.Spec.Backup, status.PointOf(s).Namespace)
	case !b.DeletionTimestamp.IsZero():
		r = refusal(BackupDeleting, "VMBackup %s (spec.backup) is being deleted: choose another", b.Name)
	case b.Status.Phase != v1alpha1.BackupReady:
		r = refusal(BackupNotReady, "VMBackup %s (spec.backup) is %s, not Ready: only a whole point can be restored, so choose another or wait for it", b.Name, phaseOf(b))
	default:
		return nil
	}
	return &r
}

// Way are the reasons why a point cannot be restored in the way that is asked
// for, whatever the cluster is like; t is the point's target, nil if it is gone.
func Way(s *v1alpha1.VMRestore, b *v1alpha1.VMBackup, t *v1alpha1.BackupTarget) []Refusal {
	var out []Refusal
	snapshot, r := b.Spec.Type == v1alpha1.TypeSnapshot, s.Spec.Replace
	if !snapshot && t == nil {
		out = append(out, refusal(TargetNotFound, "BackupTarget %q of VMBackup %s (spec.backup) does not exist: create it again", b.Spec.Target, b.Name))
	}
	if snapshot && s.Namespace != b.Namespace {
		out = append(out, refusal(Refused, "spec.backupNamespace: VMBackup %s is of type Snapshot, which can be restored in its own namespace %s only: restore it there, or restore one of type Backup", b.Name, b.Namespace))
	}
	if r != nil && b.Spec.VM != r.VM {
		out = append(out, refusal(Refused, "spec.replace.vm is %q, but VMBackup %s is of VM %q: name that one, or restore to a new VM with spec.newVM", r.VM, b.Name, b.Spec.VM))
	}
	if r != nil && snapshot && r.Volumes == v1alpha1.VolumesDelete {
		out = append(out, refusal(Refused, "spec.replace.volumes is Delete, but VMBackup %s is of type Snapshot and lives in those very volumes: use Retain", b.Name))
	}
	return out
}

// Replaceable are the reasons why a VM cannot be replaced now; nil: there is
// none of that name.
func Replaceable(s *v1alpha1.VMRestore, vm *VM) []Refusal {
	name := s.Spec.Replace.VM
	switch {
	case vm == nil:
		return []Refusal{refusal(Refused, "there is no VirtualMachine %q in namespace %s (spec.replace.vm): restore to a new VM with spec.newVM", name, s.Namespace)}
	case vm.Leaving:
		return []Refusal{refusal(Refused, "VirtualMachine %s (spec.replace.vm) is being deleted: wait until it is gone, and restore to a new VM with spec.newVM", name)}
	case vm.On != "":
		return []Refusal{{Reason: Refused, Sentence: vm.On}}
	}
	return nil
}

// TakenAlong refuses to take points of type Snapshot along with a replaced VM's
// volumes that were not named, and names that are none of those. going are those
// in the volumes, known those that may be named.
func TakenAlong(s *v1alpha1.VMRestore, going, known []string) []Refusal {
	r := s.Spec.Replace
	if r.Volumes != v1alpha1.VolumesDelete {
		return nil
	}
	var unnamed []string
	for _, name := range going {
		if !slices.Contains(r.DeleteSnapshots, name) {
			unnamed = append(unnamed, name)
		}
	}
	if len(unnamed) > 0 {
		slices.Sort(unnamed)
		return []Refusal{refusal(Refused, "spec.replace.volumes is Delete, but VMBackups %s of type Snapshot live in those volumes and would go with them: name them in spec.replace.deleteSnapshots, or use Retain", strings.Join(unnamed, ", "))}
	}
	for _, name := range r.DeleteSnapshots {
		if !slices.Contains(known, name) {
			return []Refusal{refusal(Refused, "spec.replace.deleteSnapshots names %q, which is no VMBackup of type Snapshot in the volumes of VM %s: remove it", name, r.VM)}
		}
	}
	return nil
}

// Rival refuses a restore beside another one, of that name, which makes the same.
func Rival(s *v1alpha1.VMRestore, name string) Refusal {
	field, value := makes(s)
	return refusal(Refused, "VMRestore %s is restoring into %s already: wait for its end, or name another in %s", name, value, field)
}

func diskClaim(f RestoreFacts) []Refusal {
	var out []Refusal
	spec := f.Restore.Spec.DiskClaim
	var disks []string
	for _, d := range f.Backup.Status.Disks {
		disks = append(disks, d.Name)
	}
	if !slices.Contains(disks, spec.Disk) {
		out = append(out, refusal(Refused, "spec.diskClaim.disk: VMBackup %s has no disk %q: choose one of %s", f.Backup.Name, spec.Disk, strings.Join(disks, ", ")))
	}
	if f.Place.Taken {
		out = append(out, Taken("PersistentVolumeClaim", spec.Claim, f.Restore.Namespace, "choose another name in spec.diskClaim.claim"))
	}
	return out
}

// makes is the field that says what a restore makes, and what that is.
func makes(s *v1alpha1.VMRestore) (field, value string) {
	switch {
	case s.Spec.Replace != nil:
		return "spec.replace.vm", "VM " + s.Spec.Replace.VM
	case s.Spec.DiskClaim != nil:
		return "spec.diskClaim.claim", "claim " + s.Spec.DiskClaim.Claim
	}
	return "spec.newVM", "VM " + s.Spec.NewVM
}

// rival is another restore that makes the same thing and comes first. Of two
// that have not begun, one comes first in the eyes of both.
func rival(s *v1alpha1.VMRestore, others []v1alpha1.VMRestore) string {
	_, mine := makes(s)
	for i := range others {
		o := &others[i]
		_, theirs := makes(o)
		if o.Name == s.Name || theirs != mine || status.RestoreEnded(o) || failed(o) {
			continue
		}
		if o.Status.StartedAt != nil && s.Status.StartedAt == nil || o.Status.StartedAt == nil && before(o, s) {
			return o.Name
		}
	}
	return ""
}

// failed: it only cleans up, and makes nothing any more.
func failed(s *v1alpha1.VMRestore) bool { return s.Status.CompletedAt != nil }

// before: a was created before b; what is being created now comes last. At
// admission that has a UID and a time already, but no version.
func before(a, b *v1alpha1.VMRestore) bool {
	if b.UID == "" || a.UID == "" {
		return b.UID == ""
	}
	if created := b.ResourceVersion != ""; created != (a.ResourceVersion != "") {
		return !created
	}
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}

// Taken refuses a name that another's object has.
func Taken(kind, name, namespace, advice string) Refusal {
	return refusal(NameTaken, "%s %s exists already in namespace %s: %s", kind, name, namespace, advice)
}

// Strange refuses a VM of a found point that would refer to an object which it does
// not hold, and which is here by that name.
func Strange(kind, name, namespace string) Refusal {
	return refusal(Refused, "the VM refers to %s %s, which the point does not hold, and %s has one of that name: the point was found on a target, so it is not given to its VM; restore to another name, or make it after the restore", kind, name, namespace)
}

// Absent refuses what needs an object that does not exist.
func Absent(kind, name string) Refusal {
	return refusal(Refused, "%s %s, which the VM needs, does not exist here: create it first", kind, name)
}

// Devices refuses an instance type that gives a found point's VM devices of the nodes.
func Devices(kind, name string, devices []string) Refusal {
	return refusal(Refused, "%s %s, which the VM names, gives it devices of the nodes (%s), and the point was found on a target: set spec.allow to HostDevices if it may have them", kind, name, few(devices))
}

// MappedClass refuses a StorageClass, mapped to by hand, whose volumes would not
// be like those that a restore makes.
func MappedClass(name, provisioner string, parameters map[string]string) []Refusal {
	switch {
	case provisioner != Driver:
		return []Refusal{refusal(Refused, "StorageClass %s (spec.storageClasses) is of %s, not of Longhorn (%s): choose another", name, provisioner, Driver)}
	case parameters["encrypted"] == "true":
		return []Refusal{refusal(Refused, "StorageClass %s (spec.storageClasses) encrypts its volumes, which cannot be restored into yet: choose another", name)}
	case parameters["dataEngine"] == string(longhorn.DataEngineTypeV2):
		return []Refusal{refusal(Refused, "StorageClass %s (spec.storageClasses) has data engine v2, of which Hayloft can restore nothing: choose another", name)}
	}
	return nil
}

// Images refuses a disk whose backing image is not exactly the one it was
// written over: a backup of it holds only the difference.
func Images(list []Image) []Refusal {
	var out []Refusal
	for _, i := range list {
		switch {
		case !i.Here:
			if _, r := Recreate(i); r != nil {
				out = append(out, *r)
			}
		case i.Found != i.Checksum:
			out = append(out, refusal(Refused, "backing image %s of disk %s has checksum %s here, but the backup was made over one with %s: the disk would be garbage, so import the right image", i.Name, i.Disk, orNone(i.Found), i.Checksum))
		}
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none (yet)"
	}
	return s
}
