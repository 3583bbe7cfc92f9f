package e2e

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/harness"
)

// nothingLeft waits until no lease is held, no ticket of ours stands, no job is
// there, nothing half-made of a restore is left, and the target holds neither
// drafts nor backups in progress.
func (w *world) nothingLeft() {
	w.t.Helper()
	w.polled(patience, lookPause, "nothing to be left over", func() (bool, string) {
		left := append(w.clusterLeftovers(), w.targetLeftovers()...)
		return len(left) == 0, strings.Join(left, ", ")
	})
}

// lookPause is the time between two looks at everything there is.
const lookPause = 300 * time.Millisecond

func (w *world) clusterLeftovers() (left []string) {
	var leases coordinationv1.LeaseList
	if err := w.c.List(w.ctx, &leases, client.InNamespace(harness.HayloftNamespace), client.MatchingLabels{v1alpha1.LabelLease: "volume"}); err != nil {
		return []string{err.Error()}
	}
	for _, l := range leases.Items {
		if l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity != "" {
			left = append(left, "held lease "+l.Name)
		}
	}
	var attachments longhorn.VolumeAttachmentList
	if err := w.c.List(w.ctx, &attachments, client.InNamespace(harness.LonghornNamespace)); err != nil {
		return []string{err.Error()}
	}
	for _, a := range attachments.Items {
		for id := range a.Spec.AttachmentTickets {
			if strings.HasPrefix(id, names.TicketPrefix) {
				left = append(left, "ticket "+id+" on "+a.Name)
			}
		}
	}
	var jobs v1alpha1.NodeJobList
	if err := w.c.List(w.ctx, &jobs, client.InNamespace(harness.HayloftNamespace)); err != nil {
		return []string{err.Error()}
	}
	for _, j := range jobs.Items {
		left = append(left, "job "+j.Name+" ("+j.Status.Message+")")
	}
	return append(left, w.halfMade()...)
}

// halfMade are objects of restores that did not end Ready.
func (w *world) halfMade() (left []string) {
	var restores v1alpha1.VMRestoreList
	if err := w.c.List(w.ctx, &restores); err != nil {
		return []string{err.Error()}
	}
	ready := map[string]bool{}
	for _, r := range restores.Items {
		ready[string(r.UID)] = r.Status.Phase == v1alpha1.RestoreReady
	}
	for _, list := range []client.ObjectList{
		&longhorn.VolumeList{}, &corev1.PersistentVolumeList{}, &corev1.PersistentVolumeClaimList{}, &corev1.SecretList{}, &kubevirt.VirtualMachineList{},
	} {
		if err := w.c.List(w.ctx, list, client.HasLabels{v1alpha1.LabelRestore}); err != nil {
			return []string{err.Error()}
		}
		for _, o := range objects(list) {
			if !ready[o.GetLabels()[v1alpha1.LabelRestore]] {
				left = append(left, "half-made "+o.GetName())
			}
		}
	}
	return left
}

func objects(list client.ObjectList) (all []client.Object) {
	switch l := list.(type) {
	case *longhorn.VolumeList:
		for i := range l.Items {
			all = append(all, &l.Items[i])
		}
	case *corev1.PersistentVolumeList:
		for i := range l.Items {
			all = append(all, &l.Items[i])
		}
	case *corev1.PersistentVolumeClaimList:
		for i := range l.Items {
			all = append(all, &l.Items[i])
		}
	case *corev1.SecretList:
		for i := range l.Items {
			all = append(all, &l.Items[i])
		}
	case *kubevirt.VirtualMachineList:
		for i := range l.Items {
			all = append(all, &l.Items[i])
		}
	}
	return all
}

// onTarget lists the files of the bucket, which are plain files to this test.
func (w *world) onTarget() (files []string) {
	root := w.bucket()
	_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			rel, _ := filepath.Rel(root, path)
			files = append(files, rel)
		}
		return nil // a file that vanished while we look is no finding
	})
	return files
}

func (w *world) bucket() string { return filepath.Join(w.Dir, "s3", "data", w.S3.Bucket) }

func (w *world) targetLeftovers() (left []string) {
	for _, f := range w.onTarget() {
		switch {
		case strings.HasPrefix(f, "hayloft/drafts/"):
			left = append(left, f)
		case strings.Contains(f, "/backups/backup_") && w.inProgress(f):
			left = append(left, "in progress: "+f)
		}
	}
	return left
}

func (w *world) inProgress(file string) bool {
	raw, err := os.ReadFile(filepath.Join(w.bucket(), file))
	var cfg struct{ CreatedTime string }
	return err == nil && json.Unmarshal(raw, &cfg) == nil && cfg.CreatedTime == ""
}

// blocks are the data blocks on the target.
func (w *world) blocks() (n int) {
	for _, f := range w.onTarget() {
		if strings.HasSuffix(f, ".blk") {
			n++
		}
	}
	return n
}
