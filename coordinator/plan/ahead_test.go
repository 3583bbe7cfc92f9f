package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
)

// scheduledPoint has what a schedule gives to its points.
func scheduledPoint(v *BackupView) {
	v.Backup.Finalizers = []string{v1alpha1.FinalizerData}
	v.Backup.Labels = map[string]string{v1alpha1.LabelVM: "web"}
}

// madeAhead puts the cut job of the point into the view as a leader made it for a VM.
func madeAhead(of func(*BackupView), change func(*v1alpha1.NodeJob)) func(*BackupView) {
	return func(v *BackupView) {
		j := Backup(look(of)).CreateJobs[0].DeepCopy()
		change(j)
		v.Jobs = append(v.Jobs, *j)
	}
}

func asItIs(*BackupView) {}

func ungiven(*v1alpha1.NodeJob) {}

func anotherVolume(v *BackupView) { v.Source.Disks[1].Volume = "v-other" }

func anotherVM(v *BackupView) { v.Source.VMUID = "former-uid" }

// What a leader finds of a point that another began, whose status was not written.
func TestPointsBegunAhead(t *testing.T) {
	for name, c := range map[string]struct {
		view    BackupView
		phase   v1alpha1.BackupPhase
		started bool
		do      []string
	}{
		"the job is what it would make": {
			look(scheduledPoint, madeAhead(asItIs, ungiven)), "Cutting", true, []string{"hold", "start Capture"},
		},
		"of other volumes": {
			look(scheduledPoint, madeAhead(anotherVolume, ungiven)), "Pending", false, []string{"delete cut-1"},
		},
		"of another VM of its name": {
			look(scheduledPoint, madeAhead(anotherVM, ungiven)), "Pending", false, []string{"delete cut-1"},
		},
		"of fewer disks": {
			look(scheduledPoint, madeAhead(func(v *BackupView) { v.Source.Disks = v.Source.Disks[:1] }, ungiven)), "Pending", false, []string{"delete cut-1"},
		},
		"the VM is gone": {
			look(scheduledPoint, madeAhead(asItIs, ungiven), func(v *BackupView) { v.Source = nil }), "Failed", false, []string{"drop jobs", "let go"},
		},
		"cancelled meanwhile": {
			look(scheduledPoint, madeAhead(asItIs, ungiven), cancelled), "Failed", false, []string{"drop jobs", "let go"},
		},
		"deleted meanwhile": {
			look(scheduledPoint, madeAhead(asItIs, ungiven), deleting), "", false, []string{"drop jobs", "let go"},
		},
		"recorded by another leader, of other volumes": {
			look(wasStarted, madeAhead(anotherVolume, ungiven)), "Cutting", true, []string{"delete cut-1"},
		},
		"of other volumes, and given by a coordinator that asks for no record": {
			look(wasStarted, madeAhead(anotherVolume, func(j *v1alpha1.NodeJob) { j.Spec.NodeName = "n1" })), "Cutting", true, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Backup(c.view)
			require.Equal(t, c.phase, got.Status.Phase)
			require.Equal(t, c.started, got.Status.StartedAt != nil)
			require.Equal(t, c.do, told(got.Actions))
		})
	}
}

func TestWhatIsRecordedLater(t *testing.T) {
	for name, c := range map[string]struct {
		view  BackupView
		later bool
	}{
		"a point of a schedule":   {look(scheduledPoint), true},
		"without a finalizer":     {look(scheduledPoint, func(v *BackupView) { v.Backup.Finalizers = nil }), false},
		"without its label":       {look(scheduledPoint, func(v *BackupView) { v.Backup.Labels = nil }), false},
		"space is kept for it":    {look(scheduledPoint, func(v *BackupView) { v.Space.ExpectedBytes = 7 }), false},
		"it waits":                {look(scheduledPoint, func(v *BackupView) { v.Source.Wait = "it is being made" }), false},
		"it is refused":           {look(scheduledPoint, func(v *BackupView) { v.Source = nil }), false},
		"cancelled":               {look(scheduledPoint, cancelled), false},
		"being deleted":           {look(scheduledPoint, deleting), false},
		"its job is there":        {look(scheduledPoint, madeAhead(asItIs, ungiven)), false},
		"another job is there":    {look(scheduledPoint, madeAhead(anotherVolume, ungiven)), false},
		"recorded, and no job":    {look(wasStarted, scheduledPoint), false},
		"cut, and to be uploaded": {look(cut), false},
	} {
		require.Equal(t, c.later, RecordsLater(c.view.Backup, Backup(c.view)), name)
	}
}

func TestABeginningStandsUntilSomethingIsRecorded(t *testing.T) {
	beginning := Backup(look(scheduledPoint)).Status
	fresh := look(scheduledPoint).Backup
	now, ahead := Begun(fresh, &beginning)
	require.True(t, ahead)
	require.Equal(t, beginning, now.Status)
	require.Nil(t, fresh.Status.StartedAt, "what is cached is left alone")

	now, ahead = Begun(look(scheduledPoint, deleting).Backup, &beginning)
	require.True(t, ahead, "it has a job")
	require.NotNil(t, now.Status.StartedAt)

	_, ahead = Begun(fresh, nil)
	require.False(t, ahead)
	failed := look(scheduledPoint, cancelled)
	failed.Backup.Status = Backup(failed).Status
	for _, b := range []*v1alpha1.VMBackup{look(wasStarted).Backup, failed.Backup} {
		now, ahead = Begun(b, &beginning)
		require.False(t, ahead)
		require.Same(t, b, now)
	}
	// With what has happened until then the plan goes on as if it were written.
	v := look(scheduledPoint, madeAhead(asItIs, ungiven))
	v.Now, v.Source = now.CreationTimestamp.Add(10*time.Second), nil
	v.Backup, _ = Begun(v.Backup, &beginning)
	require.Equal(t, []string{"start Capture"}, told(Backup(v).Actions))
}

func TestJobsOfWhatIsRecordedAreGiven(t *testing.T) {
	started, fresh := look(wasStarted).Backup, look(scheduledPoint).Backup
	refused := look(scheduledPoint, cancelled)
	refused.Backup.Status = Backup(refused).Status
	job := func(of func(*BackupView)) *v1alpha1.NodeJob { return Backup(look(of)).CreateJobs[0] }
	given := job(asItIs)
	given.Spec.NodeName = "n1"
	another := started.DeepCopy()
	another.UID = "another"
	restore := &v1alpha1.NodeJob{Spec: v1alpha1.NodeJobSpec{Owner: v1alpha1.ObjectReference{Kind: "VMRestore"}, Restore: &v1alpha1.RestoreJob{}}}
	old := job(asItIs)
	old.Spec.Cut.Guest = nil
	for name, c := range map[string]struct {
		job   *v1alpha1.NodeJob
		owner *v1alpha1.VMBackup
		is    bool
	}{
		"recorded":                    {job(asItIs), started, true},
		"not recorded":                {job(asItIs), fresh, false},
		"refused":                     {job(asItIs), refused.Backup, false},
		"not seen":                    {job(asItIs), nil, false},
		"another of its name":         {job(asItIs), another, false},
		"of other volumes":            {job(anotherVolume), started, false},
		"of another VM of its name":   {job(anotherVM), started, false},
		"of an agent without guests":  {old, started, true},
		"given":                       {given, fresh, true},
		"another kind than the first": {Backup(look(cut)).CreateJobs[0], fresh, true},
		"a restore's":                 {restore, nil, true},
	} {
		require.Equal(t, c.is, Recorded(c.job, c.owner), name)
	}
}
