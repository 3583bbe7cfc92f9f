package explain

import (
	"fmt"
	"io"

	"hayloft.dev/cli/internal/status"
	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
)

// Restore explains a VMRestore.
func Restore(out io.Writer, r *v1alpha1.VMRestore, a Around) error {
	p := &page{out: out, now: a.Now}
	s := status.OfRestore(r)
	p.line("Restore", r.Namespace+"/"+r.Name)
	p.line("Of backup", r.Spec.Backup)
	p.line("To new VM", r.Spec.NewVM)
	p.line("Phase", restorePhase(r))
	p.why(s, r.DeletionTimestamp != nil)
	p.line("Progress", amount(r.Status.Progress, r.Status.Phase == v1alpha1.RestoreReady))
	p.line("MAC addresses", choose(r.Spec.KeepMACAddresses, "those of the source VM", "new ones"))
	p.line("Afterwards", choose(r.Spec.HaltAfterRestore, "left stopped", "run as the source was"))
	p.times(r.CreationTimestamp, r.Status.StartedAt, r.Status.CompletedAt)

	var rows [][]string
	for _, d := range r.Status.Disks {
		image, proof := "", ""
		if d.BackingImage != nil {
			image = d.BackingImage.Name
		}
		if d.Record != nil {
			n := len(d.Record.Replicas)
			proof = fmt.Sprintf("%s %s it", words.Count(n, "replica"), words.Verb(n, "holds", "hold"))
		}
		rows = append(rows, []string{
			d.Name, d.Claim, d.Volume, units.Bytes(d.SizeBytes), string(d.State),
			amount(d.Progress, d.State == v1alpha1.DiskDone), proof, attempt(d.Attempt), image, d.Message,
		})
	}
	p.table("Disks", []string{"NAME", "CLAIM", "VOLUME", "SIZE", "STATE", "MOVED", "PROOF", "ATTEMPT", "IMAGE", "MESSAGE"}, rows)
	p.list("What differs from the source", r.Status.Notes)
	p.jobs(a)
	p.conditions(r.Status.Conditions)
	p.events(a.Events)
	return p.err
}

func restorePhase(r *v1alpha1.VMRestore) string {
	words := map[v1alpha1.RestorePhase]string{
		v1alpha1.RestorePending:   "accepted; backup and cluster are being checked before any data moves",
		v1alpha1.RestoreRestoring: "the data goes into fresh volumes",
		v1alpha1.RestoreBuilding:  "every volume is proven good; the VM is being made",
		v1alpha1.RestoreReady:     "the new VM is there",
		v1alpha1.RestoreFailed:    "no VM was made; what was half made is removed",
		v1alpha1.RestoreDeleting:  "being deleted",
	}
	return phrase(string(r.Status.Phase), words[r.Status.Phase])
}

func choose(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}
