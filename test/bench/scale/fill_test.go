package scale

import (
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// What is there of each VM: a disk, a schedule of each type, and what these keep.
const (
	vmsPerNamespace = 50
	keptBackups     = 12
	keptSnapshots   = 4
	size            = 10 << 30
)

// machine is one VM of the many.
type machine struct {
	namespace, name string
	uid             types.UID
	claim, volume   string
	schedules       [2]types.UID // of type Backup, of type Snapshot
}

func (m machine) schedule(kind v1alpha1.BackupType) string {
	if kind == v1alpha1.TypeSnapshot {
		return m.name + "-snapshots"
	}
	return m.name + "-backups"
}

// fill makes n VMs with all that belongs to them. No schedule of theirs comes
// within the next two hours.
func (w *world) fill(n int) {
	w.b.Helper()
	began := time.Now()
	for i := range n {
		name := fmt.Sprintf("vm-%05d", i)
		w.machines = append(w.machines, machine{
			namespace: fmt.Sprintf("tenant-%03d", i/vmsPerNamespace), name: name, uid: newUID(), claim: name + "-root",
			volume: "pvc-" + uuid.NewString(), schedules: [2]types.UID{newUID(), newUID()},
		})
	}
	w.templates()
	w.claims()
	for i, m := range w.machines {
		w.copies(i, m)
	}
	w.etcd.flush()
	w.b.Logf("%d VMs with %d schedules and %d points were made in %s", n, 2*n, (keptBackups+keptSnapshots)*n, time.Since(began).Round(time.Second))
}

func newUID() types.UID { return types.UID(uuid.NewString()) }

// template is an object as the API server has stored it.
type template struct {
	prefix string // of its key, up to the namespace
	object map[string]any
}

// templates makes one object of each kind in a namespace of their own, and takes
// what the API server made of it: defaults, managed fields and all.
func (w *world) templates() {
	w.b.Helper()
	ns := "templates"
	w.namespace(ns)
	store := func(group, plural string, o client.Object) template {
		check(w.b, w.c.Create(w.ctx, o))
		prefix := "/registry/" + group + "/" + plural + "/"
		t := template{prefix: prefix, object: w.etcd.object(prefix + o.GetNamespace() + "/" + o.GetName())}
		check(w.b, w.c.Delete(w.ctx, o))
		return t
	}
	w.vm = store("kubevirt.io", "virtualmachines", newVM(ns))
	w.volume = store("longhorn.io", "volumes", plain("Volume", map[string]any{
		"size": fmt.Sprint(size), "numberOfReplicas": int64(3), "dataEngine": "v1", "migratable": true, "accessMode": "rwx", "frontend": "blockdev",
	}))
	w.snapshot = store("longhorn.io", "snapshots", plain("Snapshot", map[string]any{"volume": "template"}))
	for _, kind := range []v1alpha1.BackupType{v1alpha1.TypeBackup, v1alpha1.TypeSnapshot} {
		w.schedule[kind] = store("hayloft.dev", "vmschedules", newSchedule(ns, kind))
		b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "template"}}
		b.Spec.VM, b.Spec.Type = "template", kind
		if kind == v1alpha1.TypeBackup {
			b.Spec.Target = target
		}
		w.point[kind] = store("hayloft.dev", "vmbackups", b)
	}
}

// plain is one of Longhorn's objects, of whose many fields most are not to be set
// to nothing.
func plain(kind string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(longhorn.SchemeGroupVersion.WithKind(kind))
	o.SetNamespace(longhornNamespace)
	o.SetName("template")
	return o
}

func newVM(namespace string) *kubevirt.VirtualMachine {
	halted := kubevirt.RunStrategyHalted
	vm := &kubevirt.VirtualMachine{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "template"}}
	vm.Spec.RunStrategy = &halted
	vm.Spec.Template = &kubevirt.VirtualMachineInstanceTemplateSpec{}
	vm.Spec.Template.Spec.Domain.Devices.Disks = []kubevirt.Disk{{
		Name: "root", DiskDevice: kubevirt.DiskDevice{Disk: &kubevirt.DiskTarget{Bus: kubevirt.DiskBusVirtio}},
	}}
	source := &kubevirt.PersistentVolumeClaimVolumeSource{}
	source.ClaimName = "template"
	vm.Spec.Template.Spec.Volumes = []kubevirt.Volume{{Name: "root", VolumeSource: kubevirt.VolumeSource{PersistentVolumeClaim: source}}}
	return vm
}

func newSchedule(namespace string, kind v1alpha1.BackupType) *v1alpha1.VMSchedule {
	s := &v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "template"}}
	s.Spec.VM, s.Spec.Cron, s.Spec.Type, s.Spec.MaxFailures = "template", "0 0 * * *", kind, 3
	s.Spec.SpacingOverride = &v1alpha1.SpacingOverride{Reason: "many are to run at once"}
	s.Spec.Retention = v1alpha1.Retention{KeepLast: keptSnapshots, MinGood: 1}
	if kind == v1alpha1.TypeBackup {
		s.Spec.Target, s.Spec.Retention.KeepLast = target, keptBackups
	}
	return s
}

// claims makes the namespaces, claims and volumes through the API server, which
// does not store them as JSON.
func (w *world) claims() {
	w.b.Helper()
	g, ctx := errgroup.WithContext(w.ctx)
	g.SetLimit(16)
	for i, m := range w.machines {
		if i%vmsPerNamespace == 0 {
			w.namespace(m.namespace)
		}
		g.Go(func() error {
			class, block := "longhorn", corev1.PersistentVolumeBlock
			modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
			amount := corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(size, resource.BinarySI)}
			v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: m.volume}}
			v.Spec.StorageClassName, v.Spec.VolumeMode, v.Spec.AccessModes, v.Spec.Capacity = class, &block, modes, amount
			v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "driver.longhorn.io", VolumeHandle: m.volume}
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: m.namespace, Name: m.claim}
			if err := w.c.Create(ctx, v); err != nil {
				return err
			}
			c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: m.namespace, Name: m.claim}}
			c.Spec.StorageClassName, c.Spec.VolumeMode, c.Spec.AccessModes, c.Spec.VolumeName = &class, &block, modes, m.volume
			c.Spec.Resources.Requests = amount
			if err := w.c.Create(ctx, c); err != nil {
				return err
			}
			c.Status.Phase = corev1.ClaimBound
			return w.c.Status().Update(ctx, c)
		})
	}
	check(w.b, g.Wait())
}

// copies stores what belongs to one VM.
func (w *world) copies(i int, m machine) {
	w.b.Helper()
	born := time.Now().Add(-400 * 24 * time.Hour)
	vm := w.vm.copy(m.namespace, m.name, m.uid, born)
	set(vm, []any{map[string]any{"name": "root", "persistentVolumeClaim": map[string]any{"claimName": m.claim}}}, "spec", "template", "spec", "volumes")
	w.etcd.put(w.vm.prefix+m.namespace+"/"+m.name, vm)

	volume := w.volume.copy(longhornNamespace, m.volume, newUID(), born)
	set(volume, m.volume, "metadata", "labels", "longhornvolume")
	set(volume, map[string]any{"state": "detached", "robustness": "unknown", "actualSize": int64(2 << 30)}, "status")
	w.etcd.put(w.volume.prefix+longhornNamespace+"/"+m.volume, volume)

	// At another minute for each, the two of a VM half a day from each other.
	at := w.now.Add(2*time.Hour + time.Duration(i%600)*time.Minute)
	w.scheduled(m, v1alpha1.TypeBackup, m.schedules[0], at, keptBackups)
	w.scheduled(m, v1alpha1.TypeSnapshot, m.schedules[1], at.Add(11*time.Hour), keptSnapshots)
}

// scheduled stores a daily schedule that next runs at a time, and the points of
// its last runs.
func (w *world) scheduled(m machine, kind v1alpha1.BackupType, uid types.UID, next time.Time, points int) {
	w.b.Helper()
	born := next.AddDate(0, 0, -points-1)
	name, cron, last := m.schedule(kind), fmt.Sprintf("%d %d * * *", next.Minute(), next.Hour()), next.AddDate(0, 0, -1)
	s := w.schedule[kind].copy(m.namespace, name, uid, born)
	set(s, m.name, "spec", "vm")
	set(s, cron, "spec", "cron")
	condition := func(kind, status, reason, message string) metav1.Condition {
		return metav1.Condition{
			Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, Message: message, ObservedGeneration: 1, LastTransitionTime: metav1.NewTime(born),
		}
	}
	stamp := func(t time.Time) *metav1.Time { return &metav1.Time{Time: t} }
	setStatus(w.b, s, v1alpha1.VMScheduleStatus{
		ObservedGeneration: 1, Timetable: &v1alpha1.Timetable{Cron: cron, TimeZone: "UTC", Since: metav1.NewTime(born)},
		LastNominalTime: stamp(last), NextTime: stamp(next), LastSuccessTime: stamp(last.Add(time.Minute)),
		LastRun: &v1alpha1.ScheduleResult{NominalTime: metav1.NewTime(last), EndedAt: metav1.NewTime(last.Add(time.Minute)), Ready: 1},
		Conditions: []metav1.Condition{
			condition(v1alpha1.ConditionSuspended, "False", v1alpha1.NotSuspended, ""),
			condition(v1alpha1.ConditionReady, "True", "Accepted", "runs at "+cron+" (UTC), where spec.spacingOverride lifts the rules on spacing: many are to run at once"),
		},
	})
	w.etcd.put(w.schedule[kind].prefix+m.namespace+"/"+name, s)
	for n := range points {
		w.pointOf(m, kind, uid, next.AddDate(0, 0, n-points), n == points-1)
	}
}

// pointOf stores a Ready point. Of type Backup only the newest has its engine
// snapshot still.
func (w *world) pointOf(m machine, kind v1alpha1.BackupType, schedule types.UID, nominal time.Time, newest bool) {
	w.b.Helper()
	uid, name := newUID(), names.Scheduled(schedule, m.name, nominal)
	b := w.point[kind].copy(m.namespace, name, uid, nominal)
	set(b, m.name, "spec", "vm")
	set(b, map[string]any{v1alpha1.LabelSchedule: string(schedule), v1alpha1.LabelVM: m.name}, "metadata", "labels")
	set(b, map[string]any{
		v1alpha1.AnnotationSchedule: m.schedule(kind), v1alpha1.AnnotationNominalTime: nominal.UTC().Format(v1alpha1.NominalTimeLayout),
	}, "metadata", "annotations")
	set(b, []any{v1alpha1.FinalizerData}, "metadata", "finalizers")
	cut, window, uploaded, done := metav1.NewMicroTime(nominal.Add(time.Second)), int64(3), int64(64<<20), metav1.NewTime(nominal.Add(time.Minute))
	disk := v1alpha1.BackupDisk{Name: "root", Claim: m.claim, Volume: m.volume, SizeBytes: size, State: v1alpha1.DiskDone}
	condition := func(kind, status, reason, message string) metav1.Condition {
		return metav1.Condition{
			Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, Message: message, ObservedGeneration: 1, LastTransitionTime: done,
		}
	}
	st := v1alpha1.VMBackupStatus{
		ObservedGeneration: 1, Phase: v1alpha1.BackupReady, SourceUID: m.uid, Consistency: v1alpha1.ConsistencyOffline,
		StartedAt: &metav1.Time{Time: nominal}, CutAt: &cut, CompletedAt: &done, CutWindowMilliseconds: &window, ProgressText: "100%",
		Document: names.PointSecret(uid), DocumentDigest: "sha256:" + digest(uid),
		Conditions: []metav1.Condition{
			condition(v1alpha1.ConditionProgressing, "False", "Done", "done"),
			condition(v1alpha1.ConditionReady, "True", "Ready", "every disk is in its volume, and the VM's definition in Secret "+names.PointSecret(uid)),
		},
	}
	snapshot := names.Snapshot(uid, 1, "root")
	if kind == v1alpha1.TypeBackup {
		disk.Attempt, disk.Backup, disk.Incremental, disk.UploadedBytes = 1, names.Backup(uid, "root", 1), true, &uploaded
		disk.Superseded = []string{names.Snapshot(newUID(), 1, "root")}
		st.Document = fmt.Sprintf("hayloft/points/%s/%s-%s.json", m.namespace, name, uid)
		st.Conditions[1].Message = "every disk is on the target; 1 Secret lies in the document, not encrypted"
	}
	if newest || kind == v1alpha1.TypeSnapshot {
		disk.Snapshot, disk.Listed = snapshot, kind == v1alpha1.TypeSnapshot // as it was noted at the first look
		s := w.snapshot.copy(longhornNamespace, snapshot, newUID(), nominal)
		set(s, m.volume, "spec", "volume")
		set(s, map[string]any{"readyToUse": true, "size": uploaded, "creationTime": nominal.UTC().Format(time.RFC3339)}, "status")
		w.etcd.put(w.snapshot.prefix+longhornNamespace+"/"+snapshot, s)
	}
	st.Disks = []v1alpha1.BackupDisk{disk}
	setStatus(w.b, b, st)
	w.etcd.put(w.point[kind].prefix+m.namespace+"/"+name, b)
}

// copy is a template under another name.
func (t template) copy(namespace, name string, uid types.UID, born time.Time) map[string]any {
	out := runtime.DeepCopyJSON(t.object)
	meta := out["metadata"].(map[string]any)
	maps.Copy(meta, map[string]any{
		"namespace": namespace, "name": name, "uid": string(uid), "creationTimestamp": born.UTC().Format(time.RFC3339), "generation": int64(1),
	})
	return out
}
