package explain

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
	"hayloft.dev/pkg/words"
)

// Restore explains a VMRestore.
func Restore(out io.Writer, r *v1alpha1.VMRestore, a Around) error {
	p := &page{out: out, now: a.Now}
	s := status.OfRestore(r)
	p.line("Restore", r.Namespace+"/"+r.Name)
	p.line("Of backup", ofBackup(r))
	p.line("Makes", makes(r))
	p.line("Phase", restorePhase(r))
	p.why(s, r.DeletionTimestamp)
	p.line("Progress", amount(r.Status.Progress, r.Status.Phase == v1alpha1.RestoreReady))
	if r.Spec.NewVM != "" {
		p.line("MAC addresses", choose(r.Spec.KeepMACAddresses, "those of the source VM", "new ones"))
	}
	if r.Spec.DiskClaim == nil {
		p.line("Afterwards", choose(r.Spec.HaltAfterRestore, "left stopped", "run as the source was"))
	}
	if x := r.Spec.Replace; x != nil {
		p.line("Former volumes", choose(x.Volumes == v1alpha1.VolumesDelete, "deleted once the restored VM is ready", "retained"))
		p.line("Cancelling", cancelling(r))
	}
	if r.Spec.WithoutSecrets {
		p.line("Secrets", "not restored (spec.withoutSecrets)")
	}
	if len(r.Spec.Allow) > 0 {
		p.line("Allowed", strings.Trim(fmt.Sprint(r.Spec.Allow), "[]"))
	}
	p.line("Classes", pairs(r.Spec.StorageClasses))
	p.line("Networks", pairs(r.Spec.Networks))
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
	p.table("Former volumes of the VM", []string{"DISK", "CLAIM", "VOLUME", "STATE"}, formerRows(r))
	p.list("What differs from the source", r.Status.Notes)
	p.jobs(a)
	p.conditions(r.Status.Conditions)
	p.events(a.Events)
	return p.err
}

func ofBackup(r *v1alpha1.VMRestore) string {
	if r.Spec.BackupNamespace != "" {
		return r.Spec.BackupNamespace + "/" + r.Spec.Backup
	}
	return r.Spec.Backup
}

func makes(r *v1alpha1.VMRestore) string {
	switch {
	case r.Spec.Replace != nil:
		return "VM " + r.Spec.Replace.VM + ", in its own place"
	case r.Spec.DiskClaim != nil:
		return fmt.Sprintf("claim %s of disk %s", r.Spec.DiskClaim.Claim, r.Spec.DiskClaim.Disk)
	}
	return "new VM " + r.Spec.NewVM
}

// cancelling says whether a restore that replaces a VM can still be cancelled.
func cancelling(r *v1alpha1.VMRestore) string {
	if r.Status.ReplacedAt == nil {
		return "possible until the VM is given its restored disks"
	}
	return "too late since " + r.Status.ReplacedAt.UTC().Format(time.RFC3339)
}

func formerRows(r *v1alpha1.VMRestore) (rows [][]string) {
	for _, f := range r.Status.Former {
		state := string(f.State)
		if state == "" {
			state = "in use"
		}
		rows = append(rows, []string{f.Disk, f.Claim, f.Volume, state})
	}
	return rows
}

// pairs are the entries of a map: "a -> b, c -> d".
func pairs(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+" -> "+m[k])
	}
	return strings.Join(out, ", ")
}

func restorePhase(r *v1alpha1.VMRestore) string {
	words := map[v1alpha1.RestorePhase]string{
		v1alpha1.RestorePending:   "accepted; backup and cluster are being checked before any data moves",
		v1alpha1.RestoreRestoring: "the data goes into fresh volumes",
		v1alpha1.RestoreBuilding:  "every volume is proven good; claims and the VM are being made",
		v1alpha1.RestoreReady:     "what was asked for is there",
		v1alpha1.RestoreFailed:    "nothing was made or replaced; what was half made is removed",
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
