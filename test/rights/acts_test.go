package rights

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// What callers try. Everything is a dry run: admission decides, and nothing is
// stored.

func (w *world) get(o client.Object, namespace, name string) func(client.Client) error {
	return func(c client.Client) error {
		return c.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o.DeepCopyObject().(client.Object))
	}
}

// backup of a VM in shop; of type Snapshot without a target.
func (w *world) backup(vm, target string) func(client.Client) error {
	return func(c client.Client) error {
		b := &v1alpha1.VMBackup{Spec: v1alpha1.VMBackupSpec{VM: vm, Target: target}}
		b.Namespace, b.Name = "shop", "new"
		if target == "" {
			b.Spec.Type = v1alpha1.TypeSnapshot
		}
		return c.Create(w.t.Context(), b, client.DryRunAll)
	}
}

// found makes a point that is said to be another cluster's.
func (w *world) found() func(client.Client) error {
	return func(c client.Client) error {
		b := &v1alpha1.VMBackup{Spec: v1alpha1.VMBackupSpec{
			VM: "web", Target: "s3", DeletionPolicy: v1alpha1.DeletionRetain, Found: &v1alpha1.FoundPoint{ClusterUID: "c", UID: "u"},
		}}
		b.Namespace, b.Name = "shop", "new"
		return c.Create(w.t.Context(), b, client.DryRunAll)
	}
}

func (w *world) patch(o client.Object, body string) func(client.Client) error {
	return func(c client.Client) error {
		return c.Patch(w.t.Context(), o.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, []byte(body)), client.DryRunAll)
	}
}

func (w *world) point() *v1alpha1.VMBackup {
	return &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}}
}

func (w *world) pin() func(client.Client) error {
	return w.patch(w.point(), `{"spec":{"pinned":true}}`)
}

// claim takes a found point over.
func (w *world) claim() func(client.Client) error {
	return w.patch(&v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "f"}}, `{"spec":{"claimed":true,"deletionPolicy":"Delete"}}`)
}

func (w *world) remove() func(client.Client) error {
	return func(c client.Client) error { return c.Delete(w.t.Context(), w.point(), client.DryRunAll) }
}

// status writes a point's status.
func (w *world) status() func(client.Client) error {
	return func(c client.Client) error {
		b := w.point()
		if err := w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
			return err
		}
		b.Status.Document = "hayloft/points/lab/secret.json"
		return c.Status().Update(w.t.Context(), b, client.DryRunAll)
	}
}

func nightly() *v1alpha1.VMSchedule {
	return &v1alpha1.VMSchedule{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "nightly"},
		Spec:       v1alpha1.VMScheduleSpec{Cron: "0 2 * * *", VM: "web", Target: "s3"},
	}
}

// schedule of backups of VM web in shop, or without a target of snapshots of all
// VMs there.
func (w *world) schedule(target string) func(client.Client) error {
	return func(c client.Client) error {
		s := nightly()
		s.Name, s.Spec.Target = "new", target
		if target == "" {
			s.Spec.Type, s.Spec.VM, s.Spec.Selector = v1alpha1.TypeSnapshot, "", &metav1.LabelSelector{}
		}
		return c.Create(w.t.Context(), s, client.DryRunAll)
	}
}

// change a field of a schedule.
func (w *world) change(field, to string) func(client.Client) error {
	return w.patch(nightly(), fmt.Sprintf(`{"spec":{%q:%s}}`, field, to))
}

// ran writes a schedule's status.
func (w *world) ran() func(client.Client) error {
	return func(c client.Client) error {
		s := nightly()
		if err := w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		s.Status.LastNominalTime = ptr.To(metav1.Now())
		return c.Status().Update(w.t.Context(), s, client.DryRunAll)
	}
}

// restore of point p in a namespace.
func (w *world) restore(namespace string, changes ...func(*v1alpha1.VMRestoreSpec)) func(client.Client) error {
	return func(c client.Client) error {
		r := &v1alpha1.VMRestore{Spec: v1alpha1.VMRestoreSpec{Backup: "p"}}
		r.Namespace, r.Name = namespace, "new"
		for _, change := range changes {
			change(&r.Spec)
		}
		return c.Create(w.t.Context(), r, client.DryRunAll)
	}
}

func newVM(s *v1alpha1.VMRestoreSpec) { s.NewVM = "copy" }

func images(s *v1alpha1.VMRestoreSpec) { s.Images = v1alpha1.ImagesRecreate }

func disk(s *v1alpha1.VMRestoreSpec) {
	s.NewVM, s.DiskClaim = "", &v1alpha1.DiskClaim{Disk: "root", Claim: "c"}
}

func replace(volumes v1alpha1.VolumePolicy) func(*v1alpha1.VMRestoreSpec) {
	return func(s *v1alpha1.VMRestoreSpec) { s.Replace = &v1alpha1.Replace{VM: "web", Volumes: volumes} }
}

// from is a new VM of a point of shop.
func from(point string) func(*v1alpha1.VMRestoreSpec) {
	return func(s *v1alpha1.VMRestoreSpec) { s.Backup, s.BackupNamespace, s.NewVM = point, "shop", "copy" }
}

func job(name, node string) *v1alpha1.NodeJob {
	j := &v1alpha1.NodeJob{Spec: v1alpha1.NodeJobSpec{
		NodeName: node, DeadlineSeconds: 60,
		Owner:           v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: "shop", Name: "p", UID: "u"},
		RemoveSnapshots: &v1alpha1.RemoveSnapshotsJob{Volume: "v", Snapshots: []string{"s"}},
	}}
	j.Namespace, j.Name = "hayloft-system", name
	return j
}

func (w *world) makeJob() func(client.Client) error {
	return func(c client.Client) error { return c.Create(w.t.Context(), job("new", "n1"), client.DryRunAll) }
}

func (w *world) removeJob() func(client.Client) error {
	return func(c client.Client) error { return c.Delete(w.t.Context(), job("on-n1", ""), client.DryRunAll) }
}

func (w *world) assign() func(client.Client) error {
	return w.patch(job("on-n1", ""), fmt.Sprintf(`{"spec":{"nodeName":%q}}`, "n2"))
}

// report writes a job's status as its agent does.
func (w *world) report(name string) func(client.Client) error {
	return func(c client.Client) error {
		j := job(name, "")
		if err := w.admin.Get(w.t.Context(), client.ObjectKeyFromObject(j), j); err != nil {
			return err
		}
		j.Status.State = v1alpha1.JobSucceeded
		return c.Status().Update(w.t.Context(), j, client.DryRunAll)
	}
}
