package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
)

// restoring are the facts of a restore to a new VM with which nothing is wrong.
func restoring(changes ...func(*RestoreFacts)) RestoreFacts {
	f := RestoreFacts{
		Restore: &v1alpha1.VMRestore{
			ObjectMeta: metav1.ObjectMeta{Name: "r", Namespace: "ns"},
			Spec:       v1alpha1.VMRestoreSpec{Backup: "p", NewVM: "web2"},
		},
		Backup: &v1alpha1.VMBackup{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "p-uid"},
			Spec:       v1alpha1.VMBackupSpec{VM: "web", Type: v1alpha1.TypeBackup, Target: "s3"},
			Status:     v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupReady, Disks: []v1alpha1.BackupDisk{{Name: "root"}, {Name: "data"}}},
		},
		Target: &v1alpha1.BackupTarget{},
	}
	for _, change := range changes {
		change(&f)
	}
	return f
}

// replacing is restoring in the place of the stopped VM.
func replacing(f *RestoreFacts) {
	f.Restore.Spec.NewVM, f.Restore.Spec.Replace = "", &v1alpha1.Replace{VM: "web", Volumes: v1alpha1.VolumesRetain}
	f.Place.Replaced = &VM{}
}

func removing(f *RestoreFacts) {
	replacing(f)
	f.Restore.Spec.Replace.Volumes = v1alpha1.VolumesDelete
}

func snapshot(f *RestoreFacts) {
	f.Backup.Spec.Type, f.Backup.Spec.Target, f.Target = v1alpha1.TypeSnapshot, "", nil
}

// madeBy has the point made by a schedule.
func madeBy(change func(*v1alpha1.VMSchedule)) func(*RestoreFacts) {
	return func(f *RestoreFacts) {
		f.Place.Schedule = &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Name: "nightly"}}
		change(f.Place.Schedule)
	}
}

func oneDisk(f *RestoreFacts) {
	f.Restore.Spec.NewVM, f.Restore.Spec.DiskClaim = "", &v1alpha1.DiskClaim{Disk: "data", Claim: "c"}
}

func TestRestore(t *testing.T) {
	for name, c := range map[string]struct {
		facts RestoreFacts
		want  []Refusal
	}{
		"new VM":                             {facts: restoring()},
		"new VM of a snapshot":               {facts: restoring(snapshot)},
		"replace":                            {facts: restoring(replacing)},
		"replace, its schedule is suspended": {facts: restoring(replacing, madeBy(func(s *v1alpha1.VMSchedule) { s.Spec.Suspend = true }))},
		"replace, its schedule goes":         {facts: restoring(replacing, madeBy(func(s *v1alpha1.VMSchedule) { s.DeletionTimestamp = gone() }))},
		"replace, its schedule runs": {
			facts: restoring(replacing, madeBy(func(*v1alpha1.VMSchedule) {})),
			want:  []Refusal{{Refused, "spec.replace.vm: VMSchedule nightly, which made VMBackup p, goes on taking points of VM web while that is replaced: suspend it (hayloft schedule suspend nightly) until the restore is done, or restore to a new VM with spec.newVM"}},
		},
		"replace and remove":          {facts: restoring(removing)},
		"replace by a snapshot":       {facts: restoring(snapshot, replacing)},
		"one disk":                    {facts: restoring(oneDisk)},
		"point in another namespace":  {facts: restoring(func(f *RestoreFacts) { f.Restore.Spec.BackupNamespace, f.Backup.Namespace = "other", "other" })},
		"MAC addresses of a lost VM":  {facts: restoring(func(f *RestoreFacts) { f.Restore.Spec.KeepMACAddresses = true })},
		"new ones while source lives": {facts: restoring(func(f *RestoreFacts) { f.Place.SourceLives = true })},

		"no point": {
			facts: restoring(func(f *RestoreFacts) { f.Backup = nil }),
			want:  []Refusal{{BackupNotFound, `there is no VMBackup "p" in namespace ns (spec.backup): name one that exists`}},
		},
		"no point in another namespace": {
			facts: restoring(func(f *RestoreFacts) { f.Backup, f.Restore.Spec.BackupNamespace = nil, "other" }),
			want:  []Refusal{{BackupNotFound, `there is no VMBackup "p" in namespace other (spec.backup): name one that exists`}},
		},
		"point going": {
			facts: restoring(func(f *RestoreFacts) { f.Backup.DeletionTimestamp = gone() }),
			want:  []Refusal{{BackupDeleting, "VMBackup p (spec.backup) is being deleted: choose another"}},
		},
		"point not begun": {
			facts: restoring(func(f *RestoreFacts) { f.Backup.Status.Phase = "" }),
			want:  []Refusal{{BackupNotReady, "VMBackup p (spec.backup) is Pending, not Ready: only a whole point can be restored, so choose another or wait for it"}},
		},
		"point lost": {
			facts: restoring(snapshot, func(f *RestoreFacts) { f.Backup.Status.Phase = v1alpha1.BackupDataLost }),
			want:  []Refusal{{BackupNotReady, "VMBackup p (spec.backup) is DataLost, not Ready: only a whole point can be restored, so choose another or wait for it"}},
		},
		"target gone": {
			facts: restoring(func(f *RestoreFacts) { f.Target = nil }),
			want:  []Refusal{{TargetNotFound, `BackupTarget "s3" of VMBackup p (spec.backup) does not exist: create it again`}},
		},
		"snapshot across namespaces": {
			facts: restoring(snapshot, func(f *RestoreFacts) { f.Restore.Spec.BackupNamespace, f.Backup.Namespace = "other", "other" }),
			want:  []Refusal{{Refused, "spec.backupNamespace: VMBackup p is of type Snapshot, which can be restored in its own namespace other only: restore it there, or restore one of type Backup"}},
		},
		"snapshot whose volumes would go": {
			facts: restoring(snapshot, removing),
			want:  []Refusal{{Refused, "spec.replace.volumes is Delete, but VMBackup p is of type Snapshot and lives in those very volumes: use Retain"}},
		},
		"name of the new VM taken": {
			facts: restoring(func(f *RestoreFacts) { f.Place.Taken = true }),
			want:  []Refusal{{NameTaken, "VirtualMachine web2 exists already in namespace ns: choose another name in spec.newVM"}},
		},
		"replaced VM missing": {
			facts: restoring(replacing, func(f *RestoreFacts) { f.Place.Replaced = nil }),
			want:  []Refusal{{Refused, `there is no VirtualMachine "web" in namespace ns (spec.replace.vm): restore to a new VM with spec.newVM`}},
		},
		"replaced VM runs": {
			facts: restoring(replacing, func(f *RestoreFacts) { f.Place.Replaced.On = "VirtualMachine web is running: stop it" }),
			want:  []Refusal{{Refused, "VirtualMachine web is running: stop it"}},
		},
		"replaced VM goes": {
			facts: restoring(replacing, func(f *RestoreFacts) { f.Place.Replaced.Leaving = true }),
			want:  []Refusal{{Refused, "VirtualMachine web (spec.replace.vm) is being deleted: wait until it is gone, and restore to a new VM with spec.newVM"}},
		},
		"another VM's point": {
			facts: restoring(replacing, func(f *RestoreFacts) { f.Restore.Spec.Replace.VM = "db" }),
			want:  []Refusal{{Refused, `spec.replace.vm is "db", but VMBackup p is of VM "web": name that one, or restore to a new VM with spec.newVM`}},
		},
		"snapshots would go along": {
			facts: restoring(removing, func(f *RestoreFacts) {
				f.Place.Snapshots = []string{"s2", "s1", "s3"}
				f.Restore.Spec.Replace.DeleteSnapshots = []string{"s3"}
			}),
			want: []Refusal{{Refused, "spec.replace.volumes is Delete, but VMBackups s1, s2 of type Snapshot live in those volumes and would go with them: name them in spec.replace.deleteSnapshots, or use Retain"}},
		},
		"snapshots that may go": {
			facts: restoring(removing, func(f *RestoreFacts) {
				f.Place.Snapshots, f.Restore.Spec.Replace.DeleteSnapshots = []string{"s1"}, []string{"s1"}
			}),
		},
		"snapshots that are none": {
			facts: restoring(removing, func(f *RestoreFacts) {
				f.Place.Snapshots, f.Restore.Spec.Replace.DeleteSnapshots = []string{"s1"}, []string{"s1", "s2"}
			}),
			want: []Refusal{{Refused, `spec.replace.deleteSnapshots names "s2", which is no VMBackup of type Snapshot in the volumes of VM web: remove it`}},
		},
		"disk that the point lacks": {
			facts: restoring(oneDisk, func(f *RestoreFacts) { f.Restore.Spec.DiskClaim.Disk = "dta" }),
			want:  []Refusal{{Refused, `spec.diskClaim.disk: VMBackup p has no disk "dta": choose one of root, data`}},
		},
		"claim's name taken": {
			facts: restoring(oneDisk, func(f *RestoreFacts) { f.Place.Taken = true }),
			want:  []Refusal{{NameTaken, "PersistentVolumeClaim c exists already in namespace ns: choose another name in spec.diskClaim.claim"}},
		},
		"MAC addresses of a living VM": {
			facts: restoring(func(f *RestoreFacts) { f.Restore.Spec.KeepMACAddresses, f.Place.SourceLives = true, true }),
			want:  []Refusal{{Refused, "spec.keepMACAddresses: source VM ns/web still exists, and two VMs would answer to one address: delete it, or leave keepMACAddresses out"}},
		},
		"mapped to nothing": {
			facts: restoring(func(f *RestoreFacts) {
				f.Place.Missing = []Missing{{"spec.networks[a/b]", "NetworkAttachmentDefinition", "ns/vlan7"}}
			}),
			want: []Refusal{{Refused, "spec.networks[a/b]: there is no NetworkAttachmentDefinition ns/vlan7: create it, or name another"}},
		},
		"all reasons are told": {
			facts: restoring(func(f *RestoreFacts) { f.Target, f.Place.Taken = nil, true }),
			want: []Refusal{
				{TargetNotFound, `BackupTarget "s3" of VMBackup p (spec.backup) does not exist: create it again`},
				{NameTaken, "VirtualMachine web2 exists already in namespace ns: choose another name in spec.newVM"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, Restore(c.facts)) })
	}
}

// TestRivals: of restores that make the same thing one goes on and the others
// are refused, however they came.
func TestRivals(t *testing.T) {
	at := func(seconds int64) metav1.Time { return metav1.NewTime(time.Unix(seconds, 0)) }
	other := func(change func(*v1alpha1.VMRestore)) v1alpha1.VMRestore {
		o := v1alpha1.VMRestore{
			ObjectMeta: metav1.ObjectMeta{Name: "o", Namespace: "ns", UID: "b", CreationTimestamp: at(10)},
			Spec:       v1alpha1.VMRestoreSpec{Backup: "p", NewVM: "web2"},
		}
		change(&o)
		return o
	}
	planned := func(uid types.UID, created int64) func(*RestoreFacts) {
		return func(f *RestoreFacts) { f.Restore.UID, f.Restore.CreationTimestamp = uid, at(created) }
	}
	now := at(20)
	for name, c := range map[string]struct {
		mine   func(*RestoreFacts)
		other  v1alpha1.VMRestore
		refuse bool
	}{
		"being created":               {mine: func(*RestoreFacts) {}, other: other(func(*v1alpha1.VMRestore) {}), refuse: true},
		"being created again":         {mine: func(f *RestoreFacts) { f.Restore.Name = "o" }, other: other(func(*v1alpha1.VMRestore) {})},
		"another VM":                  {mine: func(*RestoreFacts) {}, other: other(func(o *v1alpha1.VMRestore) { o.Spec.NewVM = "web3" })},
		"replaces the VM of the name": {mine: func(*RestoreFacts) {}, other: other(func(o *v1alpha1.VMRestore) { o.Spec.NewVM, o.Spec.Replace = "", &v1alpha1.Replace{VM: "web2"} }), refuse: true},
		"makes a claim of the name":   {mine: func(*RestoreFacts) {}, other: other(func(o *v1alpha1.VMRestore) { o.Spec.NewVM, o.Spec.DiskClaim = "", &v1alpha1.DiskClaim{Claim: "web2"} })},
		"ended well":                  {mine: func(*RestoreFacts) {}, other: other(func(o *v1alpha1.VMRestore) { o.Status.Phase = v1alpha1.RestoreReady })},
		"ended badly":                 {mine: func(*RestoreFacts) {}, other: other(func(o *v1alpha1.VMRestore) { o.Status.Phase = v1alpha1.RestoreFailed })},
		"cleans up":                   {mine: func(*RestoreFacts) {}, other: other(func(o *v1alpha1.VMRestore) { o.Status.CompletedAt = &now })},
		"mine is older":               {mine: planned("z", 9), other: other(func(*v1alpha1.VMRestore) {})},
		"mine is younger":             {mine: planned("a", 11), other: other(func(*v1alpha1.VMRestore) {}), refuse: true},
		"same second, mine first":     {mine: planned("a", 10), other: other(func(*v1alpha1.VMRestore) {})},
		"same second, mine second":    {mine: planned("c", 10), other: other(func(*v1alpha1.VMRestore) {}), refuse: true},
		"same second, at admission":   {mine: planned("a", 10), other: other(func(o *v1alpha1.VMRestore) { o.ResourceVersion = "7" }), refuse: true},
		"older, but it has begun":     {mine: planned("a", 9), other: other(func(o *v1alpha1.VMRestore) { o.Status.StartedAt = &now }), refuse: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := restoring(c.mine, func(f *RestoreFacts) { f.Place.Others = []v1alpha1.VMRestore{c.other} })
			got := Restore(f)
			if !c.refuse {
				require.Empty(t, got)
				return
			}
			require.Equal(t, []Refusal{{Refused, "VMRestore o is restoring into VM web2 already: wait for its end, or name another in spec.newVM"}}, got)
		})
	}
}

func TestImages(t *testing.T) {
	require.Empty(t, Images([]Image{{Disk: "root", Name: "os", Checksum: "1", Here: true, Found: "1"}}))
	require.Equal(t, []Refusal{
		{Refused, "disk root needs Longhorn's backing image os with checksum 1, which does not exist here, and this cluster has no VirtualMachineImages of Harvester's to make it again by: import it first"},
		{Refused, "backing image os of disk data has checksum none (yet) here, but the backup was made over one with 1: the disk would be garbage, so import the right image"},
	}, Images([]Image{{Disk: "root", Name: "os", Checksum: "1"}, {Disk: "data", Name: "os", Checksum: "1", Here: true}}))
}

func TestMappedClass(t *testing.T) {
	require.Empty(t, MappedClass("fast", "driver.longhorn.io", map[string]string{"numberOfReplicas": "1"}))
	for want, c := range map[string]struct {
		provisioner string
		parameters  map[string]string
	}{
		"StorageClass fast (spec.storageClasses) is of ebs.csi.aws.com, not of Longhorn (driver.longhorn.io): choose another": {"ebs.csi.aws.com", nil},
		"StorageClass fast (spec.storageClasses) encrypts its volumes, which cannot be restored into yet: choose another":     {Driver, map[string]string{"encrypted": "true"}},
		"StorageClass fast (spec.storageClasses) has data engine v2, of which Hayloft can restore nothing: choose another":    {Driver, map[string]string{"dataEngine": "v2"}},
	} {
		require.Equal(t, []Refusal{{Refused, want}}, MappedClass("fast", c.provisioner, c.parameters))
	}
}
