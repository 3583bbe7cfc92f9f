package plan

import (
	"fmt"
	"slices"
	"strings"

	"hayloft.dev/pkg/api/v1alpha1"
)

// restoring fills a fresh volume per disk until each has its record.
func (p *restorePlan) restoring() {
	p.out.DeleteVolumes = append(p.out.DeleteVolumes, p.v.Stale...)
	if !p.read() {
		return
	}
	var busy []string
	quiet := true
	for i := range p.st.Disks {
		d := &p.st.Disks[i]
		before, attempt, uid := d.State, d.Attempt, d.VolumeUID
		if bad := p.fill(d); bad != nil {
			p.fail(d.Name, bad.reason, fmt.Sprintf("disk %s: %s", d.Name, bad.message))
			return
		}
		quiet = quiet && d.State == before && d.Attempt == attempt && d.VolumeUID == uid
		if d.State != v1alpha1.DiskDone {
			busy = append(busy, d.Message)
		}
	}
	p.sum()
	if len(busy) > 0 {
		p.st.Phase = v1alpha1.RestoreRestoring
		p.working("%s", strings.Join(busy, "; "))
		p.a.Cosmetic = quiet && p.v.Restore.Status.Phase == v1alpha1.RestoreRestoring
		return
	}
	p.st.Phase = v1alpha1.RestoreBuilding
	p.working("every disk is restored; making claims and the VM")
	p.building()
}

// fill moves one disk forward; it returns the cause when the disk cannot be
// restored.
func (p *restorePlan) fill(d *v1alpha1.RestoreDisk) *verdict {
	if d.State == v1alpha1.DiskDone {
		return nil
	}
	job := find(p.v.Jobs, fillKind(d), p.owner(), d.Name, d.Attempt)
	vol, exists := p.v.Volumes[d.Volume]
	var bad *verdict
	if job != nil {
		bad = judge(job, p.v.Now, p.v.Config.JobGrace)
	}
	switch {
	case bad != nil:
	case exists && !vol.Owned:
		return &verdict{reason: ReasonNameTaken, message: fmt.Sprintf("Longhorn volume %s exists already and was not made by this restore", d.Volume)}
	case !exists && d.VolumeUID == "":
		p.createVolume(d)
		return nil
	case !exists || vol.Deleting || (d.VolumeUID != "" && vol.UID != d.VolumeUID):
		bad = &verdict{reason: v1alpha1.ReasonVolumeNotFresh, retryable: true, message: fmt.Sprintf("volume %s, made for attempt %d, is gone", d.Volume, d.Attempt)}
	case vol.Unschedulable != "" && !started(job) && p.v.Now.Sub(vol.Created) > p.v.Config.ScheduleGrace:
		return &verdict{reason: ReasonNoSpace, message: fmt.Sprintf("Longhorn finds no room for a volume of %d bytes: %s", d.SizeBytes, vol.Unschedulable)}
	}
	if bad != nil {
		return p.again(d, bad)
	}
	if vol.Unschedulable != "" && !started(job) {
		p.a.again(p.v.Config.ScheduleGrace)
	}
	if d.VolumeUID == "" {
		d.VolumeUID = vol.UID
	}
	if job == nil {
		d.State, d.Message = v1alpha1.DiskTransferring, "restoring disk "+d.Name
		p.a.CreateJobs = append(p.a.CreateJobs, p.fillJob(d))
		return nil
	}
	if t := job.Status.Transfer; t != nil && t.Progress != nil {
		d.Progress = t.Progress.DeepCopy()
	}
	if job.Status.State != v1alpha1.JobSucceeded {
		d.State, d.Message = v1alpha1.DiskTransferring, p.a.waitsFor(job, p.v.Waits, "restoring disk "+d.Name)
		return nil
	}
	replicas, known := p.v.Replicas[d.Volume]
	if !known {
		d.Message = "checking the replicas of disk " + d.Name
		return nil
	}
	if why := distrust(job.Status.Record, d, replicas); why != "" {
		return p.again(d, &verdict{reason: v1alpha1.ReasonReplicasDiffer, message: why, retryable: true})
	}
	d.State, d.Message, d.Record = v1alpha1.DiskDone, "", job.Status.Record.DeepCopy()
	return nil
}

func started(j *v1alpha1.NodeJob) bool {
	return j != nil && j.Status.Transfer != nil && j.Status.Transfer.Started
}

// distrust says why a record is not enough to give a volume to a VM: Longhorn
// calls a volume healthy whose restore failed or was lost.
func distrust(r *v1alpha1.RestoreRecord, d *v1alpha1.RestoreDisk, replicas []string) string {
	switch {
	case r == nil:
		return "the restore ended without a record of what the replicas hold"
	case r.Attempt != d.Attempt:
		return fmt.Sprintf("the record is of attempt %d, not %d", r.Attempt, d.Attempt)
	case r.VolumeUID != d.VolumeUID:
		return fmt.Sprintf("the record is of another volume (UID %s)", r.VolumeUID)
	case r.Backup != d.Backup || r.Snapshot != d.Snapshot:
		return fmt.Sprintf("the record is of backup %q, snapshot %q", r.Backup, r.Snapshot)
	}
	var recorded []string
	for _, rep := range r.Replicas {
		if rep.LastRestored != d.Backup || rep.Cloned != d.Snapshot {
			return fmt.Sprintf("replica %s last restored %q and cloned %q, not %s", rep.Name, rep.LastRestored, rep.Cloned, d.Backup+d.Snapshot)
		}
		recorded = append(recorded, rep.Name)
	}
	have := slices.Sorted(slices.Values(replicas))
	slices.Sort(recorded)
	if !slices.Equal(recorded, have) || len(have) == 0 {
		return fmt.Sprintf("the volume has replicas %v, but %v were restored", have, recorded)
	}
	return ""
}

// again gives a disk another attempt in a fresh volume, or the cause back when
// there is none left.
func (p *restorePlan) again(d *v1alpha1.RestoreDisk, bad *verdict) *verdict {
	in := interrupted(d.Attempt, func(n int32) *v1alpha1.NodeJob { return find(p.v.Jobs, fillKind(d), p.owner(), d.Name, n) })
	pause, over := in.next(p.v.Now, p.v.Config, d.Attempt, bad)
	if over {
		return bad
	}
	if vol, exists := p.v.Volumes[d.Volume]; exists && vol.Owned && !vol.Deleting {
		p.out.DeleteVolumes = append(p.out.DeleteVolumes, DeleteVolume{Name: d.Volume, UID: vol.UID})
	}
	if wait := remaining(p.v.Now, bad.at, pause); wait > 0 {
		d.Message = fmt.Sprintf("attempt %d of disk %s failed (%s: %s); trying again in a fresh volume", d.Attempt, d.Name, bad.reason, bad.message)
		p.a.again(wait)
		return nil
	}
	p.a.warn("Retrying", fmt.Sprintf("attempt %d of disk %s failed: %s: %s", d.Attempt, d.Name, bad.reason, bad.message))
	p.attempt(d, d.Attempt+1)
	p.createVolume(d)
	return nil
}

// fillKind is the kind of job that fills a disk's volume.
func fillKind(d *v1alpha1.RestoreDisk) string {
	if d.Snapshot != "" {
		return kindClone
	}
	return kindRestore
}

// fillJob restores from a backup, or clones from a snapshot.
func (p *restorePlan) fillJob(d *v1alpha1.RestoreDisk) *v1alpha1.NodeJob {
	j := newJob(fillKind(d), p.owner(), d.Name, d.Attempt, p.v.Config.TransferDeadline)
	if d.Snapshot != "" {
		if p.v.Backup != nil {
			j.Spec.VM = p.v.Backup.Spec.VM // a Snapshot is restored in its own namespace
		}
		j.Spec.Clone = &v1alpha1.CloneJob{
			Disk: d.Name, Volume: d.Volume, VolumeUID: d.VolumeUID, SizeBytes: d.SizeBytes, Attempt: d.Attempt,
			SourceVolume: d.SourceVolume, Snapshot: d.Snapshot,
		}
		return j
	}
	target := ""
	if p.v.Target != nil {
		target = p.v.Target.Name
	}
	j.Spec.Restore = &v1alpha1.RestoreJob{
		Disk: d.Name, Volume: d.Volume, VolumeUID: d.VolumeUID, SizeBytes: d.SizeBytes, Attempt: d.Attempt,
		Target: target, SourceVolume: d.SourceVolume, Backup: d.Backup,
	}
	return j
}

func (p *restorePlan) sum() {
	var each []*v1alpha1.Progress
	for i := range p.st.Disks {
		d := p.st.Disks[i]
		switch {
		case d.State == v1alpha1.DiskDone:
			each = append(each, &v1alpha1.Progress{BytesDone: d.SizeBytes, BytesTotal: d.SizeBytes})
		case d.Progress == nil:
			each = append(each, &v1alpha1.Progress{BytesTotal: d.SizeBytes})
		default:
			each = append(each, d.Progress)
		}
	}
	p.st.Progress, p.st.ProgressText = total(each)
}
