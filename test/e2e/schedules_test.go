package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// scheduleOf is a schedule of a VM that may run as often as it likes.
func (w *world) scheduleOf(name, vm, cron, target string) *v1alpha1.VMSchedule {
	s := &v1alpha1.VMSchedule{}
	s.Namespace, s.Name = w.ns, name
	s.Spec = v1alpha1.VMScheduleSpec{
		Cron: cron, VM: vm, Target: target, MaxFailures: 2, Retention: v1alpha1.Retention{KeepLast: 3},
		SpacingOverride: &v1alpha1.SpacingOverride{Reason: "a test has no hours"},
	}
	if target == "" {
		s.Spec.Type = v1alpha1.TypeSnapshot
	}
	return s
}

// madeBy are the points of a schedule, in the order of their nominal times.
func (w *world) madeBy(s *v1alpha1.VMSchedule) []v1alpha1.VMBackup {
	w.t.Helper()
	var list v1alpha1.VMBackupList
	require.NoError(w.t, w.c.List(w.ctx, &list, client.InNamespace(w.ns), client.MatchingLabels{v1alpha1.LabelSchedule: string(s.UID)}))
	slices.SortFunc(list.Items, func(a, b v1alpha1.VMBackup) int {
		at, bt := a.Annotations[v1alpha1.AnnotationNominalTime], b.Annotations[v1alpha1.AnnotationNominalTime]
		if at < bt {
			return -1
		}
		return 1
	})
	return list.Items
}

// TestSchedules: two schedules of one VM, one of backups and one of snapshots,
// make points that can be restored, and remove the oldest with their data.
func TestSchedules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	sums := w.stoppedVM("vm", 16*mib)
	backups := w.scheduleOf("backups", "vm", "@every 10s", w.Target)
	snapshots := w.scheduleOf("snapshots", "vm", "@every 10s", "")
	w.mustMake(backups)
	w.mustMake(snapshots)

	seen := map[string]map[string]bool{backups.Name: {}, snapshots.Name: {}}
	// Remote data goes when no backup of the volume runs, which here is hardly ever.
	w.eventually("each schedule to have made five points and to have removed the oldest", func() (bool, string) {
		done, said := true, ""
		for _, s := range []*v1alpha1.VMSchedule{backups, snapshots} {
			points := slices.DeleteFunc(w.madeBy(s), func(b v1alpha1.VMBackup) bool { return !b.DeletionTimestamp.IsZero() })
			for _, b := range points {
				require.NotEqual(t, v1alpha1.BackupFailed, b.Status.Phase, words(b.Status))
				seen[s.Name][b.Name] = true
			}
			done = done && len(seen[s.Name]) >= 5 && len(points) <= 4
			said += fmt.Sprintf("%s: %d of %d; ", s.Name, len(points), len(seen[s.Name]))
		}
		return done, said
	})
	for _, s := range []*v1alpha1.VMSchedule{backups, snapshots} {
		require.NoError(t, w.c.Patch(w.ctx, s, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"suspend":true}}`))))
		w.eventually("schedule "+s.Name+" to have ended its runs and hold three points", func() (bool, string) {
			require.NoError(t, w.c.Get(w.ctx, client.ObjectKeyFromObject(s), s))
			done := meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionSuspended) && len(s.Status.Runs) == 0 && len(w.madeBy(s)) == 3
			return done, words(s.Status)
		})
		require.Zero(t, s.Status.ConsecutiveFailures)
		require.NotNil(t, s.Status.LastSuccessTime)
		for _, b := range w.madeBy(s) {
			require.Equal(t, v1alpha1.BackupReady, b.Status.Phase, words(b.Status))
			delete(seen[s.Name], b.Name)
		}
		require.NoError(t, w.c.Delete(w.ctx, s))
	}
	for gone := range seen[backups.Name] {
		require.Empty(t, w.documents(gone), "a point that retention removed has left nothing")
	}
	for i, b := range w.madeBy(backups) {
		require.Len(t, w.documents(b.Name), 1)
		if i != 1 { // the oldest and the newest
			name := fmt.Sprintf("copy-%d", i)
			w.restore(name, b.Name, name)
			w.sameDisks(w.awaitRestore(name, v1alpha1.RestoreReady), sums)
		}
	}
	oldest := w.madeBy(snapshots)[0]
	w.restore("back", oldest.Name, "back")
	w.sameDisks(w.awaitRestore("back", v1alpha1.RestoreReady), sums)
}

// suspendedDuringAnUpgrade: who suspends what an upgrade has suspended changes nothing
// that the API server keeps, and is told so.
func suspendedDuringAnUpgrade(s *stage, o *v1alpha1.VMSchedule) {
	warnings := &said{}
	config := rest.CopyConfig(s.Config)
	config.WarningHandler = warnings
	c, err := client.New(config, client.Options{Scheme: s.c.Scheme()})
	require.NoError(s.t, err)
	patch := func(body string) {
		require.NoError(s.t, c.Patch(s.ctx, o, client.RawPatch("application/merge-patch+json", []byte(body))))
	}
	patch(fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}},"spec":{"suspend":true}}`, v1alpha1.AnnotationSuspendedBy, v1alpha1.SuspendedByUpgrade))
	require.Empty(s.t, warnings.all())
	before := o.ResourceVersion
	patch(`{"spec":{"suspend":true}}`)
	require.Equal(s.t, before, o.ResourceVersion)
	require.Contains(s.t, warnings.all(), "VMSchedule "+o.Name+" is suspended for an upgrade, and hayloft upgrade finish resumes it")
	patch(fmt.Sprintf(`{"metadata":{"annotations":{%q:null}},"spec":{"suspend":false}}`, v1alpha1.AnnotationSuspendedBy))
}

// schedulesAtAdmission: a schedule is refused before it exists where the rules or
// the facts are against it, and a change of one where that breaks them.
func schedulesAtAdmission(s *stage) {
	ready := func(t *v1alpha1.BackupTarget, status metav1.ConditionStatus, message string) {
		require.NoError(s.t, s.c.Get(s.ctx, client.ObjectKeyFromObject(t), t))
		meta.SetStatusCondition(&t.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: status, Reason: "Probed", Message: message})
		require.NoError(s.t, s.c.Status().Update(s.ctx, t))
	}
	ready(s.deaf, metav1.ConditionFalse, "no answer") // nobody leads who would look
	ready(&v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: s.Target}}, metav1.ConditionTrue, "written to")
	schedule := func(name string, change func(*v1alpha1.VMScheduleSpec)) *v1alpha1.VMSchedule {
		out := s.scheduleOf(name, "vm", "0 2 * * *", s.Target)
		out.Spec.SpacingOverride = nil
		change(&out.Spec)
		return out
	}
	same := func(*v1alpha1.VMScheduleSpec) {}
	nightly := schedule("nightly", same)
	require.NoError(s.t, s.c.Create(s.ctx, nightly))
	for name, c := range map[string]struct {
		change func(*v1alpha1.VMScheduleSpec)
		says   string
	}{
		"no cron":       {func(p *v1alpha1.VMScheduleSpec) { p.Cron = "tonight" }, `spec.cron "tonight" is not a schedule`},
		"no zone":       {func(p *v1alpha1.VMScheduleSpec) { p.TimeZone = "Mars" }, `spec.timeZone "Mars" is not a time zone`},
		"too often":     {func(p *v1alpha1.VMScheduleSpec) { p.Cron = "*/30 * * * *" }, `spec.cron "*/30 * * * *" runs every 30m`},
		"too close":     {func(p *v1alpha1.VMScheduleSpec) { p.Cron, p.VM = "9 2 * * *", "running" }, "schedule nightly"},
		"no VM":         {func(p *v1alpha1.VMScheduleSpec) { p.Cron, p.VM = "0 4 * * *", "nobody" }, `there is no VirtualMachine "nobody" in namespace ` + s.ns + " (spec.vm)"},
		"no target":     {func(p *v1alpha1.VMScheduleSpec) { p.Cron, p.Target = "0 4 * * *", "nowhere" }, `there is no BackupTarget "nowhere" (spec.target)`},
		"target down":   {func(p *v1alpha1.VMScheduleSpec) { p.Cron, p.Target = "0 4 * * *", s.deaf.Name }, `is not Ready (Probed: no answer)`},
		"bad selector":  {func(p *v1alpha1.VMScheduleSpec) { p.Cron, p.VM, p.Selector = "0 4 * * *", "", nonsense() }, "spec.selector"},
		"target leaves": {func(p *v1alpha1.VMScheduleSpec) { p.Cron, p.Target = "0 4 * * *", s.ns+"-going" }, "is being deleted"},
	} {
		require.Contains(s.t, denied(s.c.Create(s.ctx, schedule("new", c.change))), c.says, name)
	}
	beside := schedule("close", func(p *v1alpha1.VMScheduleSpec) {
		p.Cron, p.SpacingOverride = "9 2 * * *", &v1alpha1.SpacingOverride{Reason: "one window"}
	})
	require.NoError(s.t, s.c.Create(s.ctx, beside), "an override is a word that is recorded")
	require.NoError(s.t, s.c.Create(s.ctx, schedule("snapshots", func(p *v1alpha1.VMScheduleSpec) {
		p.Cron, p.Type, p.Target = "30 2 * * *", v1alpha1.TypeSnapshot, ""
	})), "a VM may have several schedules")

	patch := func(o *v1alpha1.VMSchedule, spec string) error {
		return s.c.Patch(s.ctx, o.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"spec":`+spec+`}`)))
	}
	require.Contains(s.t, denied(patch(nightly, `{"cron":"5 2 * * *"}`)), "schedule close")
	require.Contains(s.t, denied(patch(beside, `{"spacingOverride":null}`)), "schedule nightly")
	require.Contains(s.t, denied(patch(nightly, fmt.Sprintf(`{"target":%q}`, s.deaf.Name))), "is not Ready")
	require.ErrorContains(s.t, patch(nightly, `{"vm":"running"}`), "spec.vm is immutable")
	require.NoError(s.t, patch(nightly, `{"suspend":true,"retention":{"keepLast":9}}`))

	// One whose target went down while it was suspended.
	coordinator := rest.CopyConfig(s.Config)
	coordinator.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:hayloft-system:hayloft-coordinator", Groups: []string{"system:masters"}}
	unasked, err := client.New(coordinator, client.Options{Scheme: s.c.Scheme()})
	require.NoError(s.t, err)
	down := schedule("down", func(p *v1alpha1.VMScheduleSpec) { p.Cron, p.Target, p.Suspend = "0 4 * * *", s.deaf.Name, true })
	require.NoError(s.t, unasked.Create(s.ctx, down), "the coordinator's own writes are not asked about")
	require.Contains(s.t, denied(patch(down, `{"suspend":false}`)), "spec.suspend: the schedule cannot be resumed while BackupTarget "+s.deaf.Name+" is not Ready (Probed: no answer)")
	require.NoError(s.t, patch(down, `{"maxFailures":2,"jitterSeconds":60}`))
	require.NoError(s.t, patch(down, fmt.Sprintf(`{"suspend":false,"target":%q}`, s.Target)))
	require.NoError(s.t, patch(nightly, `{"suspend":false}`))
	suspendedDuringAnUpgrade(s, nightly)
}

func nonsense() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
}
