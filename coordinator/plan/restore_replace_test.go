package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
)

// former are the claims of VM web as they are recorded.
var former = []v1alpha1.FormerClaim{
	{Disk: "root", Claim: "web-root", UID: "c1", Volume: "v-root"},
	{Disk: "data", Claim: "web-data", UID: "c2", Volume: "v-data"},
}

// toReplace makes a restore one that replaces VM web, which is off.
func toReplace(v *RestoreView) {
	v.Restore.Spec.NewVM = ""
	v.Restore.Spec.Replace = &v1alpha1.Replace{VM: "web", Volumes: v1alpha1.VolumesRetain}
	v.Backup.Spec.VM, v.Backup.Namespace = "web", "ns"
	v.Replaced = &Replaced{UID: "vm", Former: former, Halted: true, Claims: map[string]FormerFact{}}
}

func withDelete(v *RestoreView) { v.Restore.Spec.Replace.Volumes = v1alpha1.VolumesDelete }

func onReplace(change func(*Replaced)) func(*RestoreView) {
	return func(v *RestoreView) { change(v.Replaced) }
}

// swapping has all that the restored VM needs.
func swapping(v *RestoreView) {
	bound(v)
	toReplace(v)
	v.Restore.Status.VMUID, v.Restore.Status.Former = "vm", former
	v.Origin.Rebuilt.VM = &unstructured.Unstructured{Object: map[string]any{}}
}

// swapped has the restored disks on the VM, and that recorded.
func swapped(v *RestoreView) {
	swapping(v)
	v.Replaced.Mine, v.Replaced.Former = true, nil
	for _, f := range former {
		v.Replaced.Claims[f.Claim] = FormerFact{}
	}
	v.Restore.Status = Restore(*v).Status
}

// released has the former claims let go, and the VM halted for good.
func released(v *RestoreView) {
	swapped(v)
	for _, f := range former {
		v.Replaced.Claims[f.Claim] = FormerFact{Free: true}
	}
}

func TestReplaceIsRefused(t *testing.T) {
	snapshot := func(v *RestoreView) { v.Backup.Spec.Type = v1alpha1.TypeSnapshot }
	lives := onReplace(func(r *Replaced) { r.Snapshots = []SnapshotFact{{Name: "s1", Volumes: []string{"v-root"}}} })
	for _, tc := range []struct {
		name   string
		change []func(*RestoreView)
		want   string
	}{
		{"another VM's point", []func(*RestoreView){func(v *RestoreView) { v.Backup.Spec.VM = "db" }}, `spec.replace.vm is "web", but VMBackup p1 is of VM "db"`},
		{"no VM", []func(*RestoreView){func(v *RestoreView) { v.Replaced = nil }}, `there is no VirtualMachine "web" in namespace ns (spec.replace.vm)`},
		{"VM is being deleted", []func(*RestoreView){onReplace(func(r *Replaced) { r.Leaving = true })}, "is being deleted"},
		{"VM runs", []func(*RestoreView){onReplace(func(r *Replaced) { r.On = "it runs" })}, "it runs"},
		{"an earlier restore", []func(*RestoreView){onReplace(func(r *Replaced) { r.Rivals = []Rival{{Name: "r0", First: true}} })}, "VMRestore r0 is restoring into VM web already"},
		{"a later restore that moves data", []func(*RestoreView){onReplace(func(r *Replaced) { r.Rivals = []Rival{{Name: "r2", Moving: true}} })}, "VMRestore r2 is restoring into VM web already"},
		{"snapshot, with delete", []func(*RestoreView){snapshot, withDelete}, "of type Snapshot and lives in those very volumes: use Retain"},
		{"snapshot of another namespace", []func(*RestoreView){snapshot, func(v *RestoreView) {
			v.Backup.Namespace, v.Restore.Spec.BackupNamespace = "farm", "farm"
		}}, "can be restored in its own namespace"},
		{"delete, with a snapshot there", []func(*RestoreView){withDelete, lives}, "VMBackups s1 of type Snapshot live in those volumes and would go with them: name them in spec.replace.deleteSnapshots"},
		{"delete, of a snapshot that is none", []func(*RestoreView){withDelete, func(v *RestoreView) {
			v.Restore.Spec.Replace.DeleteSnapshots = []string{"s2"}
		}}, `spec.replace.deleteSnapshots names "s2", which is no VMBackup of type Snapshot in the volumes of VM web`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := want(inspected, toReplace)
			v.Restore.Status.Disks = nil
			for _, change := range tc.change {
				change(&v)
			}
			in := Restore(v)
			require.Equal(t, ReasonRefused, failure(in.Status.Conditions).Reason)
			require.Contains(t, failure(in.Status.Conditions).Message, tc.want)
			require.Empty(t, in.Create, "no data moves")
		})
	}
}

func TestReplaceRecordsWhatTheVMHas(t *testing.T) {
	named := func(v *RestoreView) {
		withDelete(v)
		v.Restore.Spec.Replace.DeleteSnapshots = []string{"s1"}
		v.Replaced.Snapshots = []SnapshotFact{{Name: "s1", Volumes: []string{"v-root"}}}
		v.Replaced.Rivals = []Rival{{Name: "r2"}} // it began later, and has moved nothing
	}
	in := Restore(want(inspected, toReplace, named))
	require.Nil(t, failure(in.Status.Conditions))
	require.EqualValues(t, "vm", in.Status.VMUID)
	require.Equal(t, former, in.Status.Former)
	require.Len(t, in.Create, 2, "volumes")
}

// While data moves, and until the swap, the VM must stay off.
func TestReplaceIsGivenUpWhenTheVMIsNotWhatItWas(t *testing.T) {
	for _, tc := range []struct {
		name   string
		at     func(*RestoreView)
		change func(*RestoreView)
		want   string
	}{
		{"started while data moves", restoringNow, onReplace(func(r *Replaced) { r.On = "it runs" }), "is as it was: it runs"},
		{"deleted while data moves", restoringNow, func(v *RestoreView) { v.Replaced = nil }, "was deleted meanwhile"},
		{"started before the swap", swapping, onReplace(func(r *Replaced) { r.On = "it runs" }), "is as it was: it runs"},
		{"deleted before the swap", swapping, func(v *RestoreView) { v.Replaced = nil }, "was deleted meanwhile"},
		{"made again before the swap", swapping, onReplace(func(r *Replaced) { r.UID = "other" }), "was deleted meanwhile"},
		{"other disks before the swap", swapping, onReplace(func(r *Replaced) { r.Former = former[:1] }), "the disks of VirtualMachine web were changed meanwhile"},
		{"a rival that began before", swapping, onReplace(func(r *Replaced) { r.Rivals = []Rival{{Name: "r0", First: true}} }), "VMRestore r0"},
		{"a snapshot taken meanwhile", func(v *RestoreView) { swapping(v); withDelete(v) }, onReplace(func(r *Replaced) {
			r.Snapshots = []SnapshotFact{{Name: "s1", Volumes: []string{"v-root"}}}
		}), "VMBackups s1 of type Snapshot"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := want(tc.at)
			if v.Restore.Spec.Replace == nil {
				toReplace(&v)
				v.Restore.Status.VMUID, v.Restore.Status.Former = "vm", former
			}
			tc.change(&v)
			in := Restore(v)
			require.NotNil(t, failure(in.Status.Conditions))
			require.Contains(t, failure(in.Status.Conditions).Message, tc.want)
			require.Nil(t, in.Swap)
			require.True(t, in.Clean, "what was made is removed")
		})
	}
}

func TestSwap(t *testing.T) {
	in := Restore(want(swapping))
	require.Equal(t, &Swap{VM: "vm"}, in.Swap)
	require.Nil(t, in.Status.ReplacedAt, "nobody has seen it yet")

	later := onReplace(func(r *Replaced) { r.Rivals = []Rival{{Name: "r2", Moving: true}} })
	require.NotNil(t, Restore(want(swapping, later)).Swap, "the first of two goes on")

	busy := onReplace(func(r *Replaced) { r.Busy = []string{"p9"} })
	in = Restore(want(swapping, busy))
	require.Nil(t, in.Swap)
	require.Nil(t, failure(in.Status.Conditions))
	require.Contains(t, said(in), "waiting until VMBackup p9 of VM web is done")
	require.NotZero(t, in.After)
}

// Once the VM has the restored disks the restore goes to its end, whatever
// happens and whatever was written meanwhile.
func TestAfterTheSwapThereIsNoWayBack(t *testing.T) {
	mine := onReplace(func(r *Replaced) { r.Mine, r.Strategy = true, "Always" })
	for name, change := range map[string]func(*RestoreView){
		"nothing": func(*RestoreView) {},
		"cancel":  func(v *RestoreView) { v.Restore.Spec.Cancel = true },
		"deletion": func(v *RestoreView) {
			v.Restore.DeletionTimestamp = ago(time.Second)
		},
		"deadline":   func(v *RestoreView) { v.Restore.Status.StartedAt = ago(48 * time.Hour) },
		"started":    onReplace(func(r *Replaced) { r.On = "it runs" }),
		"point gone": func(v *RestoreView) { v.Backup, v.Target, v.Origin = nil, nil, nil },
		"a cause of failure from another leader": func(v *RestoreView) {
			set(&v.Restore.Status.Conditions, now, 0, v1alpha1.ConditionReady, metav1.ConditionFalse, ReasonCancelled, "cancelled")
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := Restore(want(swapping, mine, change))
			require.Equal(t, now, in.Status.ReplacedAt.Time)
			require.Equal(t, "Always", in.Status.RunStrategy)
			require.Nil(t, failure(in.Status.Conditions))
			require.False(t, in.Clean)
			require.False(t, in.DropFinalizer)
			require.Empty(t, in.Release, "first it is recorded")
		})
	}
}

func TestFormerClaimsAreLetGoBeforeTheVMStarts(t *testing.T) {
	strategy := onReplace(func(r *Replaced) { r.Strategy = "Always" })
	in := Restore(want(swapped, strategy))
	require.Equal(t, former, in.Release)
	require.Empty(t, in.SetStrategy)
	require.False(t, in.Clean)

	in = Restore(want(released, strategy))
	require.Empty(t, in.Release)
	require.Equal(t, "Always", in.SetStrategy)
	require.Equal(t, v1alpha1.FormerRetained, in.Status.Former[0].State)

	unseen := onReplace(func(r *Replaced) { r.Halted = false })
	in = Restore(want(released, strategy, unseen))
	require.Empty(t, in.SetStrategy, "KubeVirt has not seen that it was halted")
	in = Restore(want(released, strategy, unseen, func(v *RestoreView) { v.Restore.Status.ReplacedAt = ago(time.Hour) }))
	require.Equal(t, "Always", in.SetStrategy, "not for ever")

	state := func(v *RestoreView) {
		v.Restore.Status.Disks[0].Claim = vmspec.StateClaimName("web", uid)
	}
	in = Restore(want(released, strategy, state))
	require.Equal(t, vmspec.StateClaimName("web", uid), in.LabelState)
	require.Empty(t, in.SetStrategy)
	in = Restore(want(released, strategy, state, onReplace(func(r *Replaced) { r.Labelled = true })))
	require.Equal(t, "Always", in.SetStrategy)
}

func TestRetainEndsWhenTheVMIsWritten(t *testing.T) {
	in := Restore(want(released))
	require.Equal(t, v1alpha1.RestoreReady, in.Status.Phase)
	require.Empty(t, in.DeleteClaims)
	require.Contains(t, in.Status.Notes, "the VM's former disks are in claims web-root, web-data, which nothing uses any more")

	in = Restore(want(released, func(v *RestoreView) { v.Restore.Spec.Cancel = true }))
	require.Contains(t, in.Status.Notes, "spec.cancel came too late: the VM was replaced already")
	in = Restore(want(released, func(v *RestoreView) { v.Replaced = nil }))
	require.Equal(t, v1alpha1.RestoreReady, in.Status.Phase, "somebody deleted the VM since")
	in = Restore(want(released, withDelete, onReplace(func(r *Replaced) { r.UID = "another" })))
	require.Equal(t, v1alpha1.RestoreReady, in.Status.Phase)
	require.Empty(t, in.DeleteClaims, "the VM that is there now is another's")
}

func TestDeleteWaitsUntilTheRestoredVMIsReady(t *testing.T) {
	runs := func(v *RestoreView) { v.Restore.Status.RunStrategy = "Always" }
	in := Restore(want(released, withDelete, runs))
	require.Empty(t, in.DeleteClaims)
	require.Contains(t, said(in), "waiting until VM web runs")
	in = Restore(want(released, withDelete, runs, onReplace(func(r *Replaced) { r.Running = true })))
	require.Len(t, in.DeleteClaims, 2)
	require.Equal(t, v1alpha1.RestoreBuilding, in.Status.Phase, "until they are seen to go")
	in = Restore(want(released, withDelete))
	require.Len(t, in.DeleteClaims, 2, "a VM that stays halted is ready when it is written")

	in = Restore(want(released, withDelete, runs, func(v *RestoreView) { v.Restore.Status.ReplacedAt = ago(time.Hour) }))
	require.Empty(t, in.DeleteClaims)
	require.Equal(t, v1alpha1.RestoreReady, in.Status.Phase)
	require.Contains(t, in.Status.Notes[len(in.Status.Notes)-2], "its former volumes were kept")
	require.Equal(t, v1alpha1.FormerRetained, in.Status.Former[0].State)

	in = Restore(want(released, withDelete, onReplace(func(r *Replaced) { r.Claims = nil })))
	require.Equal(t, v1alpha1.RestoreReady, in.Status.Phase)
	require.Equal(t, v1alpha1.FormerDeleted, in.Status.Former[1].State)

	in = Restore(want(released, withDelete, func(v *RestoreView) { v.Restore.DeletionTimestamp = ago(time.Second) }))
	require.Empty(t, in.DeleteClaims, "who deletes the restore is not waited for")
	require.Equal(t, v1alpha1.RestoreReady, in.Status.Phase)
}

func TestCopiesOfAnEarlierRestoreGoWhenTheVMIsReady(t *testing.T) {
	earlier := func(v *RestoreView) { v.Restore.Status.FormerRestore = "r0" }
	runs := func(v *RestoreView) { v.Restore.Status.RunStrategy = "Always" }
	in := Restore(want(inspected, toReplace, onReplace(func(r *Replaced) { r.Restore = "r0" })))
	require.EqualValues(t, "r0", in.Status.FormerRestore)

	in = Restore(want(released, earlier))
	require.EqualValues(t, "r0", in.RemoveCopies)
	require.Equal(t, v1alpha1.RestoreBuilding, in.Status.Phase)
	in = Restore(want(released, earlier, func(v *RestoreView) { v.CopiesGone = true }))
	require.Empty(t, in.RemoveCopies)
	require.Equal(t, v1alpha1.RestoreReady, in.Status.Phase)
	require.Empty(t, Restore(want(swapped, earlier)).RemoveCopies, "its former claims first")

	require.Empty(t, Restore(want(released, earlier, withDelete, runs)).RemoveCopies, "the VM does not run yet")
	late := func(v *RestoreView) { v.Restore.Status.ReplacedAt = ago(time.Hour) }
	in = Restore(want(released, earlier, withDelete, runs, late))
	require.Empty(t, in.RemoveCopies, "it keeps all that it had")
	require.Equal(t, v1alpha1.RestoreReady, in.Status.Phase)
}

func TestWhatDeleteKeeps(t *testing.T) {
	only := func(in RestoreIntent) {
		t.Helper()
		require.Len(t, in.DeleteClaims, 1)
		require.Equal(t, "web-data", in.DeleteClaims[0].Claim)
	}
	in := Restore(want(released, withDelete, onReplace(func(r *Replaced) {
		r.Claims["web-root"] = FormerFact{Free: true, Users: []string{"VirtualMachine other"}}
	})))
	only(in)
	require.Contains(t, in.Status.Notes[len(in.Status.Notes)-1], "VirtualMachine other refers to it")

	in = Restore(want(released, withDelete, onReplace(func(r *Replaced) {
		r.Snapshots = []SnapshotFact{{Name: "s1", Volumes: []string{"v-root"}}}
	})))
	only(in)

	in = Restore(want(released, withDelete, func(v *RestoreView) {
		v.Restore.Status.Former[0].Disk = "added"
	}))
	only(in)
	require.Contains(t, in.Status.Notes[len(in.Status.Notes)-1], "the backup does not know its disk added")

	in = Restore(want(released, withDelete, onReplace(func(r *Replaced) { r.Busy = []string{"p9"} })))
	require.Empty(t, in.DeleteClaims)
	require.Contains(t, said(in), "waiting until VMBackup p9 is done")
}

func TestNamedSnapshotsGoFirst(t *testing.T) {
	named := func(v *RestoreView) {
		withDelete(v)
		v.Restore.Spec.Replace.DeleteSnapshots = []string{"s1"}
		v.Replaced.Snapshots = []SnapshotFact{{Name: "s1", UID: "u1", Volumes: []string{"v-root"}}}
	}
	in := Restore(want(released, named))
	require.Equal(t, []DeletePoint{{Name: "s1", UID: "u1"}}, in.DeletePoints)
	require.Empty(t, in.DeleteClaims)
	in = Restore(want(released, named, onReplace(func(r *Replaced) { r.Snapshots[0].Deleting = true })))
	require.Empty(t, in.DeletePoints)
	require.Empty(t, in.DeleteClaims, "its end is waited for")
	in = Restore(want(released, named, onReplace(func(r *Replaced) { r.Snapshots = nil })))
	require.Len(t, in.DeleteClaims, 2)
}

func TestCancel(t *testing.T) {
	cancelled := func(v *RestoreView) { v.Restore.Spec.Cancel = true }
	for name, at := range map[string]func(*RestoreView){"pending": hasRead, "restoring": restoringNow, "building": bound, "swapping": swapping} {
		t.Run(name, func(t *testing.T) {
			in := Restore(want(at, cancelled))
			require.Equal(t, ReasonCancelled, failure(in.Status.Conditions).Reason)
			require.True(t, in.Clean)
			require.Nil(t, in.Swap)
		})
	}
	in := Restore(want(cancelled))
	require.Equal(t, v1alpha1.RestoreFailed, in.Status.Phase, "nothing was made")
	require.True(t, in.DropFinalizer)
	require.Nil(t, failure(Restore(want(func(v *RestoreView) {
		bound(v)
		v.Restore.Status.Phase = v1alpha1.RestoreReady
		v.Restore.Spec.Cancel = true
	})).Status.Conditions), "it is done")
}

func TestDiskClaimEndsWithTheClaim(t *testing.T) {
	single := func(v *RestoreView) {
		bound(v)
		v.Restore.Spec.NewVM = ""
		v.Restore.Spec.DiskClaim = &v1alpha1.DiskClaim{Disk: "root", Claim: "web2-root"}
		v.Restore.Status.Disks = v.Restore.Status.Disks[:1]
		v.Origin.Rebuilt.VM = nil
	}
	in := Restore(want(single))
	require.Equal(t, v1alpha1.RestoreReady, in.Status.Phase)
	require.Empty(t, in.Create)
	in = Restore(want(single, func(v *RestoreView) {
		v.Made.Claims["web2-root"] = ObjectFact{Owned: true, Created: now}
	}))
	require.Equal(t, v1alpha1.RestoreBuilding, in.Status.Phase)
}

// said is what a restore says that it waits for.
func said(in RestoreIntent) string {
	for _, c := range in.Status.Conditions {
		if c.Type == v1alpha1.ConditionProgressing {
			return c.Message
		}
	}
	return ""
}

func TestFullBackupAfterAReplaceSaysWhy(t *testing.T) {
	p := &backupPlan{v: BackupView{Now: now, Backup: &v1alpha1.VMBackup{}, Moved: map[string]string{"root": "v-old", "data": "v-old2"}}}
	p.st.Disks = []v1alpha1.BackupDisk{{Name: "root", Volume: "hl-1"}, {Name: "data", Volume: "hl-2"}, {Name: "swap", Volume: "v-3"}}
	p.finish(&Finalized{Disks: map[string]FinalizedDisk{"data": {Incremental: true}}})
	require.Equal(t, "full backup: the disk is on volume hl-1 now, the point before was of v-old", p.st.Disks[0].Message)
	require.Empty(t, p.st.Disks[1].Message)
	require.Empty(t, p.st.Disks[2].Message)
	require.Equal(t, Event{Type: corev1.EventTypeNormal, Reason: "FullBackup", Message: "disk root: " + p.st.Disks[0].Message}, p.a.Events[0])
}
