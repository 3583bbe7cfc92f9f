package explain

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"hayloft.dev/cli/internal/table"
	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Job explains a NodeJob.
func Job(out io.Writer, j *v1alpha1.NodeJob, a Around) error {
	p := &page{out: out, now: a.Now}
	p.line("Job", j.Namespace+"/"+j.Name)
	p.line("Work", table.Work(j))
	p.line("For", fmt.Sprintf("%s %s/%s", j.Spec.Owner.Kind, j.Spec.Owner.Namespace, j.Spec.Owner.Name))
	p.line("State", jobState(j))
	p.line("Message", j.Status.Message)
	if t := j.Status.Transfer; t != nil {
		p.line("Progress", amount(t.Progress, j.Status.State == v1alpha1.JobSucceeded))
		p.line("Replica", t.Replica)
	}
	p.line("Session", j.Status.Session)
	p.line("Deadline", units.Duration(time.Duration(j.Spec.DeadlineSeconds)*time.Second)+" from the first claim")
	p.times(j.CreationTimestamp, j.Status.ClaimedAt, j.Status.CompletedAt)
	p.work(j)
	var rows [][]string
	for _, v := range slices.Sorted(maps.Keys(j.Status.Epochs)) {
		rows = append(rows, []string{v, fmt.Sprint(j.Status.Epochs[v])})
	}
	p.table("Leases", []string{"VOLUME", "EPOCH"}, rows)
	p.events(a.Events)
	return p.err
}

func jobState(j *v1alpha1.NodeJob) string {
	switch j.Status.State {
	case v1alpha1.JobRunning:
		return "Running on node " + j.Spec.NodeName
	case v1alpha1.JobSucceeded:
		return "Succeeded on node " + j.Spec.NodeName
	case v1alpha1.JobFailed:
		return fmt.Sprintf("Failed (%s); %s", or(j.Status.Reason, "no reason given"),
			choose(j.Status.Retryable, "another attempt may succeed", "another attempt would fail too"))
	}
	if j.Spec.NodeName == "" {
		return "Queued: waits for its turn, or for an agent to take it"
	}
	return "Assigned to node " + j.Spec.NodeName + ", not claimed yet"
}

// work writes what the job moves.
func (p *page) work(j *v1alpha1.NodeJob) {
	switch s := j.Spec; {
	case s.Cut != nil:
		var rows [][]string
		for _, d := range s.Cut.Disks {
			snapshot := ""
			if j.Status.Cut != nil {
				snapshot = j.Status.Cut.Snapshots[d.Name]
			}
			rows = append(rows, []string{d.Name, d.Volume, snapshot})
		}
		p.table("Disks", []string{"NAME", "VOLUME", "SNAPSHOT"}, rows)
	case s.Backup != nil:
		p.table("Transfer", []string{"VOLUME", "SNAPSHOT", "TARGET", "BACKUP"}, [][]string{{s.Backup.Volume, s.Backup.Snapshot, s.Backup.Target, s.Backup.Backup}})
	case s.Restore != nil:
		p.table("Transfer", []string{"BACKUP", "TARGET", "VOLUME", "SIZE"}, [][]string{{s.Restore.Backup, s.Restore.Target, s.Restore.Volume, units.Bytes(s.Restore.SizeBytes)}})
	case s.Clone != nil:
		p.table("Transfer", []string{"FROM VOLUME", "SNAPSHOT", "VOLUME", "SIZE"}, [][]string{{s.Clone.SourceVolume, s.Clone.Snapshot, s.Clone.Volume, units.Bytes(s.Clone.SizeBytes)}})
	case s.RemoveSnapshots != nil:
		var rows [][]string
		for _, name := range s.RemoveSnapshots.Snapshots {
			rows = append(rows, []string{s.RemoveSnapshots.Volume, name})
		}
		p.table("Snapshots", []string{"VOLUME", "SNAPSHOT"}, rows)
	}
}

// jobs lists the jobs that work for a backup or restore.
func (p *page) jobs(a Around) {
	if a.JobsHidden {
		p.printf("\nJobs: not shown, since you may not list nodejobs.hayloft.dev in Hayloft's namespace\n")
		return
	}
	var rows [][]string
	for i := range a.Jobs {
		j := &a.Jobs[i]
		rows = append(rows, []string{j.Name, table.Work(j), j.Spec.NodeName, table.JobState(j), j.Status.Message})
	}
	p.table("Jobs", []string{"NAME", "WORK", "NODE", "STATE", "MESSAGE"}, rows)
}
