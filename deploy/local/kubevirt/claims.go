package kubevirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// claimTemplates is Harvester's annotation: a JSON list of claims.
	claimTemplates = "harvesterhci.io/volumeClaimTemplates"
	// populatedFor is CDI's annotation on a claim: the DataVolume for which it was filled.
	populatedFor = "cdi.kubevirt.io/storage.populatedFor"
)

// claims makes the claims that a VM's own object asks for, as Harvester's VM controller and CDI do.
type claims struct {
	client    client.Client
	populator *populator
}

// ensure makes what is missing. It returns false while a DataVolume is not populated.
func (c claims) ensure(ctx context.Context, vm *virt.VirtualMachine) (bool, error) {
	if err := c.ensureHarvesters(ctx, vm); err != nil {
		return false, err
	}
	ready := true
	for _, template := range vm.Spec.DataVolumeTemplates {
		isReady, err := c.ensureDataVolume(ctx, vm, template)
		if err != nil {
			return false, fmt.Errorf("DataVolume %s: %w", template.Name, err)
		}
		ready = ready && isReady
	}
	return ready, nil
}

// ensureHarvesters makes the claims of Harvester's annotation that do not exist. Harvester owns them by annotation, not
// by ownerReference, so they outlive the VM.
func (c claims) ensureHarvesters(ctx context.Context, vm *virt.VirtualMachine) error {
	text, ok := vm.Annotations[claimTemplates]
	if !ok || text == "" {
		return nil
	}
	var templates []corev1.PersistentVolumeClaim
	if err := json.Unmarshal([]byte(text), &templates); err != nil {
		return fmt.Errorf("annotation %s: %w", claimTemplates, err)
	}
	for _, template := range templates {
		err := c.create(ctx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{
				Name: template.Name, Namespace: vm.Namespace, Labels: template.Labels, Annotations: template.Annotations,
			},
			Spec: template.Spec,
		})
		if err != nil {
			return fmt.Errorf("annotation %s: %w", claimTemplates, err)
		}
	}
	return nil
}

// ensureDataVolume makes a DataVolume's claim, or has one populated that is there but was not filled for it. The
// DataVolume itself is not made: nothing here has its definition, and CDI too removes it once it has succeeded.
func (c claims) ensureDataVolume(ctx context.Context, vm *virt.VirtualMachine, template virt.DataVolumeTemplateSpec) (bool, error) {
	var claim corev1.PersistentVolumeClaim
	err := c.client.Get(ctx, client.ObjectKey{Namespace: vm.Namespace, Name: template.Name}, &claim)
	if apierrors.IsNotFound(err) {
		if source := template.Spec.Source; source == nil || source.Blank == nil {
			return false, errors.New("it has no blank source, and others cannot be imported here")
		}
		spec, err := claimSpec(template)
		if err != nil {
			return false, err
		}
		annotations := map[string]string{populatedFor: template.Name}
		for key, value := range template.Annotations {
			annotations[key] = value
		}
		return true, c.create(ctx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{
				Name: template.Name, Namespace: vm.Namespace, Labels: template.Labels, Annotations: annotations,
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(vm, virt.VirtualMachineGroupVersionKind)},
			},
			Spec: spec,
		})
	}
	if err != nil {
		return false, err
	}
	if claim.Annotations[populatedFor] == template.Name {
		return true, nil
	}
	return false, c.populator.populate(&claim, template.Name)
}

// claimSpec is the spec of a DataVolume's claim. What spec.storage leaves open, CDI takes from the storage class's
// profile; here it is a block device for one node.
func claimSpec(template virt.DataVolumeTemplateSpec) (corev1.PersistentVolumeClaimSpec, error) {
	if template.Spec.PVC != nil {
		return *template.Spec.PVC.DeepCopy(), nil
	}
	storage := template.Spec.Storage
	if storage == nil {
		return corev1.PersistentVolumeClaimSpec{}, errors.New("it has neither pvc nor storage")
	}
	spec := corev1.PersistentVolumeClaimSpec{
		AccessModes: storage.AccessModes, VolumeMode: storage.VolumeMode,
		Resources: storage.Resources, StorageClassName: storage.StorageClassName,
	}
	if len(spec.AccessModes) == 0 {
		spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	}
	if spec.VolumeMode == nil {
		spec.VolumeMode = new(corev1.PersistentVolumeBlock)
	}
	return spec, nil
}

func (c claims) create(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	err := c.client.Get(ctx, client.ObjectKeyFromObject(claim), &corev1.PersistentVolumeClaim{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	if err := c.client.Create(ctx, claim); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making claim %s: %w", claim.Name, err)
	}
	return nil
}

// hasUnbound tells whether a claim of the VM's spec exists and is not bound.
func (c claims) hasUnbound(ctx context.Context, vm *virt.VirtualMachine) (bool, error) {
	if vm.Spec.Template == nil || vm.Status.PrintableStatus == virt.VirtualMachineStatusRunning {
		return false, nil // a running VM's claims are bound: nothing is asked
	}
	for _, volume := range vm.Spec.Template.Spec.Volumes {
		name := claimName(volume)
		if name == "" {
			continue
		}
		var claim corev1.PersistentVolumeClaim
		err := c.client.Get(ctx, client.ObjectKey{Namespace: vm.Namespace, Name: name}, &claim)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return false, err
		}
		if claim.Status.Phase != corev1.ClaimBound {
			return true, nil
		}
	}
	return false, nil
}

// claimName is the claim behind a volume; "" for a volume that has none.
func claimName(volume virt.Volume) string {
	switch {
	case volume.PersistentVolumeClaim != nil:
		return volume.PersistentVolumeClaim.ClaimName
	case volume.DataVolume != nil:
		return volume.DataVolume.Name
	default:
		return ""
	}
}
