package e2e

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

const (
	stateLabel     = "persistent-state-for"
	claimTemplates = "harvesterhci.io/volumeClaimTemplates"
	sourceMAC      = "02:00:00:00:00:7f"
)

// TestCarryOver: a VM with all that can keep a copy from starting, or can make
// somebody fill its disks again, is restored and starts on the bytes that were
// backed up. docs/restore-rules.md has the rules; their cases are tested in
// coordinator/vmspec, and here together against what acts by them.
func TestCarryOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	state := w.fullVM("shop")
	for _, disk := range []string{"root", "data", state} {
		length := int64(8 * mib)
		if disk == state {
			length = mib
		}
		w.guest("fill", "shop", "--disk", disk, "--seed", "7", "--length", strconv.FormatInt(length, 10))
	}
	sums := w.quietHashes("shop", "root", "data", state)
	// The revisions are owned by the source and may be gone; the VM runs on.
	w.mustRemove(w.revision("type"), w.revision("preference"))

	w.backup("point", "shop")
	point := w.awaitBackup("point", v1alpha1.BackupReady)
	require.Len(t, point.Status.Disks, 3, "root, data, and the TPM's state")

	copied := w.restoreRunning("r1", "copy", false)
	w.sameGuest("copy", state, sums)
	w.rebuiltByTheRules(copied)
	for _, i := range copied.Spec.Template.Spec.Domain.Devices.Interfaces {
		require.Empty(t, i.MacAddress, "the copy gets an address of its own")
	}

	source := &kubevirt.VirtualMachine{}
	source.Namespace, source.Name = w.ns, "shop"
	w.mustRemove(source)
	heir := w.restoreRunning("r2", "heir", true)
	w.sameGuest("heir", state, sums)
	w.rebuiltByTheRules(heir)
	require.Equal(t, sourceMAC, heir.Spec.Template.Spec.Domain.Devices.Interfaces[0].MacAddress, "the heir takes the source's place")
	w.nothingLeft()
}

// fullVM makes and starts the VM; it returns the name of the disk, and claim,
// of its TPM state.
func (w *world) fullVM(name string) (state string) {
	w.t.Helper()
	size := map[string]any{"cpu": map[string]any{"guest": int64(1)}, "memory": map[string]any{"guest": "64Mi"}}
	for object, spec := range map[string]map[string]any{"type": size, "preference": {}} {
		o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		o.SetAPIVersion("instancetype.kubevirt.io/v1beta1")
		o.SetKind(map[string]string{"type": "VirtualMachineClusterInstancetype", "preference": "VirtualMachineClusterPreference"}[object])
		o.SetName(w.ns + "-" + object)
		w.mustMake(o)
		w.mustMake(w.revision(object))
	}
	for secret, data := range map[string]string{"init": "#cloud-config\npassword: x\n", "keys": "ssh-ed25519 AAAA someone"} {
		s := &corev1.Secret{StringData: map[string]string{"userdata": data}}
		s.Namespace, s.Name = w.ns, name+"-"+secret
		w.mustMake(s)
	}
	settings := &corev1.ConfigMap{Data: map[string]string{"mode": "shop"}}
	settings.Namespace, settings.Name = w.ns, name+"-settings"
	w.mustMake(settings)

	vm := w.vmSpec(name, []string{name + "-root", name + "-data"}, func(vm *kubevirt.VirtualMachine) { w.everything(vm) })
	w.mustMake(vm)
	w.awaitRunning(name)
	return w.stateOf(name)
}

// everything gives a VM each of the things that a restore has to know of.
func (w *world) everything(vm *kubevirt.VirtualMachine) {
	w.t.Helper()
	claim := w.blockClaim(vm.Name + "-data")
	templates, err := json.Marshal([]corev1.PersistentVolumeClaim{claim})
	require.NoError(w.t, err)
	vm.Labels = map[string]string{
		"app": "shop", "harvesterhci.io/vmName": vm.Name, "app.kubernetes.io/instance": "release",
	}
	vm.Annotations = map[string]string{
		claimTemplates: string(templates), "example.com/owner": "somebody",
		"argocd.argoproj.io/tracking-id": "apps:kubevirt.io/VirtualMachine:shop", "local.hayloft.dev/write-interval": "0s",
	}
	vm.Spec.Instancetype = &kubevirt.InstancetypeMatcher{Name: w.ns + "-type", RevisionName: "type-rev"}
	vm.Spec.Preference = &kubevirt.PreferenceMatcher{Name: w.ns + "-preference", RevisionName: "preference-rev"}
	root := w.blockClaim(vm.Name + "-root")
	dataVolumes := words([]any{map[string]any{
		"metadata": map[string]any{"name": root.Name},
		"spec":     map[string]any{"source": map[string]any{"blank": map[string]any{}}, "pvc": root.Spec},
	}})
	require.NoError(w.t, json.Unmarshal([]byte(dataVolumes), &vm.Spec.DataVolumeTemplates))

	vm.Spec.Template.ObjectMeta.Labels = map[string]string{"kubevirt.io/vm": vm.Name, "tier": "front"}
	spec := &vm.Spec.Template.Spec
	spec.Volumes[0].VolumeSource = kubevirt.VolumeSource{DataVolume: &kubevirt.DataVolumeSource{Name: root.Name}}
	addVolume(vm, "init", kubevirt.VolumeSource{CloudInitNoCloud: &kubevirt.CloudInitNoCloudSource{
		UserDataSecretRef: &corev1.LocalObjectReference{Name: vm.Name + "-init"},
	}})
	addVolume(vm, "settings", kubevirt.VolumeSource{ConfigMap: &kubevirt.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: vm.Name + "-settings"},
	}})
	spec.AccessCredentials = []kubevirt.AccessCredential{{SSHPublicKey: &kubevirt.SSHPublicKeyAccessCredential{
		Source:            kubevirt.SSHPublicKeyAccessCredentialSource{Secret: &kubevirt.AccessCredentialSecretSource{SecretName: vm.Name + "-keys"}},
		PropagationMethod: kubevirt.SSHPublicKeyAccessCredentialPropagationMethod{NoCloud: &kubevirt.NoCloudSSHPublicKeyAccessCredentialPropagation{}},
	}}}
	on := true
	spec.Domain.Devices.TPM = &kubevirt.TPMDevice{Persistent: &on}
	spec.Domain.Devices.Interfaces = []kubevirt.Interface{{
		Name: "default", MacAddress: sourceMAC, InterfaceBindingMethod: kubevirt.InterfaceBindingMethod{Masquerade: &kubevirt.InterfaceMasquerade{}},
	}}
	spec.Networks = []kubevirt.Network{{Name: "default", NetworkSource: kubevirt.NetworkSource{Pod: &kubevirt.PodNetwork{}}}}
}

func (w *world) blockClaim(name string) corev1.PersistentVolumeClaim {
	class, block := "longhorn", corev1.PersistentVolumeBlock
	c := corev1.PersistentVolumeClaim{}
	c.Name = name
	c.Spec = corev1.PersistentVolumeClaimSpec{
		StorageClassName: &class, VolumeMode: &block,
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("32Mi")}},
	}
	return c
}

// revision is what KubeVirt stores of an instance type that a VM uses.
func (w *world) revision(of string) *appsv1.ControllerRevision {
	r := &appsv1.ControllerRevision{Revision: 1, Data: runtime.RawExtension{Raw: []byte(`{}`)}}
	r.Namespace, r.Name = w.ns, of+"-rev"
	return r
}

// stateOf is the claim with a VM's TPM state.
func (w *world) stateOf(vm string) string {
	w.t.Helper()
	var list corev1.PersistentVolumeClaimList
	require.NoError(w.t, w.c.List(w.ctx, &list, client.InNamespace(w.ns), client.MatchingLabels{stateLabel: vm}))
	require.Len(w.t, list.Items, 1)
	return list.Items[0].Name
}

// restoreRunning restores the point to a VM that starts by itself.
func (w *world) restoreRunning(name, vm string, keepMACs bool) *kubevirt.VirtualMachine {
	w.t.Helper()
	r := &v1alpha1.VMRestore{}
	r.Namespace, r.Name = w.ns, name
	r.Spec.Backup, r.Spec.NewVM, r.Spec.KeepMACAddresses = "point", vm, keepMACs
	w.mustMake(r)
	notes := strings.Join(w.awaitRestore(name, v1alpha1.RestoreReady).Status.Notes, "\n")
	for _, said := range []string{"revision type-rev was dropped", "revision preference-rev was dropped", "own copies of 3 Secrets and ConfigMaps", "first-boot"} {
		require.Contains(w.t, notes, said)
	}
	w.awaitRunning(vm)
	made := &kubevirt.VirtualMachine{}
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: vm}, made))
	return made
}

// sameGuest: what the guest of a restored VM sees is what was backed up.
func (w *world) sameGuest(vm, sourceState string, sums map[string]string) {
	w.t.Helper()
	disks := map[string]string{"root": "root", "data": "data", sourceState: w.stateOf(vm)}
	for source, disk := range disks {
		require.Equal(w.t, sums[source], w.guest("hash", vm, "--disk", disk), "disk %s of VM %s", disk, vm)
	}
}

// rebuiltByTheRules checks the new VM's object and all that it refers to.
func (w *world) rebuiltByTheRules(vm *kubevirt.VirtualMachine) {
	w.t.Helper()
	t, spec := w.t, vm.Spec.Template.Spec
	require.Empty(t, vm.Spec.DataVolumeTemplates, "data-volume-templates")
	require.NotContains(t, vm.Annotations, claimTemplates, "volume-claim-templates")
	require.Equal(t, vm.Name+"-root", spec.Volumes[0].PersistentVolumeClaim.ClaimName, "data-volume-reference")
	require.Equal(t, vm.Name+"-data", spec.Volumes[1].PersistentVolumeClaim.ClaimName, "claim-names")
	require.Equal(t, w.ns+"-type", vm.Spec.Instancetype.Name)
	require.Empty(t, vm.Spec.Instancetype.RevisionName, "instancetype-revision")
	require.Empty(t, vm.Spec.Preference.RevisionName, "instancetype-revision")
	require.Equal(t, kubevirt.RunStrategyAlways, *vm.Spec.RunStrategy, "run-strategy")

	require.Equal(t, "shop", vm.Labels["app"])
	require.Equal(t, vm.Name, vm.Labels["harvesterhci.io/vmName"], "labels-follow")
	require.Equal(t, vm.Name, vm.Spec.Template.ObjectMeta.Labels["kubevirt.io/vm"], "labels-follow")
	require.Equal(t, "front", vm.Spec.Template.ObjectMeta.Labels["tier"])
	require.NotContains(t, vm.Labels, "app.kubernetes.io/instance", "ownership-marks")
	require.NotContains(t, vm.Annotations, "argocd.argoproj.io/tracking-id", "ownership-marks")
	require.Equal(t, "somebody", vm.Annotations["example.com/owner"])
	require.NotNil(t, spec.Domain.Firmware, "persistent-tpm-uuid")
	require.NotEmpty(t, spec.Domain.Firmware.UUID, "persistent-tpm-uuid")

	require.Equal(t, vm.Name+"-shop-init", spec.Volumes[2].CloudInitNoCloud.UserDataSecretRef.Name, "cloud-init-secrets")
	require.Equal(t, vm.Name+"-shop-settings", spec.Volumes[3].ConfigMap.Name, "config-volumes")
	require.Equal(t, vm.Name+"-shop-keys", spec.AccessCredentials[0].SSHPublicKey.Source.Secret.SecretName, "access-credentials")
	for _, secret := range []string{"shop-init", "shop-keys"} {
		var was, is corev1.Secret
		require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: secret}, &was))
		require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: vm.Name + "-" + secret}, &is))
		require.Equal(t, was.Data, is.Data)
	}
	var settings corev1.ConfigMap
	require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: vm.Name + "-shop-settings"}, &settings))
	require.Equal(t, "shop", settings.Data["mode"])

	for _, claim := range []string{vm.Name + "-root", vm.Name + "-data", w.stateOf(vm.Name)} {
		var c corev1.PersistentVolumeClaim
		require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: claim}, &c))
		require.Nil(t, c.Spec.DataSourceRef, "claim-refill")
		require.Equal(t, "longhorn", *c.Spec.StorageClassName, "claim-storage-class")
		for key := range c.Annotations {
			require.NotContains(t, key, "cdi.kubevirt.io", "claim-annotations")
		}
		var pv corev1.PersistentVolume
		require.NoError(t, w.c.Get(w.ctx, client.ObjectKey{Name: c.Spec.VolumeName}, &pv))
		require.Equal(t, c.Spec.VolumeName, pv.Spec.CSI.VolumeHandle, "claim-bound-to-volume")
	}
}
