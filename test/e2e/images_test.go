package e2e

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// imageBytes is the virtual size of the test's images.
const imageBytes = 24 * mib

// TestBackingImage: a root disk that was made from an image, as Harvester makes
// them. A backup of it holds the difference to the image alone, so it is
// restored over exactly that content or not at all.
func TestBackingImage(t *testing.T) {
	t.Parallel()
	w := kitWorld(t, newStack(t))
	const name = "debian-13"
	content, file := qcow2(t, 1)
	checksum := w.download(name, "golden/debian", serve(t, file), "")
	w.imageClass(name)
	w.classClaim("vm-root", name, 32*mib)
	first := sha256.Sum256(content[:4*mib])
	require.Equal(t, hex.EncodeToString(first[:]), w.disk("sha256", "vm-root", "--length", fmt.Sprint(4*mib)), "the disk begins as its image")
	w.disk("fill", "vm-root", "--seed", "5", "--offset", fmt.Sprint(8*mib), "--length", fmt.Sprint(4*mib))
	require.NoError(t, w.c.Create(w.ctx, w.vmSpec("vm", []string{"vm-root"}, nil)))
	w.awaitRunning("vm")
	sums := w.quietHashes("vm", "root")

	w.backup("point", "vm")
	b := w.awaitBackup("point", v1alpha1.BackupReady)
	noted := b.Status.Disks[0].BackingImage
	require.Equal(t, []string{name, checksum, "golden", "debian"}, []string{noted.Name, noted.Checksum, noted.Source.Namespace, noted.Source.Name})
	blocks := len(w.volumeFiles(b.Status.Disks[0].Volume, ".blk"))
	require.Less(t, blocks, imageBytes/(2*mib)/2, "only what differs from the image is on the target")
	require.GreaterOrEqual(t, blocks, 2)

	seen := w.watchRestores()
	w.restore("beside", "point", "copy")
	r := w.awaitRestore("beside", v1alpha1.RestoreReady)
	w.sameDisks(r, sums)
	w.overImage(r, name)

	w.removeVM("vm", "vm-root")
	w.removeVM("copy", r.Status.Disks[0].Claim)
	w.removeImage(name)
	w.restore("without", "point", "copy-without")
	without := w.awaitRestore("without", v1alpha1.RestoreFailed)
	w.refused(without, "copy-without", "disk root", "backing image "+name, checksum, "does not exist here", "import it first")

	_, another := qcow2(t, 2)
	wrong := w.image(name, another)
	w.restore("wrong", "point", "copy-wrong")
	other := w.awaitRestore("wrong", v1alpha1.RestoreFailed)
	w.refused(other, "copy-wrong", "backing image "+name, "disk root", wrong, checksum)

	// Where Harvester's images are known it comes by itself, with a name of its own.
	w.removeImage(name)
	w.harvester()
	again := &v1alpha1.VMRestore{}
	again.Namespace, again.Name = w.ns, "again"
	again.Spec.Backup, again.Spec.NewVM, again.Spec.HaltAfterRestore, again.Spec.Images = "point", "copy-again", true, v1alpha1.ImagesRecreate
	require.NoError(t, w.c.Create(w.ctx, again))
	image, here := w.importImage("debian")
	require.Equal(t, checksum, image.Object["spec"].(map[string]any)["checksum"])
	r = w.awaitRestore("again", v1alpha1.RestoreReady)
	w.sameDisks(r, sums)
	w.overImage(r, here)
	w.eventually("the watch to show the last restore's volume", func() (bool, string) { return len(seen.volumesOf(r.UID)) > 0, "not yet" })
	require.Empty(t, seen.volumesOf(without.UID), "no volume was ever made without the image")
	require.Empty(t, seen.volumesOf(other.UID), "no volume was ever made over another image")
	w.nothingLeft()
}

// qcow2 is an image of random content, and the file that holds it.
func qcow2(t testing.TB, seed byte) (content []byte, file string) {
	t.Helper()
	content = make([]byte, imageBytes)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(content) // never fails
	raw := filepath.Join(t.TempDir(), "image.raw")
	require.NoError(t, os.WriteFile(raw, content, 0o600))
	file = filepath.Join(t.TempDir(), "image.qcow2")
	out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, file).CombinedOutput()
	require.NoError(t, err, "qemu-img: %s", out)
	return content, file
}

// image imports a file as a Longhorn backing image and returns its checksum.
func (w *world) image(name, file string) string {
	w.t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(w.t, err)
	sum := sha512.Sum512(raw)
	image := &longhorn.BackingImage{}
	image.Namespace, image.Name = harness.LonghornNamespace, name
	image.Spec.SourceType = longhorn.BackingImageDataSourceTypeUpload
	image.Spec.SourceParameters = map[string]string{"file": file}
	image.Spec.DataEngine = longhorn.DataEngineTypeV1
	require.NoError(w.t, w.c.Create(w.ctx, image))
	w.eventually("image "+name+" to be on the nodes", func() (bool, string) {
		err := w.c.Get(w.ctx, client.ObjectKeyFromObject(image), image)
		return err == nil && image.Status.Checksum != "", words(image.Status)
	})
	require.Equal(w.t, hex.EncodeToString(sum[:]), image.Status.Checksum)
	return image.Status.Checksum
}

func (w *world) removeImage(name string) {
	w.t.Helper()
	image := &longhorn.BackingImage{}
	image.Namespace, image.Name = harness.LonghornNamespace, name
	require.NoError(w.t, w.c.Delete(w.ctx, image))
	w.gone(image)
}

// imageClass is a storage class of disks over an image, named after it.
func (w *world) imageClass(image string) {
	w.t.Helper()
	var class storagev1.StorageClass
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Name: "longhorn"}, &class))
	own := &storagev1.StorageClass{
		Provisioner: class.Provisioner, ReclaimPolicy: class.ReclaimPolicy, VolumeBindingMode: class.VolumeBindingMode,
		Parameters: map[string]string{"backingImage": image},
	}
	own.Name = image
	for k, v := range class.Parameters {
		own.Parameters[k] = v
	}
	require.NoError(w.t, w.c.Create(w.ctx, own))
}

// classClaim makes a claim of a storage class.
func (w *world) classClaim(name, class string, size int64) {
	w.t.Helper()
	block := corev1.PersistentVolumeBlock
	c := &corev1.PersistentVolumeClaim{}
	c.Namespace, c.Name = w.ns, name
	c.Spec.StorageClassName, c.Spec.VolumeMode = &class, &block
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(size, resource.BinarySI)}
	require.NoError(w.t, w.c.Create(w.ctx, c))
	w.eventually("claim "+name+" to be bound", func() (bool, string) {
		err := w.c.Get(w.ctx, client.ObjectKeyFromObject(c), c)
		return err == nil && c.Status.Phase == corev1.ClaimBound, string(c.Status.Phase)
	})
}

// removeVM deletes a VM, its claim and with it the volume.
func (w *world) removeVM(name, claim string) {
	w.t.Helper()
	volume := &longhorn.Volume{}
	volume.Namespace, volume.Name = harness.LonghornNamespace, w.volumeOf(claim)
	vm := &kubevirt.VirtualMachine{}
	vm.Namespace, vm.Name = w.ns, name
	require.NoError(w.t, w.c.Delete(w.ctx, vm))
	w.gone(vm)
	c := &corev1.PersistentVolumeClaim{}
	c.Namespace, c.Name = w.ns, claim
	require.NoError(w.t, client.IgnoreNotFound(w.c.Delete(w.ctx, c)))
	w.gone(c)
	w.gone(volume)
}

// gone waits until an object is.
func (w *world) gone(o client.Object) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%T %s to be gone", o, o.GetName()), func() (bool, string) {
		err := w.c.Get(w.ctx, client.ObjectKeyFromObject(o), o)
		return client.IgnoreNotFound(err) == nil && err != nil, words(o.GetFinalizers())
	})
}

// overImage makes sure that the volume of a restored disk lies over an image.
func (w *world) overImage(r *v1alpha1.VMRestore, image string) {
	w.t.Helper()
	var vol longhorn.Volume
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: harness.LonghornNamespace, Name: r.Status.Disks[0].Volume}, &vol))
	require.Equal(w.t, image, vol.Spec.BackingImage)
}

// refused makes sure that a restore was refused in a sentence with these parts,
// and has made nothing.
func (w *world) refused(r *v1alpha1.VMRestore, vm string, parts ...string) {
	w.t.Helper()
	reason, message := readyWords(w.t, r)
	w.t.Logf("%s: %s", reason, message)
	require.Equal(w.t, "Refused", reason)
	for _, part := range parts {
		require.Contains(w.t, message, part)
	}
	require.Empty(w.t, r.Status.Disks)
	w.nothingOf(r, vm)
}
