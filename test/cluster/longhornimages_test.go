package cluster

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/test/harness"
)

// imageBytes is the virtual size of the image.
const imageBytes = 24 * mib

// overImage: the disks of a VM were made from an image that Longhorn's backing image managers have downloaded and brought to
// both nodes. A point of it has the difference to the image alone, and is restored over the image.
func (k *cluster) overImage(t *testing.T) {
	const name = "debian-13"
	url, content, checksum := k.serveImage(t)
	image := &longhorn.BackingImage{
		ObjectMeta: metav1.ObjectMeta{Namespace: harness.LonghornNamespace, Name: name},
		Spec: longhorn.BackingImageSpec{
			SourceType: longhorn.BackingImageDataSourceTypeDownload, Checksum: checksum, DataEngine: longhorn.DataEngineTypeV1,
			SourceParameters: map[string]string{longhorn.DataSourceTypeDownloadParameterURL: url},
		},
	}
	require.NoError(t, k.c.Create(t.Context(), image))
	k.makeImageClass(t, name)
	await(t, patience, "Longhorn to have the image", func() error {
		require.NoError(t, k.c.Get(t.Context(), client.ObjectKeyFromObject(image), image))
		if image.Status.Checksum != checksum {
			return fmt.Errorf("its checksum is %q: %v", image.Status.Checksum, image.Status.DiskFileStatusMap)
		}
		return nil
	})
	want := eachDisk(t, func(t *testing.T, disk string) string {
		c := claim("imaged-" + disk)
		c.Spec.StorageClassName = &image.Name
		k.makeClaim(t, c)
		if disk == disks[0] {
			require.Equal(t, content, k.disk(t, "sha256", c.Name, "--length", fmt.Sprint(imageBytes)), "the disk begins as its image")
		}
		return k.disk(t, "fill", c.Name, "--sha256", "--seed", "8", "--offset", fmt.Sprint(8*mib), "--length", fmt.Sprint(4*mib))
	})
	require.NoError(t, k.c.Create(t.Context(), virtualMachine("imaged", kubevirt.RunStrategyHalted, "")))

	k.backup(t, "imaged", "imaged-1")
	for _, disk := range disks {
		d, folder := k.onTarget(t, "imaged-1", disk)
		require.Equal(t, name, d.BackingImage.Name)
		require.Equal(t, checksum, d.BackingImage.Checksum)
		blocks, err := filepath.Glob(filepath.Join(folder, "blocks", "*", "*", "*.blk"))
		require.NoError(t, err)
		require.Len(t, blocks, 2, "what differs from the image, in blocks of 2 MiB")
	}
	restored := k.restore(t, "imaged-1", "imaged-back")
	for _, name := range restored {
		require.Equal(t, image.Name, k.volume(t, k.volumeOf(t, name)).Spec.BackingImage)
	}
	require.Equal(t, want, k.read(t, "sha256", restored))
}

// serveImage offers an image of random content, as whoever publishes images does: the sha256 of the content, and the sha512
// of the file.
func (k *cluster) serveImage(t *testing.T) (url, content, checksum string) {
	t.Helper()
	data := make([]byte, imageBytes)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // never fails
	dir := t.TempDir()
	raw, image := filepath.Join(dir, "image.raw"), filepath.Join(dir, "image.qcow2")
	require.NoError(t, os.WriteFile(raw, data, 0o600))
	out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image).CombinedOutput()
	require.NoError(t, err, string(out))
	file, err := os.ReadFile(image)
	require.NoError(t, err)
	listener := k.listenControl(t)
	server := &http.Server{Handler: http.FileServer(http.Dir(dir))}
	go func() { _ = server.Serve(listener) }() // ends with Close, below
	t.Cleanup(func() { _ = server.Close() })
	return fmt.Sprintf("http://%s/%s", listener.Addr(), filepath.Base(image)), fmt.Sprintf("%x", sha256.Sum256(data)), fmt.Sprintf("%x", sha512.Sum512(file))
}

// makeImageClass makes a storage class of disks over an image, of its name.
func (k *cluster) makeImageClass(t *testing.T, image string) {
	t.Helper()
	class, plain := &storagev1.StorageClass{}, &storagev1.StorageClass{}
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKey{Name: "longhorn"}, plain))
	class.Name = image
	class.Provisioner, class.ReclaimPolicy, class.VolumeBindingMode = plain.Provisioner, plain.ReclaimPolicy, plain.VolumeBindingMode
	class.Parameters = map[string]string{"backingImage": image}
	for k, v := range plain.Parameters {
		class.Parameters[k] = v
	}
	require.NoError(t, k.put(t, class))
}
