package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/upgrade"
)

// schedule makes one; by is who has suspended it, "" for nobody.
func (w *world) schedule(namespace, name, by string) {
	w.t.Helper()
	s := &v1alpha1.VMSchedule{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.VMScheduleSpec{Cron: "0 2 * * *", VM: "web", Target: "s3", MaxFailures: 2, Retention: v1alpha1.Retention{KeepLast: 3}},
	}
	if s.Spec.Suspend = by != ""; s.Spec.Suspend && by != "user" {
		s.Annotations = map[string]string{v1alpha1.AnnotationSuspendedBy: by, v1alpha1.AnnotationSuspendReason: "2 runs failed"}
	}
	w.make(s)
}

func (w *world) backup(name string, phase v1alpha1.BackupPhase) *v1alpha1.VMBackup {
	w.t.Helper()
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: w.a, Name: name}, Spec: v1alpha1.VMBackupSpec{VM: "web", Target: "s3"}}
	w.make(b)
	b.Status.Phase = phase
	require.NoError(w.t, w.client.Status().Update(w.t.Context(), b))
	return b
}

// suspended are the schedules of both namespaces that are, and by whom.
func (w *world) suspended() (out []string) {
	w.t.Helper()
	var list v1alpha1.VMScheduleList
	require.NoError(w.t, w.client.List(w.t.Context(), &list))
	for _, s := range list.Items {
		if s.Spec.Suspend {
			out = append(out, strings.TrimSpace(w.short(s.Namespace)+"/"+s.Name+" "+s.Annotations[v1alpha1.AnnotationSuspendedBy]))
		}
	}
	slices.Sort(out)
	return out
}

// short is the letter of a namespace.
func (w *world) short(namespace string) string {
	return map[string]string{w.a: "a", w.b: "b"}[namespace]
}

// report asks for one; what blocks and what is suspended is told in short.
func (w *world) report(user, method, path, body string) (ready bool, blockers, suspended []string) {
	w.t.Helper()
	var r UpgradeReport
	require.Equal(w.t, http.StatusOK, w.ask(user, method, path, body, &r))
	for _, b := range r.Blockers {
		blockers = append(blockers, strings.Join([]string{b.Kind, w.short(b.Namespace) + "/" + b.Name, b.State}, " "))
	}
	for _, s := range r.Suspended {
		suspended = append(suspended, w.short(s.Namespace)+"/"+s.Name+": "+s.Reason)
	}
	slices.Sort(blockers)
	slices.Sort(suspended)
	return r.Ready, blockers, suspended
}

// TestUpgrade is an upgrade over HTTP: what is in the way, all that is active brought
// to rest, and just that resumed, each by whoever has the rights for it, and not by
// others.
func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	w.may("looks", "", "list")
	w.may("upgrades", "", "list", "patch")
	w.may("of-a", "", "list")
	w.may("of-a", w.a, "patch")
	w.schedule(w.a, "nightly", "")
	w.schedule(w.b, "weekly", "")
	w.schedule(w.b, "later-mine", "")
	w.schedule(w.a, "mine", "user")
	w.schedule(w.a, "failed", v1alpha1.SuspendedByCoordinator)
	w.schedule(w.b, "at-work", "user")
	atWork := &v1alpha1.VMSchedule{}
	w.read(atWork, w.b, "at-work")
	atWork.Status.Runs = []v1alpha1.ScheduleRun{{NominalTime: metav1.Now(), BeganAt: metav1.Now(), Points: 1, Pending: []string{"web"}}}
	require.NoError(t, w.client.Status().Update(t.Context(), atWork))
	moving := w.backup("moving", v1alpha1.BackupUploading)
	w.backup("whole", v1alpha1.BackupReady)
	w.make(&v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: w.b, Name: "copy"}, Spec: v1alpha1.VMRestoreSpec{Backup: "whole", NewVM: "web2"}})
	all := []string{"VMBackup a/moving Uploading", "VMRestore b/copy Pending", "VMSchedule a/nightly Active", "VMSchedule b/at-work Running", "VMSchedule b/later-mine Active", "VMSchedule b/weekly Active"}
	others := []string{"a/failed coordinator", "a/mine", "b/at-work"}

	w.awaitRights()
	for _, user := range []string{"looks", "upgrades"} {
		ready, blockers, suspended := w.report(user, "GET", "/upgrade", "")
		require.False(t, ready)
		require.Equal(t, all, blockers)
		require.Empty(t, suspended)
	}
	const prepare = `{"reason":"to the next version"}`
	require.Contains(t, w.refused(403, "nobody", "GET", "/upgrade", "").Detail, `cannot list resource "vmschedules"`)
	require.Contains(t, w.refused(403, "nobody", "POST", "/upgrade/finish", "").Detail, `cannot list resource "vmschedules"`)
	require.Contains(t, w.refused(403, "looks", "POST", "/upgrade/prepare", prepare).Detail, `cannot patch resource "vmschedules"`)
	require.Equal(t, "body.reason", w.refused(422, "upgrades", "POST", "/upgrade/prepare", `{"cancel":true}`).Errors[0].Location)
	require.Equal(t, others, w.suspended(), "nothing was changed")

	// It does not wait, and ends nothing unless it is told to.
	ready, blockers, suspended := w.report("upgrades", "POST", "/upgrade/prepare", prepare)
	require.False(t, ready)
	require.Equal(t, []string{"VMBackup a/moving Uploading", "VMRestore b/copy Pending", "VMSchedule b/at-work Running"}, blockers)
	require.Equal(t, []string{"a/nightly: to the next version", "b/later-mine: to the next version", "b/weekly: to the next version"}, suspended)
	require.Equal(t, []string{"a/failed coordinator", "a/mine", "a/nightly upgrade", "b/at-work", "b/later-mine upgrade", "b/weekly upgrade"}, w.suspended())
	w.read(moving, w.a, "moving")
	require.False(t, moving.Spec.Cancel)

	_, _, suspended = w.report("upgrades", "POST", "/upgrade/prepare", `{"reason":"another","cancel":true}`)
	require.Contains(t, suspended, "a/nightly: to the next version", "the first reason stays")
	copying := &v1alpha1.VMRestore{}
	w.read(copying, w.b, "copy")
	w.read(moving, w.a, "moving")
	require.True(t, moving.Spec.Cancel && copying.Spec.Cancel)
	moving.Status.Phase, copying.Status.Phase, atWork.Status.Runs = v1alpha1.BackupFailed, v1alpha1.RestoreFailed, nil
	for _, o := range []client.Object{moving, copying, atWork} {
		require.NoError(t, w.client.Status().Update(t.Context(), o))
	}
	ready, blockers, _ = w.report("looks", "GET", "/upgrade", "")
	require.True(t, ready, "%v", blockers)

	// What a user suspends meanwhile is the user's from then on.
	var later Schedule
	require.Equal(t, http.StatusOK, w.ask("upgrades", "POST", "/namespaces/"+w.b+"/schedules/later-mine/suspend", "", &later))
	require.True(t, later.Suspended)

	require.Equal(t, 403, w.refused(403, "looks", "POST", "/upgrade/finish", "").Status)
	d := w.refused(403, "of-a", "POST", "/upgrade/finish", "")
	require.Contains(t, d.Detail, "1 schedule was resumed, 1 stays suspended: schedule "+w.b+`/weekly: `)
	require.Contains(t, d.Detail, `cannot patch resource "vmschedules"`)
	require.Len(t, d.Errors, 1)
	require.Equal(t, w.b+"/weekly", d.Errors[0].Value)
	require.Equal(t, []string{"a/failed coordinator", "a/mine", "b/at-work", "b/later-mine", "b/weekly upgrade"}, w.suspended())

	var end UpgradeFinish
	require.Equal(t, http.StatusOK, w.ask("upgrades", "POST", "/upgrade/finish", "", &end))
	require.Equal(t, []upgrade.Suspended{{Namespace: w.b, Name: "weekly", Reason: "to the next version"}}, end.Resumed)
	require.Equal(t, []string{"a/failed coordinator", "a/mine", "b/at-work", "b/later-mine"}, w.suspended())
	require.Equal(t, http.StatusOK, w.ask("upgrades", "POST", "/upgrade/finish", "", &end))
	require.Empty(t, end.Resumed)
	_, blockers, suspended = w.report("looks", "GET", "/upgrade", "")
	require.Equal(t, []string{"VMSchedule a/nightly Active", "VMSchedule b/weekly Active"}, blockers)
	require.Empty(t, suspended)
}

// TestUnfinished is what is said of schedules that could not be resumed.
func TestUnfinished(t *testing.T) {
	left := func(name string, err error) error {
		return &upgrade.NotResumed{Namespace: "shop", Name: name, Err: fmt.Errorf("patching: %w", err)}
	}
	down := &apierrors.StatusError{ErrStatus: metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: `admission webhook "vmschedules.hayloft.dev" denied the request: spec.suspend: the schedule cannot be resumed while BackupTarget s3 is not Ready: mend it`}}
	rights := &apierrors.StatusError{ErrStatus: metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: `vmschedules.hayloft.dev "c" is forbidden: User "u" cannot patch resource`}}
	for name, c := range map[string]struct {
		err    error
		status int
		says   string
		names  []any
	}{
		"target down":     {errors.Join(left("a", down), left("b", down)), 409, "2 schedules were resumed, 2 stay suspended: schedule shop/a: spec.suspend: the schedule cannot be resumed while BackupTarget s3 is not Ready: mend it", []any{"shop/a", "shop/b"}},
		"no right":        {errors.Join(left("c", rights)), 403, "2 schedules were resumed, 1 stays suspended: schedule shop/c: vmschedules.hayloft.dev", []any{"shop/c"}},
		"several causes":  {errors.Join(left("c", rights), left("a", down)), 409, "schedule shop/c: vmschedules.hayloft.dev", []any{"shop/c", "shop/a"}},
		"no time":         {errors.Join(left("a", context.DeadlineExceeded)), 503, "did not answer in time", nil},
		"nothing is seen": {errors.Join(fmt.Errorf("listing: %w", rights)), 403, `User "u" cannot patch resource: ask for that right`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := problem.Of(unfinished(2, c.err))
			require.Equal(t, c.status, d.Status)
			require.Contains(t, d.Detail, c.says)
			var names []any
			for _, e := range d.Errors {
				names = append(names, e.Value)
				require.Empty(t, e.Location, "no field of the request is wrong")
			}
			require.Equal(t, c.names, names)
		})
	}
}
