package explain

import (
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
	"hayloft.dev/pkg/words"
)

// Backup explains a VMBackup.
func Backup(out io.Writer, b *v1alpha1.VMBackup, a Around) error {
	p := &page{out: out, now: a.Now}
	s := status.OfBackup(b)
	p.line("Backup", b.Namespace+"/"+b.Name)
	p.line("Of VM", b.Spec.VM)
	p.line("Type", backupType(b))
	p.line("To target", b.Spec.Target)
	if f := b.Spec.Found; f != nil {
		by := "cluster " + string(f.ClusterUID)
		if f.MadeBy != "" {
			by = string(f.MadeBy)
		}
		p.line("Found there", fmt.Sprintf("taken by %s; %s", by,
			choose(b.Spec.Claimed, "claimed by this one", "deleting it here leaves its data (hayloft claim backup)")))
	}
	p.line("Phase", backupPhase(b))
	p.why(s, b.DeletionTimestamp)
	if b.DeletionTimestamp != nil {
		p.line("To force it", forcing(b))
	}
	p.line("Progress", amount(b.Status.Progress, b.Status.Phase == v1alpha1.BackupReady))
	p.line("Consistency", consistency(b))
	for _, h := range b.Status.Hooks {
		p.line(map[string]string{"pre": "Hook before", "post": "Hook after"}[h.Hook], choose(h.Failed, "failed: ", "")+h.Message)
	}
	p.line("Note", b.Spec.Note)
	if b.Spec.Pinned {
		p.line("Pinned", "yes: retention does not remove it")
	}
	p.line("When deleted", onDeletion(b))
	p.times(b.CreationTimestamp, b.Status.StartedAt, b.Status.CompletedAt)
	if b.Status.CutAt != nil {
		p.line("Stands for", p.moment(b.Status.CutAt.Time))
	}
	p.line("Document", document(b))
	p.line("Verified", p.verified(b))

	var rows [][]string
	for _, d := range b.Status.Disks {
		image, uploaded := "", ""
		if d.BackingImage != nil {
			image = d.BackingImage.Name
		}
		if d.UploadedBytes != nil {
			kind := "full"
			if d.Incremental {
				kind = "incremental"
			}
			uploaded = units.Bytes(*d.UploadedBytes) + " " + kind
		}
		rows = append(rows, []string{
			d.Name, d.Claim, d.Volume, units.Bytes(d.SizeBytes), string(d.State),
			amount(d.Progress, d.State == v1alpha1.DiskDone), uploaded, attempt(d.Attempt), image, d.Message,
		})
	}
	p.table("Disks", []string{"NAME", "CLAIM", "VOLUME", "SIZE", "STATE", "MOVED", "UPLOADED", "ATTEMPT", "IMAGE", "MESSAGE"}, rows)
	p.jobs(a)
	p.conditions(b.Status.Conditions)
	p.events(a.Events)
	return p.err
}

func backupType(b *v1alpha1.VMBackup) string {
	if b.Spec.Type == v1alpha1.TypeSnapshot {
		return "Snapshot: stays in the VM's own volumes and goes when the VM is deleted"
	}
	return "Backup: a copy on the target"
}

// verified is what the last look found whether the point is whole on its target.
func (p *page) verified(b *v1alpha1.VMBackup) string {
	v := b.Status.Verification
	switch {
	case v == nil:
		return ""
	case v.EndedAt == nil:
		return "under way, begun " + p.ago(v.StartedAt.Time) + ": " + v.Message
	}
	return p.ago(v.EndedAt.Time) + ": " + v.Message
}

// document is where the point's document lies.
func document(b *v1alpha1.VMBackup) string {
	if b.Spec.Type == v1alpha1.TypeSnapshot && b.Status.Document != "" {
		return "Secret " + b.Status.Document
	}
	return b.Status.Document
}

// backupPhase says what the phase means.
func backupPhase(b *v1alpha1.VMBackup) string {
	if b.Spec.Type == v1alpha1.TypeSnapshot {
		words := map[v1alpha1.BackupPhase]string{
			v1alpha1.BackupVerifying: "every disk is cut; the VM's definition is being written",
			v1alpha1.BackupReady:     "whole, and can be restored",
			v1alpha1.BackupFailed:    "not usable: a snapshot counts only with all its disks",
		}[b.Status.Phase]
		if words != "" {
			return phrase(string(b.Status.Phase), words)
		}
	}
	words := map[v1alpha1.BackupPhase]string{
		v1alpha1.BackupPending:   "accepted, nothing done yet",
		v1alpha1.BackupCutting:   "cutting a snapshot of every disk in one moment",
		v1alpha1.BackupUploading: "the disks' data is moving to the target",
		v1alpha1.BackupVerifying: "every disk is on the target; they are inspected before the backup counts",
		v1alpha1.BackupReady:     "whole, inspected on the target, and can be restored",
		v1alpha1.BackupFailed:    "not usable: a backup counts only with all its disks",
		v1alpha1.BackupDataLost:  "cannot be restored any more: somebody removed what it was kept in",
		v1alpha1.BackupMissing:   "cannot be restored: its document is not on the target any more",
		v1alpha1.BackupDamaged:   "cannot be restored as a whole: it was verified, and something of it is not on the target any more",
		v1alpha1.BackupDeleting:  "being deleted",
	}
	return phrase(string(b.Status.Phase), words[b.Status.Phase])
}

func phrase(phase, words string) string {
	switch {
	case phase == "":
		return "new: no coordinator has looked at it yet"
	case words == "":
		return phase
	}
	return phase + ": " + words
}

// why says what is waited for, or why it failed.
func (p *page) why(s status.Status, deleted *metav1.Time) {
	switch {
	case s.Failed:
		p.line("Cause", s.Cause)
	case s.Why != "":
		p.line("Now", s.Why)
	}
	if deleted != nil {
		p.line("Deletion", "asked for "+p.ago(deleted.Time)+"; what belongs to it is being removed first")
	}
}

// forcing says how a deletion that waits can be had sooner.
func forcing(b *v1alpha1.VMBackup) string {
	force := fmt.Sprintf("hayloft delete backup %s --force lets it go at once and leaves behind what there is", b.Name)
	if b.Spec.Type == v1alpha1.TypeSnapshot || b.Spec.DeletionPolicy == v1alpha1.DeletionRetain {
		return force
	}
	return "--keep-data leaves its data on the target, if only that is waited for; " + force
}

func consistency(b *v1alpha1.VMBackup) string {
	text := map[v1alpha1.Consistency]string{
		v1alpha1.ConsistencyFrozen:        "frozen: the guest's file systems were frozen while the disks were cut",
		v1alpha1.ConsistencyOffline:       "offline: the VM did not run",
		v1alpha1.ConsistencyPaused:        "paused: what has the disks stood still while they were cut; nothing was flushed",
		v1alpha1.ConsistencyCrash:         "crash-consistent: what the guest would find after a power cut",
		v1alpha1.ConsistencyNoAgent:       "crash-consistent: the guest has no agent that could freeze it",
		v1alpha1.ConsistencyQuiesceFailed: "crash-consistent: the guest could not be brought to rest",
	}[b.Status.Consistency]
	if text == "" {
		text = string(b.Status.Consistency)
	}
	if m := b.Status.ConsistencyMessage; m != "" {
		text += " (" + m + ")"
	}
	if w := b.Status.CutWindowMilliseconds; w != nil {
		text += fmt.Sprintf("; %s cut within %d ms", words.Count(len(b.Status.Disks), "disk"), *w)
	}
	if f := b.Status.FrozenMilliseconds; f != nil {
		text += fmt.Sprintf("; frozen for %d ms", *f)
	}
	return text
}

func onDeletion(b *v1alpha1.VMBackup) string {
	if b.Spec.Type == v1alpha1.TypeSnapshot {
		return "its engine snapshots are removed too"
	}
	switch policy := b.Spec.DeletionPolicy; policy {
	case v1alpha1.DeletionRetain:
		return "the data stays on the target"
	case v1alpha1.DeletionDelete:
		return "the data on the target is removed too"
	default:
		return string(policy)
	}
}

func attempt(n int32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
