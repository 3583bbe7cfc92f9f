package control

import (
	"context"
	"fmt"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// What jobs wait for that no agent has begun is told in the words of their
// owners' conditions. It comes from caches and from the last assignment: asking
// anybody would cost more than knowing is worth.

// tellWaits takes up why jobs are not given to any agent, and has the owners of
// those for which that has changed look again. The caller is deciding.
func (s *jobStore) tellWaits(waits map[string]string, jobs map[string]*v1alpha1.NodeJob) {
	s.mu.Lock()
	former := s.waits
	s.waits = waits
	s.mu.Unlock()
	for name, why := range waits {
		j := jobs[name]
		if former[name] == why || j == nil {
			continue
		}
		owner := types.NamespacedName{Namespace: j.Spec.Owner.Namespace, Name: j.Spec.Owner.Name}
		if j.Spec.Owner.Kind == "VMRestore" {
			s.c.wake.restores.wake(owner)
		} else {
			s.c.wake.backups.wake(owner)
		}
	}
}

// waitsOf says what those of some jobs wait for that no agent has begun.
func (s *jobStore) waitsOf(ctx context.Context, jobs []v1alpha1.NodeJob) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for i := range jobs {
		j := &jobs[i]
		if j.Status.State != v1alpha1.JobPending {
			continue
		}
		why := s.waits[j.Name]
		if j.Spec.NodeName != "" {
			why = s.c.heldBy(ctx, j)
		}
		if why != "" {
			out[j.Name] = why
		}
	}
	return out
}

// heldBy names the session that has the lease of one of a job's volumes; "" when
// nobody has.
func (c *Controller) heldBy(ctx context.Context, j *v1alpha1.NodeJob) string {
	for _, volume := range volumesOf(j) {
		var l coordinationv1.Lease
		if err := c.cache.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: names.VolumeLease(volume)}, &l); err != nil {
			continue // there is none yet, or nobody knows
		}
		switch session := holder(&l); {
		case session == "":
		case c.sessions.Alive(session):
			return fmt.Sprintf("agent session %s has the lease of volume %s", session, volume)
		default:
			return fmt.Sprintf("agent session %s has the lease of volume %s and is silent; the lease is taken over when that has lasted for %s", session, volume, c.SessionDuration)
		}
	}
	return ""
}

// longhornBusy says that Longhorn itself is backing up the volume that a job is
// to back up; "": it is not. The replica that does it keeps target and key of the
// last one who asked as its process's environment, so two must not meet there.
func (c *Controller) longhornBusy(ctx context.Context, j *v1alpha1.NodeJob) string {
	if j.Spec.Backup == nil {
		return ""
	}
	var list longhorn.BackupList
	volume := j.Spec.Backup.Volume
	err := c.cache.List(ctx, &list, client.InNamespace(c.LonghornNamespace), client.MatchingFields{indexBusy: volume}, client.UnsafeDisableDeepCopy)
	if err != nil || len(list.Items) == 0 {
		return "" // nobody knows: better a backup than none
	}
	return fmt.Sprintf("Longhorn's own backup %s of volume %s is being made", list.Items[0].Name, volume)
}

// labelBackupVolume is Longhorn's, on its backups.
const labelBackupVolume = "backup-volume"

func backedUpVolume(b *longhorn.Backup) string {
	if v := b.Labels[labelBackupVolume]; v != "" {
		return v
	}
	return b.Status.VolumeName
}

// inTheMaking is the volume of a backup that is being made, "" of any other.
func inTheMaking(o client.Object) string {
	if b, ok := o.(*longhorn.Backup); ok && b.Status.State == longhorn.BackupStateInProgress {
		return b.Status.VolumeName
	}
	return ""
}

// endsOfBackups passes backups of Longhorn's that are not being made any more.
var endsOfBackups = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	DeleteFunc:  func(e event.DeleteEvent) bool { return inTheMaking(e.Object) != "" },
	UpdateFunc: func(e event.UpdateEvent) bool {
		return inTheMaking(e.ObjectOld) != "" && inTheMaking(e.ObjectNew) == ""
	},
}
