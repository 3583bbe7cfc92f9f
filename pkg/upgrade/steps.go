package upgrade

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Steps makes the steps of an upgrade over the API. Its user needs list and patch
// on vmschedules, vmbackups and vmrestores in all namespaces.
type Steps struct {
	Client client.Client
	// Poll is the time between two looks while Wait waits; 2 s when not set.
	Poll time.Duration
}

// PrepareOptions say how to bring work to rest.
type PrepareOptions struct {
	// Reason is a sentence that is kept on each schedule.
	Reason string
	// Cancel ends the backups and restores that are under way, rather than
	// letting them go on. A transfer that an engine has begun still has to end.
	Cancel bool
}

// Check tells what is in the way, and changes nothing.
func (u *Steps) Check(ctx context.Context) (Report, error) {
	return u.pass(ctx, nil)
}

// Prepare suspends every active schedule, keeps those from resuming that would by
// themselves, cancels what runs if that was asked for, and reports what is still in
// the way then. It does not wait.
func (u *Steps) Prepare(ctx context.Context, o PrepareOptions) (Report, error) {
	return u.pass(ctx, &o)
}

// Wait prepares, again and again, until nothing is in the way or ctx ends, whose
// cause it returns then. seen is called with each report that differs from the one
// before.
func (u *Steps) Wait(ctx context.Context, o PrepareOptions, seen func(Report)) error {
	poll := u.Poll
	if poll == 0 {
		poll = 2 * time.Second
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	said := ""
	tell := func(r Report) {
		if now := fmt.Sprint(r); now != said {
			said = now
			seen(r)
		}
	}
	for {
		report, err := u.Prepare(ctx, o)
		if err != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
		tell(report)
		if report.Ready() {
			return nil
		}
		// A whole look costs what there is in the cluster: while those that are
		// known go on, only they are looked at. A schedule that somebody resumes
		// meanwhile is to be suspended again.
		for going := true; going; going = len(report.Blockers) > 0 && !slices.ContainsFunc(report.Blockers, begins) {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-tick.C:
			}
			if report.Blockers, err = u.remaining(ctx, report.Blockers); err != nil {
				return cmp.Or(context.Cause(ctx), err)
			}
			tell(report)
		}
	}
}

// Finish resumes the schedules that an upgrade has suspended and no others, lets
// those resume by themselves again that do, and returns those it resumed. One that
// somebody else has suspended meanwhile stays so and loses the upgrade's mark. One
// that cannot be resumed, for instance because its target is away, is told in the
// error, which joins a NotResumed for each of them, and keeps its mark, so that
// Finish can be called again.
func (u *Steps) Finish(ctx context.Context) ([]Suspended, error) {
	var resumed []Suspended
	var failed []error
	err := u.schedules(ctx, func() {}, func(s *v1alpha1.VMSchedule) error {
		was := Suspended{s.Namespace, s.Name, s.Annotations[v1alpha1.AnnotationSuspendReason]}
		none := map[string]any{v1alpha1.AnnotationSuspendedBy: nil, v1alpha1.AnnotationSuspendReason: nil, v1alpha1.AnnotationHeld: nil}
		did, err := u.change(ctx, s, byUpgrade, false, none)
		if err == nil && !did {
			_, err = u.change(ctx, s, byOthers, true, none)
		}
		if err == nil && !did {
			_, err = u.change(ctx, s, held, true, map[string]any{v1alpha1.AnnotationHeld: nil})
		}
		switch {
		case err != nil:
			failed = append(failed, &NotResumed{Namespace: s.Namespace, Name: s.Name, Err: err})
		case did:
			resumed = append(resumed, was)
		}
		return nil
	})
	return resumed, errors.Join(append(failed, err)...)
}

// NotResumed says why a schedule stays suspended.
type NotResumed struct {
	Namespace, Name string
	Err             error
}

func (e *NotResumed) Error() string {
	return fmt.Sprintf("resuming schedule %s/%s: %v", e.Namespace, e.Name, e.Err)
}

func (e *NotResumed) Unwrap() error { return e.Err }

// Where many schedules come at once their coordinator makes points and records the runs
// later. It makes them within a second of having asked whether their schedules stand;
// recorded is when all of those are there that it asked for before these were suspended.
// clocks may differ.
const (
	recorded = 3 * time.Second
	clocks   = 5 * time.Second
)

// pass goes over everything once. Schedules come first: what one begins before
// it is suspended is seen among the points.
func (u *Steps) pass(ctx context.Context, prepare *PrepareOptions) (Report, error) {
	r := Report{Blockers: []Blocker{}, Suspended: []Suspended{}}
	var unrecorded time.Time // when a schedule was suspended last whose run may have begun
	err := u.schedules(ctx, func() { r = Report{Blockers: []Blocker{}, Suspended: []Suspended{}} }, func(s *v1alpha1.VMSchedule) error {
		if prepare != nil {
			due := s.Status.NextTime != nil && time.Until(s.Status.NextTime.Time) < clocks
			did, err := u.change(ctx, s, active, true, map[string]any{
				v1alpha1.AnnotationSuspendedBy: v1alpha1.SuspendedByUpgrade, v1alpha1.AnnotationSuspendReason: prepare.Reason,
			})
			if err != nil {
				return fmt.Errorf("suspending schedule %s/%s: %w", s.Namespace, s.Name, err)
			}
			if did && due {
				unrecorded = time.Now()
			}
			if _, err := u.change(ctx, s, resumes, true, map[string]any{v1alpha1.AnnotationHeld: prepare.Reason}); err != nil {
				return fmt.Errorf("keeping schedule %s/%s from resuming: %w", s.Namespace, s.Name, err)
			}
		}
		if b := ofSchedule(s); b != nil {
			r.Blockers = append(r.Blockers, *b)
		}
		if byUpgrade(s) {
			r.Suspended = append(r.Suspended, Suspended{s.Namespace, s.Name, s.Annotations[v1alpha1.AnnotationSuspendReason]})
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	if !unrecorded.IsZero() {
		select {
		case <-ctx.Done():
			return r, context.Cause(ctx)
		case <-time.After(time.Until(unrecorded.Add(recorded))):
		}
	}
	cancel := prepare != nil && prepare.Cancel
	points, err := gather(ctx, u, &v1alpha1.VMBackupList{}, cancel, func(l *v1alpha1.VMBackupList) (out []work) {
		for i := range l.Items {
			out = append(out, work{&l.Items[i], ofBackup(&l.Items[i]), l.Items[i].Spec.Cancel})
		}
		return out
	})
	if err != nil {
		return r, err
	}
	restores, err := gather(ctx, u, &v1alpha1.VMRestoreList{}, cancel, func(l *v1alpha1.VMRestoreList) (out []work) {
		for i := range l.Items {
			out = append(out, work{&l.Items[i], ofRestore(&l.Items[i]), l.Items[i].Spec.Cancel})
		}
		return out
	})
	r.Blockers = slices.Concat(r.Blockers, points, restores)
	return r, err
}

// work is a backup or restore, and whether it is in the way.
type work struct {
	object    client.Object
	blocks    *Blocker
	cancelled bool
}

// gather are the blockers of a list of backups or restores, which are cancelled
// if that is wanted.
func gather[L client.ObjectList](ctx context.Context, u *Steps, list L, cancel bool, each func(L) []work) ([]Blocker, error) {
	var out []Blocker
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"cancel":true}}`))
	err := pages(ctx, u.Client, list, func() { out = nil }, func(list L) error {
		for _, w := range each(list) {
			if w.blocks == nil {
				continue
			}
			out = append(out, *w.blocks)
			if !cancel || w.cancelled {
				continue
			}
			if err := u.Client.Patch(ctx, w.object, patch); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("cancelling %s %s/%s: %w", w.blocks.Kind, w.blocks.Namespace, w.blocks.Name, err)
			}
		}
		return nil
	})
	return out, err
}

// remaining are those of known blockers that are still in the way.
func (u *Steps) remaining(ctx context.Context, known []Blocker) ([]Blocker, error) {
	out := []Blocker{}
	for _, b := range known {
		key := client.ObjectKey{Namespace: b.Namespace, Name: b.Name}
		var still *Blocker
		var err error
		switch b.Kind {
		case "VMSchedule":
			var s v1alpha1.VMSchedule
			if err = u.Client.Get(ctx, key, &s); err == nil {
				still = ofSchedule(&s)
			}
		case "VMBackup":
			var p v1alpha1.VMBackup
			if err = u.Client.Get(ctx, key, &p); err == nil {
				still = ofBackup(&p)
			}
		default:
			var r v1alpha1.VMRestore
			if err = u.Client.Get(ctx, key, &r); err == nil {
				still = ofRestore(&r)
			}
		}
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("looking at %s %s: %w", b.Kind, key, err)
		}
		if still != nil {
			out = append(out, *still)
		}
	}
	return out, nil
}

// changes bounds how often a schedule is read anew because somebody else has
// written it.
const changes = 10

// change writes suspend and the marks in one patch, under the version that was
// judged; it does nothing when the schedule is not as wanted any more. s is as
// stored afterwards.
func (u *Steps) change(ctx context.Context, s *v1alpha1.VMSchedule, wanted func(*v1alpha1.VMSchedule) bool, suspend bool, marks map[string]any) (bool, error) {
	for try := 1; ; try++ {
		if !wanted(s) {
			return false, nil
		}
		body, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": s.ResourceVersion, "annotations": marks},
			"spec":     map[string]any{"suspend": suspend},
		})
		if err != nil {
			return false, fmt.Errorf("writing the change: %w", err)
		}
		err = u.Client.Patch(ctx, s, client.RawPatch("application/merge-patch+json", body), client.FieldOwner(fieldOwner))
		if !apierrors.IsConflict(err) || try == changes {
			return err == nil, client.IgnoreNotFound(err)
		}
		if err := u.Client.Get(ctx, client.ObjectKeyFromObject(s), s); err != nil {
			return false, client.IgnoreNotFound(err)
		}
	}
}

// begins tells whether a blocker may begin work at any time.
func begins(b Blocker) bool { return b.State == Active || b.State == Waiting }

func (u *Steps) schedules(ctx context.Context, anew func(), each func(*v1alpha1.VMSchedule) error) error {
	return pages(ctx, u.Client, &v1alpha1.VMScheduleList{}, anew, func(l *v1alpha1.VMScheduleList) error {
		for i := range l.Items {
			if err := each(&l.Items[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// pageSize is how many objects are read at once.
const pageSize = 500

// pages reads a list in pages. anew is called when one has become too old to be
// gone on with, so that it begins from the start.
func pages[L client.ObjectList](ctx context.Context, c client.Reader, list L, anew func(), each func(L) error) error {
	token := ""
	for {
		err := c.List(ctx, list, client.Limit(pageSize), client.Continue(token))
		if apierrors.IsResourceExpired(err) && token != "" {
			token = ""
			anew()
			continue
		}
		if err != nil {
			return fmt.Errorf("listing what is to come to rest: %w", err)
		}
		if err := each(list); err != nil {
			return err
		}
		if token = list.GetContinue(); token == "" {
			return nil
		}
	}
}
