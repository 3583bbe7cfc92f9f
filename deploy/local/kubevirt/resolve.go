package kubevirt

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/disk"
)

const (
	// stateLabel is on the claim with a VM's TPM and EFI state; its value is the VM's name. Claims are named after it.
	stateLabel = "persistent-state-for"
	stateSize  = "10Mi"
	stateClass = "longhorn"
)

// resolvedDisk is a disk of an instance whose claim is bound to a Longhorn volume.
type resolvedDisk struct {
	name    string
	volume  string
	claim   *corev1.PersistentVolumeClaim
	isState bool // TPM and EFI state, not a volume of the spec
}

// resolve finds the disks' volumes. A claim that is missing or not bound is waited for: the second result says so.
func (r *instances) resolve(ctx context.Context, vmi *virt.VirtualMachineInstance) ([]resolvedDisk, *syncError, error) {
	var disks []resolvedDisk
	for _, volume := range vmi.Spec.Volumes {
		if name := claimName(volume); name != "" {
			disks = append(disks, resolvedDisk{name: volume.Name, claim: &corev1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Namespace: vmi.Namespace, Name: name},
			}})
		}
	}
	if keepsState(vmi) {
		claim, err := r.ensureState(ctx, vmi)
		if err != nil {
			return nil, nil, err
		}
		disks = append(disks, resolvedDisk{name: claim.Name, claim: claim, isState: true})
	}
	for i := range disks {
		d := &disks[i]
		err := r.client.Get(ctx, client.ObjectKeyFromObject(d.claim), d.claim)
		if apierrors.IsNotFound(err) {
			return nil, &syncError{pvcNotFound, fmt.Errorf("PVC %s/%s does not exist, waiting for it to appear", vmi.Namespace, d.claim.Name)}, nil
		}
		if err != nil {
			return nil, nil, err
		}
		d.volume, err = disk.VolumeOf(ctx, r.client, vmi.Namespace, d.claim.Name)
		if errors.Is(err, disk.ErrUnbound) {
			return nil, &syncError{"PvcNotBound", err}, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("disk %s: %w", d.name, err)
		}
	}
	return disks, nil, nil
}

func keepsState(vmi *virt.VirtualMachineInstance) bool {
	isSet := func(b *bool) bool { return b != nil && *b }
	if tpm := vmi.Spec.Domain.Devices.TPM; tpm != nil && (tpm.Enabled == nil || *tpm.Enabled) && isSet(tpm.Persistent) {
		return true
	}
	firmware := vmi.Spec.Domain.Firmware
	return firmware != nil && firmware.Bootloader != nil && firmware.Bootloader.EFI != nil && isSet(firmware.Bootloader.EFI.Persistent)
}

// ensureState finds the claim with the VM's state, by its label or by the name that older versions gave, or makes it.
func (r *instances) ensureState(ctx context.Context, vmi *virt.VirtualMachineInstance) (*corev1.PersistentVolumeClaim, error) {
	var list corev1.PersistentVolumeClaimList
	if err := r.client.List(ctx, &list, client.InNamespace(vmi.Namespace)); err != nil {
		return nil, fmt.Errorf("looking for the claim with the state of %s: %w", vmi.Name, err)
	}
	base := stateLabel + "-" + vmi.Name
	var legacy *corev1.PersistentVolumeClaim
	for i := range list.Items {
		claim := &list.Items[i]
		if claim.DeletionTimestamp != nil {
			continue
		}
		if claim.Labels[stateLabel] == vmi.Name {
			return claim, nil
		}
		if claim.Name == base {
			legacy = claim
		}
	}
	if legacy != nil {
		return legacy, nil
	}
	owners := vmi.OwnerReferences
	if len(owners) == 0 {
		owners = []metav1.OwnerReference{*metav1.NewControllerRef(vmi, virt.VirtualMachineInstanceGroupVersionKind)}
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: base + "-", Namespace: vmi.Namespace, OwnerReferences: owners,
			Labels: map[string]string{stateLabel: vmi.Name},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			VolumeMode:       new(corev1.PersistentVolumeFilesystem),
			StorageClassName: new(stateClass),
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(stateSize)},
			},
		},
	}
	if err := r.client.Create(ctx, claim); err != nil {
		return nil, fmt.Errorf("making the claim for the state of %s: %w", vmi.Name, err)
	}
	return claim, nil
}

// missingConfig names a Secret or ConfigMap that the instance's pod would mount and that does not exist; "" for none.
func (r *instances) missingConfig(ctx context.Context, vmi *virt.VirtualMachineInstance) (string, error) {
	for _, ref := range configOf(vmi) {
		object := client.Object(&corev1.Secret{})
		if ref.kind == "ConfigMap" {
			object = &corev1.ConfigMap{}
		}
		err := r.client.Get(ctx, client.ObjectKey{Namespace: vmi.Namespace, Name: ref.name}, object)
		if apierrors.IsNotFound(err) {
			return fmt.Sprintf("%s %s/%s does not exist, waiting for it to appear", ref.kind, vmi.Namespace, ref.name), nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

type configRef struct{ kind, name string }

// configOf is what an instance needs besides its disks, without what is marked as optional.
func configOf(vmi *virt.VirtualMachineInstance) []configRef {
	var refs []configRef
	secret := func(ref *corev1.LocalObjectReference) {
		if ref != nil && ref.Name != "" {
			refs = append(refs, configRef{"Secret", ref.Name})
		}
	}
	configMap := func(ref *corev1.LocalObjectReference) {
		if ref != nil && ref.Name != "" {
			refs = append(refs, configRef{"ConfigMap", ref.Name})
		}
	}
	for _, v := range vmi.Spec.Volumes {
		switch {
		case v.CloudInitNoCloud != nil:
			secret(v.CloudInitNoCloud.UserDataSecretRef)
			secret(v.CloudInitNoCloud.NetworkDataSecretRef)
		case v.CloudInitConfigDrive != nil:
			secret(v.CloudInitConfigDrive.UserDataSecretRef)
			secret(v.CloudInitConfigDrive.NetworkDataSecretRef)
		case v.Sysprep != nil:
			secret(v.Sysprep.Secret)
			configMap(v.Sysprep.ConfigMap)
		case v.Secret != nil && (v.Secret.Optional == nil || !*v.Secret.Optional):
			secret(&corev1.LocalObjectReference{Name: v.Secret.SecretName})
		case v.ConfigMap != nil && (v.ConfigMap.Optional == nil || !*v.ConfigMap.Optional):
			configMap(&v.ConfigMap.LocalObjectReference)
		}
	}
	for _, access := range vmi.Spec.AccessCredentials {
		if key := access.SSHPublicKey; key != nil && key.Source.Secret != nil {
			secret(&corev1.LocalObjectReference{Name: key.Source.Secret.SecretName})
		}
		if password := access.UserPassword; password != nil && password.Source.Secret != nil {
			secret(&corev1.LocalObjectReference{Name: password.Source.Secret.SecretName})
		}
	}
	return refs
}
