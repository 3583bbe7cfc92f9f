package plan

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// An engine snapshot of a Ready point is superseded when a later point on the
// same target that has the volume too is Ready: only the newest is the base of
// the next incremental, and restores read the target. The next backup of the
// volume removes superseded ones under the lease that it has anyway, which
// costs no job; until then every replica keeps what was overwritten between the
// two points. A volume that is not backed up again gets a job after all.

// maxSuperseded is the API's limit; what is beyond waits for another backup.
const maxSuperseded = 250

// superseded are the engine snapshots that a backup of a disk takes along to
// remove: those of all earlier points but the newest.
func (p *backupPlan) superseded(d *v1alpha1.BackupDisk) (list []string) {
	points := slices.DeleteFunc(slices.Clone(p.v.Earlier), func(o v1alpha1.VMBackup) bool {
		return !o.Status.CutAt.Before(p.st.CutAt)
	})
	slices.SortStableFunc(points, func(a, b v1alpha1.VMBackup) int {
		return b.Status.CutAt.Compare(a.Status.CutAt.Time)
	})
	base := true
	for _, point := range points {
		for i := range point.Status.Disks {
			other := &point.Status.Disks[i]
			switch {
			case other.Volume != d.Volume:
			case base:
				base = false
			default:
				list = append(list, snapshots(point.UID, other)...)
			}
		}
	}
	return list[:min(len(list), maxSuperseded)]
}

// maxCuts bounds the cut numbers looked for; an agent makes a few per claim.
const maxCuts = 200

// snapshots are the engine snapshots that may exist of a point's disk: of the
// cut that is recorded, and of those before it.
func snapshots(point types.UID, d *v1alpha1.BackupDisk) []string {
	if d.Snapshot == "" {
		return nil
	}
	var out []string
	for n := int32(1); n <= maxCuts; n++ {
		out = append(out, names.Snapshot(point, n, d.Name))
		if out[n-1] == d.Snapshot {
			return out
		}
	}
	return []string{d.Snapshot}
}

// ready looks after a point that is whole: it takes note that a later backup
// removed its engine snapshots, and removes those that none did.
func (p *backupPlan) ready() {
	stays := map[string]bool{} // disk -> nothing is to be done about its snapshots yet
	for i := range p.st.Disks {
		d := &p.st.Disks[i]
		since, removed := p.successor(d)
		switch {
		case since.IsZero():
			stays[d.Name] = true
		case removed || p.v.Gone[d.Volume]:
			d.Snapshot = ""
		default:
			if wait := remaining(p.v.Now, since, p.v.Config.SupersededRest); wait > 0 && d.Snapshot != "" {
				stays[d.Name] = true
				p.a.again(wait)
			}
		}
	}
	finished, _ := p.removeSnapshots(p.v.Config.RemoveAttempts, func(d v1alpha1.BackupDisk) bool { return !stays[d.Name] })
	if !finished {
		return
	}
	for i := range p.v.Jobs {
		j := &p.v.Jobs[i]
		if j.Spec.RemoveSnapshots == nil || j.Status.State == v1alpha1.JobSucceeded {
			p.a.DeleteJobs = append(p.a.DeleteJobs, j.Name)
		}
	}
	if len(p.a.DeleteJobs) == len(p.v.Jobs) && len(p.v.Jobs) > 0 {
		p.a.DeleteJobs, p.a.DropJobs = nil, true
	}
}

// successor tells since when a disk's snapshot is superseded, zero: it is not;
// and whether a later backup has removed it.
func (p *backupPlan) successor(d *v1alpha1.BackupDisk) (since time.Time, removed bool) {
	for _, n := range p.v.Newer {
		for _, other := range n.Status.Disks {
			if other.Volume != d.Volume {
				continue
			}
			if at := n.Status.CompletedAt; at != nil && (since.IsZero() || at.Time.Before(since)) {
				since = at.Time
			}
			removed = removed || slices.Contains(other.Superseded, d.Snapshot)
		}
	}
	return since, removed
}
