package control

import (
	"context"

	"hayloft.dev/pkg/api/v1alpha1"
)

// moved tells of each disk that is on another volume than in the VM's latest
// earlier point on the same target: disk -> that volume.
func (r *backups) moved(ctx context.Context, b *v1alpha1.VMBackup) (map[string]string, error) {
	siblings, err := r.siblings(ctx, b)
	if err != nil {
		return nil, err
	}
	var last *v1alpha1.VMBackup
	for i := range siblings {
		o := &siblings[i]
		if o.Status.Phase == v1alpha1.BackupReady && cutAfter(b, o) && (last == nil || cutAfter(o, last)) {
			last = o
		}
	}
	out := map[string]string{}
	if last == nil {
		return out, nil
	}
	for _, d := range b.Status.Disks {
		for _, o := range last.Status.Disks {
			if o.Name == d.Name && o.Volume != d.Volume {
				out[d.Name] = o.Volume
			}
		}
	}
	return out, nil
}
