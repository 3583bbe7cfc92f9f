package control

import "hayloft.dev/pkg/api/v1alpha1"

// chain are the Ready points of the same VM on the same target: for a Ready one
// those that were cut later, for one that is being made all others.
func (r *backups) chain(b *v1alpha1.VMBackup) (newer, earlier []v1alpha1.VMBackup, err error) {
	ready := b.Status.Phase == v1alpha1.BackupReady
	if !ready && b.Status.StartedAt == nil || b.Spec.Type == v1alpha1.TypeSnapshot {
		return nil, nil, nil // the engine snapshot of a Snapshot is the point itself
	}
	siblings, err := r.siblings(b)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range siblings {
		switch {
		case o.Status.Phase != v1alpha1.BackupReady || !o.DeletionTimestamp.IsZero() || o.Status.CutAt == nil:
		case ready && cutAfter(&o, b):
			newer = append(newer, o)
		case !ready:
			earlier = append(earlier, o)
		}
	}
	return newer, earlier, nil
}

// siblings are the other points of the same VM on the same target that this
// cluster has taken: of those that were found there no engine snapshot is here.
// They are to be read only.
func (c *Controller) siblings(b *v1alpha1.VMBackup) ([]v1alpha1.VMBackup, error) {
	all, err := c.points.OfVM(b.Namespace, b.Spec.VM)
	if err != nil {
		return nil, err
	}
	out := make([]v1alpha1.VMBackup, 0, len(all))
	for _, o := range all {
		if o.UID != b.UID && o.Spec.Found == nil && o.Spec.Type == b.Spec.Type && o.Spec.Target == b.Spec.Target {
			out = append(out, *o)
		}
	}
	return out, nil
}

func cutAfter(a, b *v1alpha1.VMBackup) bool {
	return a.Status.CutAt != nil && b.Status.CutAt != nil && a.Status.CutAt.After(b.Status.CutAt.Time)
}

// moved tells of each disk that is on another volume than in the VM's latest
// earlier point on the same target: disk -> that volume.
func (r *backups) moved(b *v1alpha1.VMBackup) (map[string]string, error) {
	siblings, err := r.siblings(b)
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
