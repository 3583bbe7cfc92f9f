package control

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/assign"
	"hayloft.dev/coordinator/plan"
	"hayloft.dev/pkg/api/v1alpha1"
)

// jobStore is the leader's view of the NodeJobs, and the only place that
// creates, assigns and deletes them. One lock around each decision and its
// write keeps two jobs off one volume though the cache lags behind.
type jobStore struct {
	c     *Controller
	fresh *freshest[*v1alpha1.NodeJob]

	// deciding is held while jobs are given to agents, until that is written. Who
	// only looks at jobs does not wait for it.
	deciding sync.Mutex

	mu sync.Mutex
	// gone are jobs that were deleted lately, UID -> when.
	gone map[types.UID]time.Time
	// unattended is since when a job waits for its node's agent. Whoever is deciding
	// puts another one in its place.
	unattended map[types.UID]attendance
	// waits is why jobs are not given to any agent yet, by name.
	waits map[string]string
}

type attendance struct {
	node, session string
	alive         bool
	since         time.Time
}

func newJobStore(c *Controller) *jobStore {
	return &jobStore{
		c: c, fresh: newFreshest[*v1alpha1.NodeJob](),
		gone: map[types.UID]time.Time{}, unattended: map[types.UID]attendance{}, waits: map[string]string{},
	}
}

// of are the jobs of one owner.
func (s *jobStore) of(ctx context.Context, owner types.UID) ([]v1alpha1.NodeJob, error) {
	return s.list(ctx, func(j *v1alpha1.NodeJob) bool { return j.Spec.Owner.UID == owner }, client.MatchingFields{indexOwner: string(owner)})
}

// all are all jobs, to be read only: they share what they point to with the cache.
func (s *jobStore) all(ctx context.Context) ([]v1alpha1.NodeJob, error) {
	return s.list(ctx, func(*v1alpha1.NodeJob) bool { return true }, client.UnsafeDisableDeepCopy)
}

// list reads the cache and puts our own newer writes over it. Both where and
// wanted say which jobs are meant.
func (s *jobStore) list(ctx context.Context, wanted func(*v1alpha1.NodeJob) bool, where ...client.ListOption) ([]v1alpha1.NodeJob, error) {
	// From the look into the cache on: one that looked earlier, and goes on after
	// another has seen a new job there, would miss that job.
	s.mu.Lock()
	defer s.mu.Unlock()
	var cached v1alpha1.NodeJobList
	if err := s.c.cache.List(ctx, &cached, append(where, client.InNamespace(s.c.Namespace))...); err != nil {
		return nil, fmt.Errorf("listing jobs: %w", err)
	}
	seen := make(map[types.UID]bool, len(cached.Items))
	out := make([]v1alpha1.NodeJob, 0, len(cached.Items))
	for i := range cached.Items {
		j := s.fresh.latest(&cached.Items[i])
		seen[j.UID] = true
		if !s.deleted(j.UID) && j.DeletionTimestamp.IsZero() {
			out = append(out, *j)
		}
	}
	for _, j := range s.fresh.missing(seen, wanted) {
		if !s.deleted(j.UID) {
			out = append(out, *j)
		}
	}
	return out, nil
}

// deleted tells of a job that was deleted lately; the cache may still show it. The
// caller holds the lock.
func (s *jobStore) deleted(uid types.UID) bool {
	at, gone := s.gone[uid]
	return gone && time.Since(at) <= lagLimit
}

// manyJobs is the number of unfinished jobs from which on a new one is not given
// to an agent at once: deciding that looks at all others, for each new one anew,
// and none is likely to be free.
const manyJobs = 100

// givenAtOnce bounds the writes by which jobs are given to agents at the same time.
const givenAtOnce = 8

// create makes a job, given to an agent at once if few others are waiting for one
// and nobody is deciding about any: who would wait for that waits for requests, and
// of many that come at once the last for those of all others. A job that exists
// already is what it was to be: names are functions of the work.
func (s *jobStore) create(ctx context.Context, job *v1alpha1.NodeJob) error {
	job = job.DeepCopy()
	job.Namespace = s.c.Namespace
	if len(s.attendance()) >= manyJobs || s.c.newcomers.rush() > 0 && s.standsAside(job) || !s.deciding.TryLock() {
		return s.store(ctx, job)
	}
	defer s.deciding.Unlock()
	if err := s.place(ctx, job); err != nil {
		return err
	}
	return s.store(ctx, job)
}

// early makes a job that its owner does not record yet, given to nobody; false: there
// is one of its name.
func (s *jobStore) early(ctx context.Context, job *v1alpha1.NodeJob) (made bool, err error) {
	job = job.DeepCopy()
	job.Namespace = s.c.Namespace
	return s.put(ctx, job)
}

func (s *jobStore) store(ctx context.Context, job *v1alpha1.NodeJob) error {
	_, err := s.put(ctx, job)
	return err
}

// put creates a job; false: there is one of its name.
func (s *jobStore) put(ctx context.Context, job *v1alpha1.NodeJob) (made bool, err error) {
	if err := s.c.client.Create(ctx, job); apierrors.IsAlreadyExists(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("creating job %s: %w", job.Name, err)
	}
	s.fresh.wrote(job.DeepCopy(), "")
	return true, nil
}

// place gives a new job to an agent if one is free.
func (s *jobStore) place(ctx context.Context, job *v1alpha1.NodeJob) error {
	jobs, err := s.all(ctx)
	if err != nil {
		return err
	}
	jobs = slices.DeleteFunc(jobs, func(j v1alpha1.NodeJob) bool { return !s.recorded(&j) })
	view, err := s.view(ctx, jobs)
	if err != nil {
		return err
	}
	next := assignable(job)
	next.Created, next.Held = time.Now(), s.c.longhornBusy(ctx, job)
	view.Jobs = append(view.Jobs, next)
	for _, volume := range next.Volumes {
		view.Engines[volume] = s.c.cache.Node(client.ObjectKey{Namespace: s.c.LonghornNamespace, Name: volume})
	}
	out := assign.Decide(view)
	for _, ch := range out.Changes {
		if ch.Job == job.Name {
			job.Spec.NodeName = ch.Node
		}
	}
	if why := out.Waits[job.Name]; why != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waits[job.Name] = why
	}
	return nil
}

// standsAside: the job is given to no agent while others of as many points are still
// to come. From then on the agent writes to the API server, which those wait for.
// Whoever has asked for a point or a restore does not wait for that.
func (s *jobStore) standsAside(job *v1alpha1.NodeJob) bool {
	if job.Spec.NodeName != "" || job.Spec.Owner.Kind != "VMBackup" || plan.Finished(job) {
		return false
	}
	b := s.owner(job)
	return b != nil && scheduled(b)
}

// recorded: the job may be given to an agent, as far as its owner goes.
func (s *jobStore) recorded(job *v1alpha1.NodeJob) bool {
	return plan.Finished(job) || plan.Recorded(job, nil) || plan.Recorded(job, s.owner(job))
}

// owner is the point of a job as the cache has it, nil if it has none.
func (s *jobStore) owner(job *v1alpha1.NodeJob) *v1alpha1.VMBackup {
	known, exists, err := s.c.points.Get(types.NamespacedName{Namespace: job.Spec.Owner.Namespace, Name: job.Spec.Owner.Name})
	if err != nil || !exists {
		return nil
	}
	return known.Point()
}

func (s *jobStore) attendance() map[types.UID]attendance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unattended
}

// assign gives waiting and lost jobs to agents. It returns when to do so again
// though nothing happens, and how long it took to decide.
func (s *jobStore) assign(ctx context.Context) (again, took time.Duration, err error) {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	began := time.Now()
	jobs, err := s.all(ctx)
	if err != nil {
		return 0, 0, err
	}
	rush := s.c.newcomers.rush()
	jobs = slices.DeleteFunc(jobs, func(j v1alpha1.NodeJob) bool { return !s.recorded(&j) || rush > 0 && s.standsAside(&j) })
	view, err := s.view(ctx, jobs)
	if err != nil {
		return 0, 0, err
	}
	out := assign.Decide(view)
	again, took = sooner(out.Again, rush), time.Since(began)
	byName := map[string]*v1alpha1.NodeJob{}
	for i := range jobs {
		byName[jobs[i].Name] = &jobs[i]
	}
	s.tellWaits(out.Waits, byName)
	var giving errgroup.Group
	giving.SetLimit(givenAtOnce)
	for _, ch := range out.Changes {
		giving.Go(func() error { return s.give(ctx, byName[ch.Job], ch) })
	}
	if err := giving.Wait(); err != nil {
		return 0, took, err
	}
	if len(view.Jobs) > 0 {
		again = s.nextDeath(again)
	}
	return again, took, nil
}

// give writes one decision. The node stands in the spec, which nobody else
// writes, so what the agent writes meanwhile does not matter.
func (s *jobStore) give(ctx context.Context, job *v1alpha1.NodeJob, d assign.Decision) error {
	before, former := job.ResourceVersion, job.Spec.NodeName
	freed := s.free(ctx, job) // if not, the next agent waits, so the job goes all the same
	patch := client.MergeFrom(job)
	job = job.DeepCopy()
	job.Spec.NodeName = d.Node
	if err := s.c.client.Patch(ctx, job, patch); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("assigning job %s to node %s: %w", job.Name, d.Node, err)
	}
	s.fresh.wrote(job, before)
	if former != "" {
		s.c.Recorder.Reassigned()
		s.c.Log.Info("job goes to another agent", "job", job.Name, "from", former, "to", d.Node, "why", d.Reason)
	}
	return freed
}

// view is what the assignment looks at, of the unfinished jobs.
func (s *jobStore) view(ctx context.Context, jobs []v1alpha1.NodeJob) (assign.View, error) {
	v := assign.View{
		Engines: map[string]string{}, TargetLimits: map[string]int{},
		MaxPerNode: s.c.tuning().MaxJobsPerNode, ClaimTimeout: s.c.ClaimTimeout,
	}
	nodes := map[string]bool{}
	for _, session := range s.c.sessions.Sessions() {
		if session.Alive && session.Node != "" && !nodes[session.Node] {
			nodes[session.Node] = true
			v.Agents = append(v.Agents, assign.Agent{Node: session.Node})
		}
	}
	var targets v1alpha1.BackupTargetList
	if err := s.c.cache.List(ctx, &targets); err != nil {
		return v, fmt.Errorf("listing targets: %w", err)
	}
	for i := range targets.Items {
		v.TargetLimits[targets.Items[i].Name] = int(targets.Items[i].Spec.MaxConcurrentJobs)
	}
	former, unfinished := s.attendance(), map[types.UID]attendance{}
	now := time.Now()
	for i := range jobs {
		job := &jobs[i]
		if plan.Finished(job) {
			continue
		}
		j := assignable(job)
		j.Held = s.c.longhornBusy(ctx, job)
		j.SessionAlive = j.Session != "" && s.c.sessions.Alive(j.Session)
		at := attendance{node: j.Node, session: j.Session, alive: j.SessionAlive, since: now}
		if old, known := former[job.UID]; known && old.node == at.node && old.session == at.session && old.alive == at.alive {
			at.since = old.since
		}
		unfinished[job.UID] = at
		j.Unattended = now.Sub(at.since)
		v.Jobs = append(v.Jobs, j)
		for _, volume := range j.Volumes {
			v.Engines[volume] = s.c.cache.Node(client.ObjectKey{Namespace: s.c.LonghornNamespace, Name: volume})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unattended = unfinished
	return v, nil
}

// assignable is a job as the assignment sees it.
func assignable(job *v1alpha1.NodeJob) assign.Job {
	j := assign.Job{
		Name: job.Name, Volumes: volumesOf(job), Node: job.Spec.NodeName,
		Session: job.Status.Session, Created: job.CreationTimestamp.Time, Only: guestNode(job),
	}
	switch {
	case job.Spec.Backup != nil:
		j.Target = job.Spec.Backup.Target
	case job.Spec.Restore != nil:
		j.Target = job.Spec.Restore.Target
	}
	return j
}

// guestNode is where the agent is that alone can do a cut; "": any can.
func guestNode(job *v1alpha1.NodeJob) string {
	if job.Status.Cut == nil {
		return ""
	}
	return job.Status.Cut.GuestNode
}

func volumesOf(job *v1alpha1.NodeJob) []string {
	switch s := job.Spec; {
	case s.Cut != nil:
		out := make([]string, 0, len(s.Cut.Disks))
		for _, d := range s.Cut.Disks {
			out = append(out, d.Volume)
		}
		return out
	case s.Backup != nil:
		return []string{s.Backup.Volume}
	case s.Restore != nil:
		return []string{s.Restore.Volume}
	case s.Clone != nil:
		return []string{s.Clone.SourceVolume, s.Clone.Volume}
	case s.RemoveSnapshots != nil:
		return []string{s.RemoveSnapshots.Volume}
	}
	return nil
}

// filled names the disk and the volume that a job fills, empty when it fills
// none.
func filled(j *v1alpha1.NodeJob) (disk, volume string) {
	switch {
	case j.Spec.Restore != nil:
		return j.Spec.Restore.Disk, j.Spec.Restore.Volume
	case j.Spec.Clone != nil:
		return j.Spec.Clone.Disk, j.Spec.Clone.Volume
	}
	return "", ""
}

// nextDeath is the earlier of d and the earliest moment at which a session can
// be found to have ended.
func (s *jobStore) nextDeath(d time.Duration) time.Duration {
	for _, session := range s.c.sessions.Sessions() {
		if !session.Alive {
			continue
		}
		if left := max(time.Until(session.Silent), 0) + 50*time.Millisecond; d == 0 || left < d {
			d = left
		}
	}
	return d
}

// remove deletes jobs by name.
func (s *jobStore) remove(ctx context.Context, jobs []v1alpha1.NodeJob, names []string) error {
	for i := range jobs {
		for _, name := range names {
			if jobs[i].Name != name {
				continue
			}
			as := client.Preconditions{UID: &jobs[i].UID}
			if jobs[i].Spec.NodeName == "" { // whoever gives it to an agent meanwhile comes first
				as.ResourceVersion = &jobs[i].ResourceVersion
			}
			if err := s.c.client.Delete(ctx, &jobs[i], as); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("deleting job %s: %w", name, err)
			}
			s.forget(jobs[i].UID)
		}
	}
	return nil
}

// drop deletes all jobs of an owner in one request.
func (s *jobStore) drop(ctx context.Context, label string, owner types.UID, jobs []v1alpha1.NodeJob) error {
	background := metav1.DeletePropagationBackground
	err := s.c.client.DeleteAllOf(ctx, &v1alpha1.NodeJob{}, client.InNamespace(s.c.Namespace),
		client.MatchingLabels{label: string(owner)}, &client.DeleteAllOfOptions{DeleteOptions: client.DeleteOptions{PropagationPolicy: &background}})
	if client.IgnoreNotFound(err) != nil { // without their kind there are none
		return fmt.Errorf("deleting the jobs of %s: %w", owner, err)
	}
	for i := range jobs {
		s.forget(jobs[i].UID)
	}
	return nil
}

func (s *jobStore) forget(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for former, at := range s.gone {
		if time.Since(at) > lagLimit {
			delete(s.gone, former)
		}
	}
	s.gone[uid] = time.Now()
	s.fresh.forget(uid)
}
