package doctor

import (
	"fmt"
	"strings"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/lease"
	"hayloft.dev/pkg/names"
)

// What the coordinator that leads removes by itself, a minute after it saw it.
const swept = "the coordinator that leads removes it within minutes; if it stays, look at its log"

const (
	// queued is how long a job may wait for a place without being told of: limits of
	// nodes and targets hold jobs back for as long as others run.
	queued = 30 * time.Minute
	// overdue is how much longer than its deadline a job may seem to run: the agent
	// that ends it counts from its own claim.
	overdue = 10 * time.Minute
	// ending is how long a deletion may take unnoticed.
	ending = 15 * time.Minute
	// orphaned is the age from which a snapshot without its point is a leftover: its
	// removal is a job like others.
	orphaned = time.Hour
)

// leftovers looks for what nobody holds on to any more, and for what does not move.
func leftovers(f *Facts) []Finding {
	out := f.unread("leases", "volume leases", "jobs", "backups", "restores", "Longhorn's volumes", "Longhorn's attachments", "Longhorn's snapshots")
	if f.known("leases", "volume leases", "jobs") {
		out = append(out, leases(f)...)
		if f.known("Longhorn's attachments") {
			out = append(out, tickets(f)...)
		}
	}
	if f.known("jobs", "backups", "restores", "leases") {
		out = append(out, jobs(f)...)
	}
	if f.known("backups", "Longhorn's snapshots") {
		out = append(out, snapshots(f)...)
	}
	if f.known("backups", "restores") {
		out = append(out, deletions(f)...)
	}
	if f.known("restores", "Longhorn's volumes") {
		out = append(out, volumes(f)...)
	}
	return out
}

func volumeOf(l *coordinationv1.Lease) string {
	if v := l.Annotations[lease.AnnotationVolume]; v != "" {
		return v
	}
	return strings.TrimPrefix(l.Name, names.VolumeLease(""))
}

func holder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// wanted are the volumes that unfinished jobs work on.
func wanted(f *Facts) map[string]bool {
	out := map[string]bool{}
	for i := range f.Jobs {
		j := &f.Jobs[i]
		if finished(j) {
			continue
		}
		s := &j.Spec
		switch {
		case s.Cut != nil:
			for _, d := range s.Cut.Disks {
				out[d.Volume] = true
			}
		case s.Backup != nil:
			out[s.Backup.Volume] = true
		case s.Restore != nil:
			out[s.Restore.Volume] = true
		case s.Clone != nil:
			out[s.Clone.Volume], out[s.Clone.SourceVolume] = true, true
		case s.RemoveSnapshots != nil:
			out[s.RemoveSnapshots.Volume] = true
		}
	}
	return out
}

func finished(j *v1alpha1.NodeJob) bool {
	return j.Status.State == v1alpha1.JobSucceeded || j.Status.State == v1alpha1.JobFailed
}

// leases held by sessions that have ended, of volumes that no job wants.
func leases(f *Facts) (out []Finding) {
	alive, busy := f.living(), wanted(f)
	exists := map[string]bool{}
	for i := range f.Volumes {
		exists[f.Volumes[i].Name] = true
	}
	for i := range f.VolumeLeases {
		l := &f.VolumeLeases[i]
		volume, by := volumeOf(l), holder(l)
		switch {
		case f.Moved["volume/"+volume]:
		case by != "" && !alive[by] && !busy[volume]:
			out = append(out, Finding{
				Level: Warning, What: fmt.Sprintf("volume %s is still leased to session %s, which has ended", volume, by),
				Why: "whoever wants the volume next has to take it over", Do: swept,
			})
		case by == "" && len(exists) > 0 && !exists[volume]:
			out = append(out, Finding{Level: Warning, What: "there is a lease of volume " + volume + ", which is gone", Why: "it is only in the way of looking", Do: swept})
		}
	}
	return out
}

// tickets of ours that nobody holds on to.
func tickets(f *Facts) (out []Finding) {
	busy := wanted(f)
	held := map[string]*coordinationv1.Lease{} // volume -> lease
	for i := range f.VolumeLeases {
		held[volumeOf(&f.VolumeLeases[i])] = &f.VolumeLeases[i]
	}
	alive := f.living()
	for i := range f.Attachments {
		va := &f.Attachments[i]
		for _, id := range sorted(va.Spec.AttachmentTickets) {
			session, epoch, ours := names.ParseTicket(id)
			if !ours || busy[va.Name] || f.Moved["ticket/"+va.Name+"/"+id] {
				continue
			}
			l := held[va.Name]
			if alive[session] && l != nil && holder(l) == session && l.Spec.LeaseTransitions != nil && int64(*l.Spec.LeaseTransitions) == epoch {
				continue
			}
			out = append(out, Finding{
				Level: Warning, What: fmt.Sprintf("volume %s has the attachment ticket %s, which nobody holds on to", va.Name, id),
				Why: "the volume stays attached for it, and cannot go where it is wanted", Do: swept,
			})
		}
	}
	return out
}

// jobs without an owner, and those that do not move.
func jobs(f *Facts) (out []Finding) {
	owners, alive := f.owners(), f.living()
	for i := range f.Jobs {
		j := &f.Jobs[i]
		s, age := &j.Spec, f.At.Sub(j.CreationTimestamp.Time)
		owner := fmt.Sprintf("%s %s/%s", s.Owner.Kind, s.Owner.Namespace, s.Owner.Name)
		running := j.Status.State == v1alpha1.JobRunning
		late := time.Duration(s.DeadlineSeconds) * time.Second
		found := Finding{Level: Warning, Why: owner + " waits for it", Do: "see hayloft describe job " + j.Name}
		switch {
		case f.Moved["job/"+j.Name]:
			continue
		case !owners[s.Owner.UID]:
			found.What, found.Why, found.Do = fmt.Sprintf("job %s has no owner: %s is gone", j.Name, owner), "it is only in the way of looking", swept
		case finished(j):
			continue
		case running && !alive[j.Status.Session]:
			found.What = fmt.Sprintf("job %s is said to run in session %s, which has ended", j.Name, j.Status.Session)
			found.Do = "another agent goes on with it within a minute, if one lives and a coordinator leads"
		case running && j.Status.ClaimedAt != nil && late > 0 && f.At.Sub(j.Status.ClaimedAt.Time) > late+overdue:
			found.What = fmt.Sprintf("job %s runs beyond its deadline of %s", j.Name, late)
		case !running && s.NodeName == "" && age > queued:
			found.What = fmt.Sprintf("job %s has waited %s for a node", j.Name, age.Round(time.Minute))
		case !running && s.NodeName != "" && age > queued:
			found.What = fmt.Sprintf("job %s has waited %s to be begun on %s", j.Name, age.Round(time.Minute), s.NodeName)
		default:
			continue
		}
		out = append(out, found)
	}
	return out
}

// snapshots of points that are gone.
func snapshots(f *Facts) (out []Finding) {
	points := f.owners()
	byVolume := map[string][]string{}
	for i := range f.Snapshots {
		s := &f.Snapshots[i]
		if point, ours := names.SnapshotPoint(s.Name); ours && !points[point] && left(s, f.At) {
			byVolume[s.Spec.Volume] = append(byVolume[s.Spec.Volume], s.Name)
		}
	}
	for _, volume := range sorted(byVolume) {
		out = append(out, Finding{
			Level: Warning, What: fmt.Sprintf("volume %s has snapshots of points that are gone: %s", volume, listed(byVolume[volume])),
			Why: "they take space, and count against the limit of snapshots of a volume", Do: "delete these snapshots in Longhorn",
		})
	}
	return out
}

func left(s *longhorn.Snapshot, at time.Time) bool {
	return !s.Status.MarkRemoved && s.DeletionTimestamp.IsZero() && at.Sub(s.CreationTimestamp.Time) > orphaned
}

// deletions that wait.
func deletions(f *Facts) (out []Finding) {
	tell := func(word, namespace, name string, since time.Time, conditions []string) {
		why := "what it waits for is not said"
		if len(conditions) > 0 {
			why = conditions[0]
		}
		out = append(out, Finding{
			Level: Warning, What: fmt.Sprintf("%s %s/%s has been going for %s", word, namespace, name, f.At.Sub(since).Round(time.Minute)), Why: why,
			Do: fmt.Sprintf("see hayloft describe %s -n %s %s", word, namespace, name),
		})
	}
	for i := range f.Backups {
		if b := &f.Backups[i]; b.DeletionTimestamp != nil && f.At.Sub(b.DeletionTimestamp.Time) > ending {
			var says []string
			if c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionProgressing); c != nil {
				says = append(says, c.Message)
			}
			tell("backup", b.Namespace, b.Name, b.DeletionTimestamp.Time, says)
		}
	}
	for i := range f.Restores {
		if r := &f.Restores[i]; r.DeletionTimestamp != nil && f.At.Sub(r.DeletionTimestamp.Time) > ending {
			var says []string
			if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionProgressing); c != nil {
				says = append(says, c.Message)
			}
			tell("restore", r.Namespace, r.Name, r.DeletionTimestamp.Time, says)
		}
	}
	return out
}

// volumes that restores made and that became nobody's.
func volumes(f *Facts) (out []Finding) {
	restores := f.owners()
	for i := range f.Volumes {
		v := &f.Volumes[i]
		uid := types.UID(v.Labels[v1alpha1.LabelRestore])
		if uid == "" || restores[uid] || v.Status.KubernetesStatus.PVName != "" || f.At.Sub(v.CreationTimestamp.Time) < orphaned {
			continue
		}
		out = append(out, Finding{
			Level: Warning, What: fmt.Sprintf("Longhorn volume %s was made by a restore that is gone, and no PersistentVolume has it", v.Name),
			Why: "it takes space", Do: "look at it in Longhorn, and delete it if nobody wants it",
		})
	}
	return out
}
