package control

import (
	"context"
	"fmt"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"hayloft.dev/coordinator/plan"
	"hayloft.dev/coordinator/vmspec"
	"hayloft.dev/pkg/api/v1alpha1"
)

// restores carries out the plans of VMRestores.
type restores struct {
	*Controller
	fresh   *freshest[*v1alpha1.VMRestore]
	pace    *pacer
	known   *known
	cleaned *memory[bool]               // whether the last look found nothing of a restore
	refused *memory[string]             // why the API server refused an object of a restore
	whole   *memory[*v1alpha1.VMBackup] // the point, as it was last read
	copies  *memory[bool]               // whether the copies that the former restore made were removed
}

// Reconcile brings one VMRestore a step further.
func (r *restores) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var cached v1alpha1.VMRestore
	err := r.cache.Get(ctx, req.NamespacedName, &cached)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("reading VMRestore %s: %w", req, err)
	}
	if former := r.known.see(req.NamespacedName, cached.UID); former != "" {
		r.forget(former)
	}
	if err != nil {
		return reconcile.Result{}, nil
	}
	s := r.fresh.latest(&cached)
	jobs, err := r.jobs.of(ctx, s.UID)
	if err != nil {
		return reconcile.Result{}, err
	}
	view, err := r.view(ctx, s, jobs)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("VMRestore %s: %w", req, err)
	}
	after, err := r.act(ctx, s, view, plan.Restore(view))
	if apierrors.IsConflict(err) {
		r.Log.Debug("VMRestore changed meanwhile; looking again", "vmrestore", req.String())
		return reconcile.Result{RequeueAfter: conflictPause}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("VMRestore %s: %w", req, err)
	}
	return reconcile.Result{RequeueAfter: after}, nil
}

func (r *restores) forget(uid types.UID) {
	r.pool.forget(uid)
	r.fresh.forget(uid)
	r.pace.forget(uid)
	r.cleaned.forget(uid)
	r.refused.forget(uid)
	r.copies.forget(uid)
	r.whole.forget(uid)
}

func (r *restores) view(ctx context.Context, s *v1alpha1.VMRestore, jobs []v1alpha1.NodeJob) (plan.RestoreView, error) {
	v := plan.RestoreView{
		Now: time.Now(), Restore: s, Jobs: jobs, Waits: r.jobs.waitsOf(ctx, jobs), Work: r.pool.states(s.UID), Config: r.Plan,
	}
	v.Cleaned = r.cleaned.get(s.UID)
	v.Refused = r.refused.get(s.UID)
	v.CopiesGone = r.copies.get(s.UID)
	if s.Status.Phase == v1alpha1.RestoreReady {
		return v, nil
	}
	var err error
	if v.Replaced, err = r.replaced(ctx, s); err != nil {
		return v, err
	}
	if s.Status.ReplacedAt != nil || v.Replaced != nil && v.Replaced.Mine {
		return v, nil // its end depends on the VM and its former claims alone
	}
	if v.Backup, err = r.backup(ctx, s, v.Work); err != nil {
		return v, err
	}
	if v.Backup != nil && v.Backup.Spec.Type != v1alpha1.TypeSnapshot {
		if v.Target, err = r.target(ctx, v.Backup.Spec.Target); err != nil {
			return v, err
		}
	}
	if !s.DeletionTimestamp.IsZero() || v.Backup == nil {
		return v, nil
	}
	if s.Status.BackupUID == "" && meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady) == nil {
		if v.Place, err = r.place(ctx, s, v.Backup); err != nil {
			return v, err
		}
	}
	if list, ok := value[map[string]int64](r.pool, s.UID, plan.OpInspectBackups); ok {
		v.Inspected = list
	}
	var rebuilt *vmspec.Result
	if v.Origin, rebuilt, err = r.origin(ctx, s, v.Backup, v.Replaced); err != nil {
		return v, err
	}
	if err := r.former(ctx, s, v.Replaced, rebuilt); err != nil {
		return v, err
	}
	if v.Backup.Spec.Type == v1alpha1.TypeSnapshot && v.Origin != nil && len(s.Status.Disks) == 0 {
		var refusals []string
		if v.Inspected, refusals, err = r.sources(ctx, v.Backup); err != nil {
			return v, err
		}
		v.Origin.Refusals = append(v.Origin.Refusals, refused(refusals...)...)
	}
	if v.Volumes, err = r.volumeFacts(ctx, s); err != nil {
		return v, err
	}
	if v.Stale, err = r.stale(s); err != nil {
		return v, err
	}
	if v.Replicas, err = r.replicas(ctx, s, jobs); err != nil {
		return v, err
	}
	v.Made, err = r.made(ctx, s)
	return v, err
}

// volumeFacts are about the Longhorn volumes of the current attempts. One that
// the cache lacks is only missing if the API server lacks it too.
func (r *restores) volumeFacts(ctx context.Context, s *v1alpha1.VMRestore) (map[string]plan.VolumeFact, error) {
	out := map[string]plan.VolumeFact{}
	for _, d := range s.Status.Disks {
		if d.Volume == "" {
			continue
		}
		vol := &longhorn.Volume{}
		ok, err := r.get(ctx, r.LonghornNamespace, d.Volume, vol)
		if err != nil {
			return nil, err
		}
		if ok {
			out[d.Volume] = volumeFact(vol, s.UID)
		}
	}
	return out, nil
}

// stale are the volumes that a restore made for attempts which are over.
func (r *restores) stale(s *v1alpha1.VMRestore) ([]plan.DeleteVolume, error) {
	if len(s.Status.Disks) == 0 {
		return nil, nil
	}
	all, err := r.cache.OfRestore(string(s.UID))
	if err != nil {
		return nil, fmt.Errorf("listing the volumes of the restore: %w", err)
	}
	current := map[string]bool{}
	for _, d := range s.Status.Disks {
		current[d.Volume] = true
	}
	var out []plan.DeleteVolume
	for i := range all {
		if v := &all[i]; !current[v.Name] && v.DeletionTimestamp.IsZero() {
			out = append(out, plan.DeleteVolume{Name: v.Name, UID: v.UID})
		}
	}
	return out, nil
}

func volumeFact(vol *longhorn.Volume, restore types.UID) plan.VolumeFact {
	f := plan.VolumeFact{
		UID: vol.UID, Owned: owned(vol, restore),
		Deleting: !vol.DeletionTimestamp.IsZero(), Created: vol.CreationTimestamp.Time,
	}
	for _, c := range vol.Status.Conditions {
		if c.Type == longhorn.VolumeConditionTypeScheduled && c.Status == longhorn.ConditionStatusFalse {
			f.Unschedulable = c.Reason
			if c.Message != "" {
				f.Unschedulable += ": " + c.Message
			}
		}
	}
	return f
}

func owned(o client.Object, restore types.UID) bool {
	return o.GetLabels()[v1alpha1.LabelRestore] == string(restore)
}

// labelVolume ties Longhorn's Replica objects to their volume.
const labelVolume = "longhornvolume"

// replicas reads live which replicas the volumes have whose restore has ended
// well: those, and no others, must be in its record.
func (r *restores) replicas(ctx context.Context, s *v1alpha1.VMRestore, jobs []v1alpha1.NodeJob) (map[string][]string, error) {
	out := map[string][]string{}
	for i := range jobs {
		j := &jobs[i]
		disk, volume := filled(j)
		if j.Status.State != v1alpha1.JobSucceeded || volume == "" || recorded(s, disk) {
			continue
		}
		var list longhorn.ReplicaList
		if err := r.live.List(ctx, &list, client.InNamespace(r.LonghornNamespace), client.MatchingLabels{labelVolume: volume}); err != nil {
			return nil, fmt.Errorf("listing the replicas of volume %s: %w", volume, err)
		}
		names := []string{}
		for k := range list.Items {
			names = append(names, list.Items[k].Name)
		}
		out[volume] = names
	}
	return out, nil
}

func recorded(s *v1alpha1.VMRestore, disk string) bool {
	for _, d := range s.Status.Disks {
		if d.Name == disk {
			return d.Record != nil
		}
	}
	return false
}

// made reads live which of the objects exist that the phase Building makes.
func (r *restores) made(ctx context.Context, s *v1alpha1.VMRestore) (plan.Made, error) {
	m := plan.Made{Volumes: map[string]plan.ObjectFact{}, Claims: map[string]plan.ObjectFact{}}
	if s.Status.Phase != v1alpha1.RestoreBuilding {
		return m, nil
	}
	for _, d := range s.Status.Disks {
		var pv corev1.PersistentVolume
		err := r.live.Get(ctx, client.ObjectKey{Name: d.Volume}, &pv)
		if client.IgnoreNotFound(err) != nil {
			return m, fmt.Errorf("reading PersistentVolume %s: %w", d.Volume, err)
		}
		if err == nil {
			m.Volumes[d.Volume] = plan.ObjectFact{
				UID: pv.UID, Owned: owned(&pv, s.UID), Created: pv.CreationTimestamp.Time,
				Seen: pv.Status.Phase == corev1.VolumeAvailable || pv.Status.Phase == corev1.VolumeBound,
			}
		}
		var claim corev1.PersistentVolumeClaim
		err = r.live.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: d.Claim}, &claim)
		if client.IgnoreNotFound(err) != nil {
			return m, fmt.Errorf("reading claim %s: %w", d.Claim, err)
		}
		if err == nil {
			m.Claims[d.Claim] = plan.ObjectFact{
				UID: claim.UID, Owned: owned(&claim, s.UID), Created: claim.CreationTimestamp.Time, Touched: touched(&claim),
				Bound: claim.Status.Phase == corev1.ClaimBound && claim.Spec.VolumeName == d.Volume,
				Lost:  claim.Status.Phase == corev1.ClaimLost,
			}
		}
	}
	if s.Spec.NewVM == "" {
		return m, nil
	}
	vm, err := r.read(ctx, kindVM, s.Namespace, s.Spec.NewVM)
	if err == nil && vm != nil {
		m.VM = &plan.ObjectFact{UID: vm.GetUID(), Owned: owned(vm, s.UID)}
	}
	return m, err
}

// act carries out an intent, in the order in which a crash leaves nothing that
// the next leader would not find.
func (r *restores) act(ctx context.Context, s *v1alpha1.VMRestore, v plan.RestoreView, in plan.RestoreIntent) (time.Duration, error) {
	after := in.After
	if in.AddFinalizer {
		before := s.ResourceVersion
		changed, err := r.finalizer(ctx, s, v1alpha1.FinalizerRestore, true, nil)
		if err != nil {
			return 0, err
		}
		if changed {
			r.fresh.wrote(s.DeepCopy(), before)
		}
	}
	wrote, later, err := r.write(ctx, s, in)
	if err != nil {
		return 0, err
	}
	if later > 0 && (after == 0 || later < after) {
		after = later
	}
	if wrote || in.DropFinalizer && hasFinalizer(s, v1alpha1.FinalizerRestore) {
		r.tell(s, in.Events)
	}
	made, err := r.create(ctx, s, in.Create)
	if err != nil {
		return 0, err
	}
	if made {
		after = time.Millisecond // plan again with what was made
	}
	owner := v1alpha1.ObjectReference{Kind: "VMRestore", Namespace: s.Namespace, Name: s.Name, UID: s.UID}
	if err := r.followUp(ctx, owner, v1alpha1.LabelRestore, v.Jobs, in.Actions); err != nil {
		return 0, err
	}
	for _, d := range in.DeleteVolumes {
		vol := &longhorn.Volume{}
		vol.Namespace, vol.Name = r.LonghornNamespace, d.Name
		if err := r.client.Delete(ctx, vol, client.Preconditions{UID: &d.UID}); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return 0, fmt.Errorf("deleting volume %s of a failed attempt: %w", d.Name, err)
		}
	}
	for _, name := range in.TouchClaims {
		if err := r.touch(ctx, s.Namespace, name, v.Made.Claims[name].UID); err != nil {
			return 0, err
		}
	}
	if changed, err := r.replace(ctx, s, v, in); err != nil {
		return 0, err
	} else if changed {
		after = time.Millisecond
	}
	for _, o := range in.Start {
		r.start(ctx, s.DeepCopy(), v, o)
	}
	if in.Clean {
		left, err := r.clean(ctx, s)
		if err != nil {
			return 0, err
		}
		r.cleaned.put(s.UID, left == 0)
		if left == 0 {
			after = time.Millisecond
		}
	}
	if in.DropFinalizer {
		before := s.ResourceVersion
		changed, err := r.finalizer(ctx, s, v1alpha1.FinalizerRestore, false, nil)
		if err != nil {
			return 0, err
		}
		if changed {
			r.fresh.wrote(s.DeepCopy(), before)
			r.pool.forget(s.UID)
			r.refused.forget(s.UID)
			r.copies.forget(s.UID)
			r.whole.forget(s.UID)
		}
		return 0, nil
	}
	return after, nil
}

func (r *restores) write(ctx context.Context, s *v1alpha1.VMRestore, in plan.RestoreIntent) (wrote bool, later time.Duration, err error) {
	if equality.Semantic.DeepEqual(s.Status, in.Status) {
		return false, 0, nil
	}
	if in.Cosmetic {
		if wait := r.pace.due(s.UID, r.tuning().StatusEvery); wait > 0 {
			return false, wait, nil
		}
	}
	before, former := s.ResourceVersion, s.Status
	s.Status = in.Status
	if err := r.client.Status().Update(ctx, s); err != nil {
		s.Status = former
		return false, 0, fmt.Errorf("writing its status: %w", err)
	}
	r.fresh.wrote(s.DeepCopy(), before)
	r.pace.forget(s.UID)
	r.countRestore(former, s)
	return true, 0, nil
}
