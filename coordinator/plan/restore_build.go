package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
)

// OriginDisk is one disk of a point and what its new volume is made from.
type OriginDisk struct {
	// Claim is the new claim.
	Name, Claim  string
	SourceVolume string
	// Backup of the source volume on the target, or Snapshot that it still has.
	Backup, Snapshot string
	SizeBytes        int64
	BackingImage     *v1alpha1.BackingImage
	// Replicas, AccessMode ("rwo", "rwx") and Migratable are the source
	// volume's in Longhorn.
	Replicas   int
	AccessMode string
	Migratable bool
	// StorageClass, ReclaimPolicy, VolumeMode and AccessModes are for the
	// PersistentVolume.
	StorageClass  string
	ReclaimPolicy corev1.PersistentVolumeReclaimPolicy
	VolumeMode    corev1.PersistentVolumeMode
	AccessModes   []corev1.PersistentVolumeAccessMode
}

// staleReplicaTimeout is Longhorn's own default in its StorageClass, minutes.
const staleReplicaTimeout = 30

// provisionedBy makes the CSI provisioner delete a PersistentVolume like one of
// its own when its claim is deleted.
const provisionedBy = "pv.kubernetes.io/provisioned-by"

func (p *restorePlan) origin(disk string) *OriginDisk {
	if p.v.Origin == nil {
		return nil
	}
	for i := range p.v.Origin.Disks {
		if p.v.Origin.Disks[i].Name == disk {
			return &p.v.Origin.Disks[i]
		}
	}
	return nil
}

func (p *restorePlan) labels() map[string]string {
	return map[string]string{v1alpha1.LabelRestore: string(p.v.Restore.UID)}
}

// createVolume makes the fresh volume of an attempt. Its front end is set as a
// VM needs it; the agent's ticket keeps it off during the restore.
func (p *restorePlan) createVolume(d *v1alpha1.RestoreDisk) {
	d.State, d.Message = v1alpha1.DiskPending, "making a volume for disk "+d.Name
	o := p.origin(d.Name)
	if o == nil {
		d.Message = "the point's document has no disk " + d.Name + " any more"
		return
	}
	access := o.AccessMode
	if access == "" {
		access = string(longhorn.AccessModeReadWriteOnce)
	}
	// Only what is meant: Longhorn's webhook fills in the rest, and its schema
	// refuses the empty strings that the Go type would write.
	spec := map[string]any{
		"size":                strconv.FormatInt(d.SizeBytes, 10),
		"frontend":            string(longhorn.VolumeFrontendBlockDev),
		"numberOfReplicas":    int64(max(1, o.Replicas)),
		"accessMode":          access,
		"migratable":          o.Migratable,
		"dataEngine":          string(longhorn.DataEngineTypeV1),
		"staleReplicaTimeout": int64(staleReplicaTimeout),
		// As Longhorn's CSI driver makes volumes. With a counter of writes on
		// each replica a live migration fails when the guest writes in the moment
		// in which the second engine compares them.
		"revisionCounterDisabled": true,
	}
	if d.BackingImage != nil {
		spec["backingImage"] = d.BackingImage.Name
	}
	vol := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	vol.SetGroupVersionKind(KindVolume)
	vol.SetName(d.Volume)
	vol.SetLabels(p.labels())
	p.out.Create = append(p.out.Create, vol)
}

// KindVolume is Longhorn's Volume; one that is to be created has no namespace
// yet.
var KindVolume = longhorn.SchemeGroupVersion.WithKind("Volume")

// building gives the recorded volumes to a new VM: volumes, claims, Secrets,
// and the VM last.
func (p *restorePlan) building() {
	for i := range p.st.Disks {
		d := &p.st.Disks[i]
		if vol, exists := p.v.Volumes[d.Volume]; !exists || vol.UID != d.VolumeUID || d.Record == nil {
			p.fail(d.Name, ReasonVolumeChanged, fmt.Sprintf("volume %s of disk %s is not the one that was restored any more", d.Volume, d.Name))
			return
		}
	}
	if !p.read() || p.v.Origin.Rebuilt == nil {
		return
	}
	built := p.v.Origin.Rebuilt
	var waits []string
	for i := range p.st.Disks {
		wait, taken := p.buildClaim(&p.st.Disks[i])
		if taken != "" {
			p.fail(p.st.Disks[i].Name, ReasonNameTaken, taken)
			return
		}
		if wait != "" {
			waits = append(waits, wait)
		}
	}
	if len(built.Secrets)+len(built.ConfigMaps) > 0 {
		switch o, err := p.work(OpMakeSecrets); {
		case o == gaveUp:
			p.fail("", err.Reason, "the VM's Secrets and ConfigMaps could not be made: "+err.Message)
			return
		case err != nil:
			waits = append(waits, "making Secrets: "+err.Message)
		case o == pending:
			waits = append(waits, "making Secrets")
		}
	}
	if len(p.v.Stale) > 0 {
		p.out.DeleteVolumes = append(p.out.DeleteVolumes, p.v.Stale...)
		p.a.again(p.v.Config.WorkRetry)
		waits = append(waits, "removing the volumes of failed attempts")
	}
	if len(waits) > 0 {
		p.working("every disk is restored; %s", strings.Join(waits, "; "))
		p.a.Cosmetic = p.v.Restore.Status.Phase == v1alpha1.RestoreBuilding
		return
	}
	switch {
	case p.replaces() != nil:
		p.swap()
	case p.v.Restore.Spec.DiskClaim != nil:
		p.succeed(fmt.Sprintf("claim %s was made of disk %s of VMBackup %s", p.v.Restore.Spec.DiskClaim.Claim, p.v.Restore.Spec.DiskClaim.Disk, p.v.Restore.Spec.Backup))
	default:
		p.buildVM()
	}
}

// buildClaim makes the PersistentVolume and claim of one disk.
func (p *restorePlan) buildClaim(d *v1alpha1.RestoreDisk) (wait, taken string) {
	built := p.v.Origin.Rebuilt
	o := p.origin(d.Name)
	var claim *corev1.PersistentVolumeClaim
	for _, c := range built.PVCs {
		if c.Name == d.Claim {
			claim = c
		}
	}
	if o == nil || claim == nil {
		return "", fmt.Sprintf("the point's document has no claim for disk %s any more: was it changed?", d.Name)
	}
	pv, exists := p.v.Made.Volumes[d.Volume]
	switch {
	case !exists:
		p.out.Create = append(p.out.Create, p.persistentVolume(d, o))
	case !pv.Owned:
		return "", fmt.Sprintf("PersistentVolume %s exists already and was not made by this restore", d.Volume)
	}
	have, exists := p.v.Made.Claims[d.Claim]
	switch {
	case !exists && !p.settled(pv):
		p.a.again(settleLook)
	case !exists:
		c := claim.DeepCopy()
		c.Labels = merge(c.Labels, p.labels())
		p.out.Create = append(p.out.Create, c)
	case !have.Owned:
		return "", fmt.Sprintf("PersistentVolumeClaim %s exists already and was not made by this restore", d.Claim)
	case have.Lost:
		return "", fmt.Sprintf("PersistentVolumeClaim %s lost its volume", d.Claim)
	case have.Bound:
		return "", ""
	case nextTouch(p.v.Now, have) == 0:
		p.out.TouchClaims = append(p.out.TouchClaims, d.Claim)
	}
	p.a.again(touchAfter) // also where the next touch is far off: the restore has a deadline
	return "waiting for claim " + d.Claim + " to be bound", ""
}

// A claim that comes before the volume controller has seen its volume is bound
// only at that controller's next resync, every 15 s by default. So it is waited
// for the volume to be seen, but not for long: the controller may be away.
const (
	settleTime = 2 * time.Second
	settleLook = 50 * time.Millisecond
)

// touchAfter is how long a claim may stay unbound, reckoned from a time of
// creation in whole seconds. Longhorn and two workers of the volume controller
// write the volume of a claim that names it; when the worker that has the claim
// loses, it leaves both until the claim's next change, or its next resync.
const touchAfter = 2 * time.Second

// nextTouch is in what time a claim may be touched. After each touch it is left
// alone for as long again as it has been waited for until then: the touch itself
// brings it here again, and a controller whose every write meets a claim that was
// changed meanwhile never binds it.
func nextTouch(now time.Time, claim ObjectFact) time.Duration {
	if claim.Touched.IsZero() {
		return remaining(now, claim.Created, touchAfter)
	}
	return remaining(now, claim.Touched, max(touchAfter, claim.Touched.Sub(claim.Created)))
}

func (p *restorePlan) settled(pv ObjectFact) bool {
	return !pv.Created.IsZero() && (pv.Seen || remaining(p.v.Now, pv.Created, settleTime) == 0)
}

func (p *restorePlan) persistentVolume(d *v1alpha1.RestoreDisk, o *OriginDisk) *corev1.PersistentVolume {
	mode := o.VolumeMode
	if mode == "" {
		mode = corev1.PersistentVolumeFilesystem
	}
	policy := o.ReclaimPolicy
	if policy == "" {
		policy = corev1.PersistentVolumeReclaimDelete
	}
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: d.Volume, Labels: p.labels(), Annotations: map[string]string{provisionedBy: rules.Driver},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(d.SizeBytes, resource.BinarySI)},
			AccessModes:                   o.AccessModes,
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              o.StorageClass,
			VolumeMode:                    &mode,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: p.v.Restore.Namespace, Name: d.Claim,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: rules.Driver, VolumeHandle: d.Volume,
				VolumeAttributes: map[string]string{
					"numberOfReplicas":    fmt.Sprint(max(1, o.Replicas)),
					"staleReplicaTimeout": fmt.Sprint(staleReplicaTimeout),
				},
			}},
		},
	}
	if mode == corev1.PersistentVolumeFilesystem {
		pv.Spec.CSI.FSType = "ext4"
	}
	if o.Migratable {
		pv.Spec.CSI.VolumeAttributes["migratable"] = "true"
	}
	if d.BackingImage != nil {
		pv.Spec.CSI.VolumeAttributes["backingImage"] = d.BackingImage.Name
	}
	return pv
}

// buildVM makes the VM, which is the last thing; when it is there the restore
// is Ready.
func (p *restorePlan) buildVM() {
	vm := p.v.Made.VM
	switch {
	case vm == nil:
		o := p.v.Origin.Rebuilt.VM.DeepCopy()
		o.SetLabels(merge(o.GetLabels(), p.labels()))
		p.out.Create = append(p.out.Create, o)
		p.working("every disk is restored; making VM %s", p.v.Restore.Spec.NewVM)
		p.a.Cosmetic = true
		return
	case !vm.Owned:
		p.fail("", ReasonNameTaken, fmt.Sprintf("VirtualMachine %s (spec.newVM) was made by somebody else meanwhile", p.v.Restore.Spec.NewVM))
		return
	}
	p.st.VMUID = vm.UID
	p.succeed(fmt.Sprintf("VM %s was made from VMBackup %s", p.v.Restore.Spec.NewVM, p.v.Restore.Spec.Backup))
}

// succeed ends a restore well.
func (p *restorePlan) succeed(message string) {
	now := metav1.NewTime(p.v.Now)
	p.st.Phase, p.st.CompletedAt = v1alpha1.RestoreReady, &now
	p.st.ProgressText = "100%"
	set(&p.st.Conditions, p.v.Now, p.v.Restore.Generation, v1alpha1.ConditionReady, metav1.ConditionTrue, ReasonComplete, message)
	p.progressing(metav1.ConditionFalse, ReasonComplete, "done")
	p.a.Cosmetic = false
	p.a.tell("Ready", message)
	p.end()
}

func merge(a, b map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range []map[string]string{a, b} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}
