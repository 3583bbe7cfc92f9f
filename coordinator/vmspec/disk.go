package vmspec

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"hayloft.dev/pkg/api/v1alpha1"
)

// RebuildDisk makes one captured disk a claim of its own, that belongs to no VM.
// Of the options it looks at Namespace, StorageClasses, RestoreUID, Volumes and
// Sizes.
func RebuildDisk(in Source, disk, claim string, o Options) (Result, error) {
	if broken := validation.IsDNS1123Subdomain(claim); len(broken) > 0 {
		return Result{}, fmt.Errorf("%w: %q (spec.diskClaim.claim) cannot be a claim's name: it must be lower-case letters, digits, - and ., start and end with a letter or digit", ErrRefused, claim)
	}
	var have []string
	for _, d := range in.Disks {
		have = append(have, d.Name)
		if d.Name != disk {
			continue
		}
		old := in.PVCs[d.Claim]
		if old == nil {
			return Result{}, fmt.Errorf("%w: the backup does not hold claim %s of disk %s", ErrRefused, d.Claim, d.Name)
		}
		if o.Volumes != nil && o.Volumes[d.Name] == "" {
			return Result{}, fmt.Errorf("%w: there is no restored volume for disk %s", ErrRefused, d.Name)
		}
		in.Disks = []Disk{d}
		r := rebuilder{o: o, network: map[string]bool{}, out: Result{Claims: map[string]string{d.Name: claim}}}
		if err := r.mapped(in); err != nil {
			return Result{}, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		made := rebuildClaim(old, Disk{Name: d.Name, Claim: d.Claim, Kind: KindDisk}, claim, o)
		// No label may make a program take it for a disk of the source VM.
		made.Labels = carry(made.Labels, follows)
		made.Labels[v1alpha1.LabelFormerVM], made.Labels[v1alpha1.LabelFormerDisk] = in.VM.GetName(), d.Name
		r.claim(made, old)
		r.finish()
		return r.out, nil
	}
	return Result{}, fmt.Errorf("%w: the backup has no disk %q (spec.diskClaim.disk); it has: %s", ErrRefused, disk, strings.Join(have, ", "))
}
