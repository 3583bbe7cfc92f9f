package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"

	"hayloft.dev/pkg/api/v1alpha1"
)

const request = "blocks 2026"

// verifies is a view of a Ready point with a request, whose target was probed well.
func verifies(changes ...func(*VerifyView)) VerifyView {
	ready := look(isReady)
	ready.Backup.Annotations = map[string]string{v1alpha1.AnnotationVerify: request}
	v := VerifyView{Now: now, Backup: ready.Backup, Work: Works{}, Probe: Probe{Known: true}, Config: testConfig()}
	for _, change := range changes {
		change(&v)
	}
	return v
}

func ofKind(word string) func(*VerifyView) {
	return func(v *VerifyView) { v.Backup.Annotations[v1alpha1.AnnotationVerify] = word }
}

func phase(p v1alpha1.BackupPhase) func(*VerifyView) {
	return func(v *VerifyView) { v.Backup.Status.Phase = p }
}

// read: its document was, and names these disks.
func read(disks ...string) func(*VerifyView) {
	return func(v *VerifyView) {
		v.Disks = disks
		v.Work[Work{OpVerifyDocument, v.Backup.Annotations[v1alpha1.AnnotationVerify]}] = WorkState{Tries: 1, Ended: now}
	}
}

// disk is how the look at one ended; "": it is whole.
func disk(name, reason string) func(*VerifyView) {
	return func(v *VerifyView) {
		s := WorkState{Tries: 1, Ended: now}
		if reason != "" {
			s.FirstFailed, s.Err = now, &WorkError{Reason: reason, Message: "disk " + name + " is not whole"}
		}
		v.Work[Work{OpVerifyDisk, v.Backup.Annotations[v1alpha1.AnnotationVerify] + " " + name}] = s
	}
}

func unreadable(reason string) func(*VerifyView) {
	return func(v *VerifyView) {
		v.Work[Work{OpVerifyDocument, request}] = WorkState{Tries: 1, Ended: now, FirstFailed: now, Err: &WorkError{Reason: reason, Message: "no document"}}
	}
}

func probed(p Probe) func(*VerifyView) { return func(v *VerifyView) { v.Probe = p } }

func TestVerify(t *testing.T) {
	away := Probe{Known: true, Err: &WorkError{Reason: "NotFound", Message: "not mounted"}}
	for name, c := range map[string]struct {
		view   VerifyView
		result v1alpha1.VerificationResult // "": it goes on
		phase  v1alpha1.BackupPhase
		reason string // of the condition Verified
		starts int
		says   string
	}{
		"begins":          {verifies(), "", v1alpha1.BackupReady, "", 1, "reading its document"},
		"the first disk":  {verifies(read("root", "data")), "", v1alpha1.BackupReady, "", 1, "looking at disk root, 1 of 2"},
		"the second disk": {verifies(read("root", "data"), disk("root", "")), "", v1alpha1.BackupReady, "", 1, "looking at disk data, 2 of 2"},
		"whole":           {verifies(read("root", "data"), disk("root", ""), disk("data", "")), v1alpha1.VerificationPassed, v1alpha1.BackupReady, ReasonAllBlocks, 0, "every block of its 2 disks"},
		"whole, as far as was looked": {
			verifies(ofKind("backups 1"), read("root"), disk("root", "")), v1alpha1.VerificationPassed, v1alpha1.BackupReady, ReasonInspected, 0, "the blocks were not looked for",
		},
		"one is damaged, and the other is looked at all the same": {verifies(read("root", "data"), disk("root", "Damaged")), "", v1alpha1.BackupReady, "", 1, "disk data, 2 of 2"},
		"damaged": {
			verifies(read("root", "data"), disk("root", "Damaged"), disk("data", "NotFound")),
			v1alpha1.VerificationDamaged, v1alpha1.BackupDamaged, "Damaged", 0, "disk root is not whole; disk data is not whole",
		},
		"no document":           {verifies(unreadable("NotFound")), v1alpha1.VerificationDamaged, v1alpha1.BackupDamaged, "NotFound", 0, "no document"},
		"an exchanged document": {verifies(unreadable("Mismatch")), v1alpha1.VerificationDamaged, v1alpha1.BackupDamaged, "Mismatch", 0, "no document"},
		"a refused key":         {verifies(unreadable("AccessDenied")), v1alpha1.VerificationUnknown, v1alpha1.BackupReady, "AccessDenied", 0, "no document"},
		"a target that fell silent after a damaged disk": {
			verifies(read("root", "data"), disk("root", "Damaged"), disk("data", "Timeout")),
			v1alpha1.VerificationDamaged, v1alpha1.BackupDamaged, "Damaged", 0, "disk root is not whole; disk data is not whole",
		},
		"missing, and the target was not probed": {verifies(unreadable("NotFound"), probed(Probe{})), "", v1alpha1.BackupReady, "", 0, "whether the target itself can be used"},
		"missing, on a share that is not mounted": {
			verifies(unreadable("NotFound"), probed(away)), v1alpha1.VerificationUnknown, v1alpha1.BackupReady, "NotFound", 0, "the target cannot be used (not mounted)",
		},
		"a damaged one that is whole again": {
			verifies(phase(v1alpha1.BackupDamaged), read("root"), disk("root", "")), v1alpha1.VerificationPassed, v1alpha1.BackupReady, ReasonAllBlocks, 0, "every block",
		},
		"a damaged one of which no block was looked for": {
			verifies(ofKind("backups 1"), phase(v1alpha1.BackupDamaged), read("root"), disk("root", "")), v1alpha1.VerificationPassed, v1alpha1.BackupDamaged, ReasonInspected, 0, "not looked for",
		},
		"a damaged one that nobody can look at": {verifies(phase(v1alpha1.BackupDamaged), unreadable("Timeout")), v1alpha1.VerificationUnknown, v1alpha1.BackupDamaged, "Timeout", 0, "no document"},
		"a failed one":                          {verifies(phase(v1alpha1.BackupFailed)), v1alpha1.VerificationUnknown, v1alpha1.BackupFailed, ReasonNotReady, 0, "it is Failed"},
		"no such request":                       {verifies(ofKind("all of it")), v1alpha1.VerificationUnknown, v1alpha1.BackupReady, ReasonRefused, 0, "must begin with backups or blocks"},
		"a Snapshot point":                      {verifies(func(v *VerifyView) { v.Backup.Spec.Type = v1alpha1.TypeSnapshot }), v1alpha1.VerificationUnknown, v1alpha1.BackupReady, ReasonRefused, 0, "lies on no target"},
	} {
		t.Run(name, func(t *testing.T) {
			in := Verify(c.view)
			run := in.Status.Verification
			require.NotNil(t, run)
			require.Equal(t, c.view.Backup.Annotations[v1alpha1.AnnotationVerify], run.Requested)
			require.Contains(t, run.Message, c.says)
			require.Equal(t, c.result, run.Result)
			require.Equal(t, c.result != "", run.EndedAt != nil)
			require.Equal(t, c.result != "", in.Ended)
			require.Equal(t, c.phase, in.Status.Phase)
			require.Len(t, in.Start, c.starts)
			got := meta.FindStatusCondition(in.Status.Conditions, v1alpha1.ConditionVerified)
			if c.result == "" {
				require.Nil(t, got)
				require.Equal(t, c.starts == 0, in.Probe)
				return
			}
			require.Equal(t, c.reason, got.Reason)
			require.Equal(t, now, got.LastTransitionTime.Time)
			require.Contains(t, got.Message, "2026-11-23T04:00:00Z")
			require.Len(t, in.Events, 1)
			require.Equal(t, c.phase == v1alpha1.BackupReady, meta.IsStatusConditionTrue(in.Status.Conditions, v1alpha1.ConditionReady) && c.phase == v1alpha1.BackupReady)
			if c.phase == v1alpha1.BackupDamaged && c.view.Backup.Status.Phase == v1alpha1.BackupReady {
				require.Contains(t, message(in.Status.Conditions, v1alpha1.ConditionReady), "verify them too")
			}
		})
	}
}

// A point that is being made is verified when it is there, one after the other, and a
// target that does not answer for a moment is asked again.
func TestVerifyWaits(t *testing.T) {
	in := Verify(verifies(phase(v1alpha1.BackupUploading)))
	require.Nil(t, in.Status.Verification)
	require.False(t, in.Begun)
	in = Verify(verifies(func(v *VerifyView) { v.Busy = true }))
	require.Nil(t, in.Status.Verification)
	require.NotZero(t, in.After)
	v := verifies(read("root"))
	v.Work[Work{OpVerifyDisk, request + " root"}] = bad(true, time.Second)
	in = Verify(v)
	require.False(t, in.Ended)
	require.NotZero(t, in.After)
	v.Work[Work{OpVerifyDisk, request + " root"}] = bad(true, time.Hour)
	require.Equal(t, v1alpha1.VerificationUnknown, Verify(v).Status.Verification.Result)
}

// Nothing is cleaned up of a damaged point, whose condition Ready is false as that of a
// failed one is.
func TestADamagedPointStays(t *testing.T) {
	v := look(isReady)
	ready := verifies(read("root"), disk("root", "Damaged"))
	v.Backup.Status = Verify(ready).Status
	require.Equal(t, v1alpha1.BackupDamaged, v.Backup.Status.Phase)
	in := Backup(v)
	require.Equal(t, v.Backup.Status, in.Status)
	require.Empty(t, in.Start)
	require.Empty(t, in.CreateJobs)
}
