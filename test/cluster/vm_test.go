package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

const (
	vmNamespace = "default"
	mib         = 1 << 20
	diskSize    = 32 * mib
	tail        = 8 * mib // of a disk: where a guest writes its records
)

// podAnnotation has a VM's guest run in a pod of an image.
const podAnnotation = "local.hayloft.dev/pod"

// guestImage is an image that every node has. Guests run in pods of it, and use nothing of it.
const guestImage = "hayloft.dev/pause:cluster"

// disks are those of every VM here.
var disks = []string{"root", "data"}

func claim(name string) *corev1.PersistentVolumeClaim {
	class, block := "longhorn", corev1.PersistentVolumeBlock
	c := &corev1.PersistentVolumeClaim{}
	c.Namespace, c.Name = vmNamespace, name
	c.Spec.StorageClassName, c.Spec.VolumeMode = &class, &block
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(diskSize, resource.BinarySI)}
	return c
}

func virtualMachine(name string, strategy kubevirt.VirtualMachineRunStrategy, node string) *kubevirt.VirtualMachine {
	vm := &kubevirt.VirtualMachine{}
	vm.Namespace, vm.Name = vmNamespace, name
	vm.Annotations = map[string]string{"local.hayloft.dev/node": node, podAnnotation: guestImage}
	vm.Spec.RunStrategy = &strategy
	vm.Spec.Template = &kubevirt.VirtualMachineInstanceTemplateSpec{}
	for _, disk := range disks {
		vm.Spec.Template.Spec.Domain.Devices.Disks = append(vm.Spec.Template.Spec.Domain.Devices.Disks, kubevirt.Disk{
			Name: disk, DiskDevice: kubevirt.DiskDevice{Disk: &kubevirt.DiskTarget{Bus: kubevirt.DiskBusVirtio}},
		})
		source := &kubevirt.PersistentVolumeClaimVolumeSource{}
		source.ClaimName = name + "-" + disk
		vm.Spec.Template.Spec.Volumes = append(vm.Spec.Template.Spec.Volumes, kubevirt.Volume{
			Name: disk, VolumeSource: kubevirt.VolumeSource{PersistentVolumeClaim: source},
		})
	}
	return vm
}

// makeVM makes a VM that runs, changed so, whose guest has filled its disks with random data.
func (k *cluster) makeVM(t *testing.T, name, node string, seed int, changes ...func(*kubevirt.VirtualMachine)) {
	t.Helper()
	together(t, disks, func(t *testing.T, disk string) { k.makeClaim(t, claim(name+"-"+disk)) })
	vm := virtualMachine(name, kubevirt.RunStrategyAlways, node)
	for _, change := range changes {
		change(vm)
	}
	require.NoError(t, k.c.Create(t.Context(), vm))
	k.awaitVM(t, name, kubevirt.VirtualMachineStatusRunning)
	for i, disk := range disks {
		k.guest(t, "fill", name, "--disk", disk, "--seed", strconv.Itoa(seed*len(disks)+i), "--length", strconv.Itoa(diskSize-tail))
	}
}

// makeStoppedVM makes a VM that is off, with random data on its disks: disk -> SHA-256.
func (k *cluster) makeStoppedVM(t *testing.T, name string, seed int) map[string]string {
	t.Helper()
	sums := eachDisk(t, func(t *testing.T, disk string) string {
		c := claim(name + "-" + disk)
		k.makeClaim(t, c)
		return k.disk(t, "fill", c.Name, "--sha256", "--seed", strconv.Itoa(seed*len(disks)+slices.Index(disks, disk)), "--length", strconv.Itoa(diskSize-tail))
	})
	require.NoError(t, k.c.Create(t.Context(), virtualMachine(name, kubevirt.RunStrategyHalted, "")))
	return sums
}

// makeClaim makes a claim and waits until it has its volume.
func (k *cluster) makeClaim(t *testing.T, c *corev1.PersistentVolumeClaim) {
	t.Helper()
	require.NoError(t, k.c.Create(t.Context(), c))
	await(t, patience, "claim "+c.Name, func() error {
		if err := k.c.Get(t.Context(), client.ObjectKeyFromObject(c), c); err != nil {
			return err
		}
		if c.Status.Phase != corev1.ClaimBound {
			return fmt.Errorf("it is %s", c.Status.Phase)
		}
		return nil
	})
}

func (k *cluster) awaitVM(t *testing.T, name string, status kubevirt.VirtualMachinePrintableStatus) {
	t.Helper()
	await(t, patience, "VM "+name, func() error {
		var vm kubevirt.VirtualMachine
		if err := k.c.Get(t.Context(), client.ObjectKey{Namespace: vmNamespace, Name: name}, &vm); err != nil {
			return err
		}
		if vm.Status.PrintableStatus != status {
			return fmt.Errorf("it is %s", vm.Status.PrintableStatus)
		}
		return nil
	})
}

// quiet has the guest of a running VM stop writing and returns what is on its disks: disk -> SHA-256.
func (k *cluster) quiet(t *testing.T, vm string) map[string]string {
	t.Helper()
	k.guest(t, "quiet", vm)
	sums := map[string]string{}
	for _, disk := range disks {
		sums[disk] = k.guest(t, "hash", vm, "--disk", disk)
	}
	return sums
}

// hash reads the disks of a VM that is off: disk -> SHA-256.
func (k *cluster) hash(t *testing.T, vm string) map[string]string {
	t.Helper()
	return eachDisk(t, func(t *testing.T, disk string) string { return k.disk(t, "sha256", vm+"-"+disk) })
}

// read reads claims that no VM uses: disk -> claim to disk -> what is said of it.
func (k *cluster) read(t *testing.T, op string, claims map[string]string) map[string]string {
	t.Helper()
	require.Len(t, claims, len(disks))
	return eachDisk(t, func(t *testing.T, disk string) string { return k.disk(t, op, claims[disk]) })
}

// eachDisk asks something of all disks of a VM at once: disk -> what is said of it.
func eachDisk(t *testing.T, ask func(t *testing.T, disk string) string) map[string]string {
	t.Helper()
	var mu sync.Mutex
	said := map[string]string{}
	together(t, disks, func(t *testing.T, disk string) {
		line := ask(t, disk)
		mu.Lock()
		defer mu.Unlock()
		said[disk] = line
	})
	return said
}

// loseVM deletes a VM with its claims and waits until their volumes are gone.
func (k *cluster) loseVM(t *testing.T, name string) {
	t.Helper()
	objects := []client.Object{virtualMachine(name, kubevirt.RunStrategyHalted, "")}
	for _, disk := range disks {
		objects = append(objects, claim(name+"-"+disk))
	}
	for _, o := range objects {
		require.NoError(t, k.c.Delete(t.Context(), o))
	}
	await(t, patience, "VM "+name+" to go", func() error {
		for _, o := range objects {
			if err := k.c.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s is there: %w", o.GetName(), err)
			}
		}
		return nil
	})
}

// keepVMs has all VMs but these deleted, with the claims; it does not wait.
func (k *cluster) keepVMs(t *testing.T, names ...string) {
	t.Helper()
	kept := slices.Clone(names)
	for _, name := range names {
		for _, disk := range disks {
			kept = append(kept, name+"-"+disk)
		}
	}
	for _, list := range []client.ObjectList{&kubevirt.VirtualMachineList{}, &corev1.PersistentVolumeClaimList{}} {
		require.NoError(t, k.c.List(t.Context(), list, client.InNamespace(vmNamespace)))
		require.NoError(t, meta.EachListItem(list, func(o runtime.Object) error {
			if object := o.(client.Object); !slices.Contains(kept, object.GetName()) {
				return client.IgnoreNotFound(k.c.Delete(t.Context(), object))
			}
			return nil
		}))
	}
}

// awaitDetached waits until no volume of a VM that is off is attached any more.
func (k *cluster) awaitDetached(t *testing.T, vm string) {
	t.Helper()
	for _, disk := range disks {
		name := k.volumeOf(t, vm+"-"+disk)
		await(t, patience, "volume "+name+" to be detached", func() error {
			key := client.ObjectKey{Namespace: harness.LonghornNamespace, Name: name}
			attachment, volume := &longhorn.VolumeAttachment{}, &longhorn.Volume{}
			if err := k.c.Get(t.Context(), key, attachment); err != nil {
				return err
			}
			if err := k.c.Get(t.Context(), key, volume); err != nil {
				return err
			}
			if n := len(attachment.Spec.AttachmentTickets); n > 0 || volume.Status.State != longhorn.VolumeStateDetached {
				return fmt.Errorf("it is %s, with %d tickets", volume.Status.State, n)
			}
			return nil
		})
	}
}

// awaitNoTickets waits until nobody wants a volume attached.
func (k *cluster) awaitNoTickets(t *testing.T, volume string) {
	t.Helper()
	await(t, patience, "nobody to want volume "+volume, func() error {
		attachment := &longhorn.VolumeAttachment{}
		if err := k.c.Get(t.Context(), client.ObjectKey{Namespace: harness.LonghornNamespace, Name: volume}, attachment); err != nil {
			return err
		}
		return want(0, slices.Collect(maps.Keys(attachment.Spec.AttachmentTickets)))
	})
}

// volumeOf is the volume behind a claim.
func (k *cluster) volumeOf(t *testing.T, name string) string {
	t.Helper()
	c := claim(name)
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKeyFromObject(c), c))
	return c.Spec.VolumeName
}

// requireRestores restores a point to a new VM, compares its disks, and removes it.
func (k *cluster) requireRestores(t *testing.T, point, vm string, want map[string]string) {
	t.Helper()
	restored := k.restore(t, point, vm)
	require.Equal(t, want, k.read(t, "sha256", restored), "the disks of point %s", point)
	k.removeRestored(t, vm, restored)
}

// requireAllRestore does so with several points at once: point -> disk -> SHA-256. Of the real Longhorn's volumes, which take a
// quarter of a minute to be attached when it has that many, each replica is compared in its files.
func (k *cluster) requireAllRestore(t *testing.T, points map[string]map[string]string) {
	t.Helper()
	together(t, slices.Sorted(maps.Keys(points)), func(t *testing.T, point string) {
		if !k.isLonghornReal {
			k.requireRestores(t, point, point+"-back", points[point])
			return
		}
		restored := k.restore(t, point, point+"-back")
		require.Len(t, restored, len(disks))
		for disk, name := range restored {
			k.requireOnReplicas(t, k.volumeOf(t, name), points[point][disk])
		}
		k.removeRestored(t, point+"-back", restored)
	})
}

// restore restores a point to a new VM that is off, by a VMRestore of its name: disk -> claim.
func (k *cluster) restore(t *testing.T, point, vm string) map[string]string {
	t.Helper()
	k.run(t, "hayloft", "restore", "create", point, "--name", vm, "--new-vm", vm, "--halt", "-n", vmNamespace, "--wait", "--timeout", "4m")
	restore := &v1alpha1.VMRestore{}
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKey{Namespace: vmNamespace, Name: vm}, restore))
	claims := map[string]string{}
	for _, disk := range restore.Status.Disks {
		claims[disk.Name] = disk.Claim
	}
	return claims
}

// removeRestored removes a restored VM with its disks and its VMRestore.
func (k *cluster) removeRestored(t *testing.T, vm string, restored map[string]string) {
	t.Helper()
	require.NoError(t, k.c.Delete(t.Context(), &v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: vmNamespace, Name: vm}}))
	require.NoError(t, k.c.Delete(t.Context(), &kubevirt.VirtualMachine{ObjectMeta: virtualMachine(vm, "", "").ObjectMeta}))
	for _, name := range restored {
		require.NoError(t, k.c.Delete(t.Context(), claim(name)))
	}
}
