package control_test

import (
	"encoding/json"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
)

// imageKind defines Harvester's VirtualMachineImage.
func (w *world) imageKind() {
	w.t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(w.t, apiextensions.AddToScheme(scheme))
	c, err := client.New(w.config, client.Options{Scheme: scheme})
	require.NoError(w.t, err)
	crd := &apiextensions.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "virtualmachineimages.harvesterhci.io"},
		Spec: apiextensions.CustomResourceDefinitionSpec{
			Group: "harvesterhci.io", Scope: apiextensions.NamespaceScoped,
			Names: apiextensions.CustomResourceDefinitionNames{Kind: "VirtualMachineImage", ListKind: "VirtualMachineImageList", Plural: "virtualmachineimages", Singular: "virtualmachineimage"},
			Versions: []apiextensions.CustomResourceDefinitionVersion{{
				Name: "v1beta1", Served: true, Storage: true,
				Schema: &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &apiextensions.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr.To(true)}},
			}},
		},
	}
	require.NoError(w.t, client.IgnoreAlreadyExists(c.Create(w.ctx, crd)))
	w.eventually("the kind is served", func() bool {
		return w.client.List(w.ctx, &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "harvesterhci.io/v1beta1", "kind": "VirtualMachineImageList"}}) == nil
	})
}

func (w *world) vmImage(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "harvesterhci.io/v1beta1", "kind": "VirtualMachineImage", "metadata": map[string]any{"name": name, "namespace": w.ns},
	}}
}

// imports plays Harvester's controller and Longhorn: an image gets a backing image and
// a class, both with names of their own.
func (w *world) imports(image *unstructured.Unstructured, checksum string) {
	w.t.Helper()
	b := &longhorn.BackingImage{ObjectMeta: metav1.ObjectMeta{
		Name: "vmi-" + string(image.GetUID()), Namespace: w.lh, Annotations: map[string]string{rules.AnnotationImage: w.ns + "/" + image.GetName()},
	}}
	b.Spec.DataEngine, b.Spec.SourceType = longhorn.DataEngineTypeV1, longhorn.BackingImageDataSourceTypeDownload
	w.create(b, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "lh-" + string(image.GetUID())}, Provisioner: rules.Driver})
	b.Status.Checksum = checksum
	require.NoError(w.t, w.client.Status().Update(w.ctx, b))
	image.Object["status"] = map[string]any{
		"storageClassName": "lh-" + string(image.GetUID()),
		"conditions":       []any{map[string]any{"type": "Imported", "status": "True"}},
	}
	require.NoError(w.t, w.client.Update(w.ctx, image))
}

// found is a point as one of another cluster that was found: its document is b's.
func (w *world) found(b *v1alpha1.VMBackup) *v1alpha1.VMBackup {
	w.t.Helper()
	w.fake.mu.Lock()
	w.fake.docs[b.Status.Document].Origin.ClusterUID = "there"
	w.fake.mu.Unlock()
	f := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Name: "found", Namespace: b.Namespace}, Spec: *b.Spec.DeepCopy()}
	f.Spec.Found, f.Spec.DeletionPolicy = &v1alpha1.FoundPoint{ClusterUID: "there", UID: b.UID}, v1alpha1.DeletionRetain
	w.create(f)
	f.Status = *b.Status.DeepCopy()
	require.NoError(w.t, w.client.Status().Update(w.ctx, f))
	return f
}

// A root disk's image is not here, under no name. It is made again as Harvester's, for
// whoever asks for it, and waited for; the disk lies over it then, and its claim is of
// the class that it has here.
func TestAnImageIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	w.imageKind()
	w.start("one")
	session, b := w.point()
	const checksum = "0123456789abcdef"
	w.fake.mu.Lock()
	w.fake.docs[b.Status.Document].Disks[0].BackingImage = &v1alpha1.BackingImage{Name: "vmi-there", Checksum: checksum, Source: &v1alpha1.ImageSource{
		Namespace: "there", Name: "image-abc", DisplayName: "Debian", URL: "https://images.example.org/debian.qcow2",
	}}
	captured := w.fake.claim
	w.fake.claim = func(name string) []byte {
		var c corev1.PersistentVolumeClaim
		if err := json.Unmarshal(captured(name), &c); err != nil {
			panic(err)
		}
		if name == "web-root" {
			c.Spec.StorageClassName = ptr.To("longhorn-image-abc")
		}
		data, err := json.Marshal(&c)
		if err != nil {
			panic(err)
		}
		return data
	}
	w.fake.mu.Unlock()

	unasked := w.restore("unasked", b.Name, "web2")
	w.awaitRestore(unasked, v1alpha1.RestoreFailed)
	_, message := ready(unasked.Status.Conditions)
	require.Contains(t, message, "backing image vmi-there with checksum "+checksum+", which does not exist here")
	require.Contains(t, message, "spec.images does not say Recreate")

	// A URL of a document that was found is anybody's: it takes a word of its own.
	found := w.found(b)
	anybodys := &v1alpha1.VMRestore{
		ObjectMeta: metav1.ObjectMeta{Name: "anybodys", Namespace: w.ns},
		Spec:       v1alpha1.VMRestoreSpec{Backup: found.Name, NewVM: "web2", Images: v1alpha1.ImagesRecreate},
	}
	w.create(anybodys)
	w.awaitRestore(anybodys, v1alpha1.RestoreFailed)
	_, message = ready(anybodys.Status.Conditions)
	require.Contains(t, message, "set spec.images to Fetch if that URL may be fetched")
	// Nothing is made either for what is refused for another reason.
	taken := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "web2-root", Namespace: w.ns}}
	taken.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	taken.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	w.create(taken)
	refused := &v1alpha1.VMRestore{
		ObjectMeta: metav1.ObjectMeta{Name: "refused", Namespace: w.ns},
		Spec:       v1alpha1.VMRestoreSpec{Backup: b.Name, NewVM: "web2", Images: v1alpha1.ImagesRecreate},
	}
	w.create(refused)
	w.awaitRestore(refused, v1alpha1.RestoreFailed)
	_, message = ready(refused.Status.Conditions)
	require.Contains(t, message, "web2-root")
	require.NotContains(t, message, "StorageClass", "it comes with the image")
	require.False(t, w.refresh(w.vmImage("image-abc")))

	s := &v1alpha1.VMRestore{
		ObjectMeta: metav1.ObjectMeta{Name: "asked", Namespace: w.ns},
		Spec:       v1alpha1.VMRestoreSpec{Backup: b.Name, NewVM: "web3", Images: v1alpha1.ImagesRecreate},
	}
	w.create(s)
	image := w.vmImage("image-abc")
	w.eventually("the image is made", func() bool { return w.refresh(image) })
	require.Equal(t, map[string]any{
		"displayName": "Debian", "sourceType": "download", "url": "https://images.example.org/debian.qcow2", "checksum": checksum,
	}, image.Object["spec"])
	w.eventually("the image is waited for", func() bool {
		c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionProgressing)
		return w.refresh(s) && c != nil && c.Message == "waiting until VirtualMachineImage "+w.ns+"/image-abc of disk root is imported"
	})
	require.Empty(t, s.Status.Disks, "nothing is restored without the image")

	w.imports(image, checksum)
	j := w.awaitJob("restore", s.UID, "root", 1)
	vol := w.volume(j.Spec.Restore.Volume, nil)
	require.True(t, w.refresh(vol))
	require.Equal(t, "vmi-"+string(image.GetUID()), vol.Object["spec"].(map[string]any)["backingImage"])
	for _, disk := range []string{"root", "data"} {
		w.fill(s, disk, 1, session, "r0", "r1")
	}
	w.bindClaims("web3")
	w.awaitRestore(s, v1alpha1.RestoreReady)
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "web3-root", Namespace: w.ns}}
	require.True(t, w.refresh(c))
	require.Equal(t, "lh-"+string(image.GetUID()), *c.Spec.StorageClassName)
	require.Contains(t, s.Status.Notes[0], "StorageClass longhorn-image-abc does not exist here")

	// Another image of that name is not taken for it.
	w.fake.mu.Lock()
	w.fake.docs[b.Status.Document].Disks[0].BackingImage.Checksum = "ffff"
	w.fake.mu.Unlock()
	other := &v1alpha1.VMRestore{
		ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: w.ns},
		Spec:       v1alpha1.VMRestoreSpec{Backup: b.Name, NewVM: "web4", Images: v1alpha1.ImagesRecreate},
	}
	w.create(other)
	w.awaitRestore(other, v1alpha1.RestoreFailed)
	_, message = ready(other.Status.Conditions)
	require.Contains(t, message, "VirtualMachineImage "+w.ns+"/image-abc is another image")
}

// An image that was uploaded is made again from Longhorn's backup of it, once Longhorn
// here knows that backup.
func TestAnImageIsMadeAgainFromItsBackup(t *testing.T) {
	w := newWorld(t)
	w.imageKind()
	w.asItself()
	w.start("one")
	_, b := w.point()
	const checksum, url = "0123456789abcdef", "s3://backups@us-east-1/?backingImage=vmi-there"
	w.fake.mu.Lock()
	w.fake.docs[b.Status.Document].Disks[0].BackingImage = &v1alpha1.BackingImage{Name: "vmi-there", Checksum: checksum, Source: &v1alpha1.ImageSource{
		Namespace: "there", Name: "image-abc", DisplayName: "Debian", URL: url, Backup: true,
	}}
	w.fake.mu.Unlock()
	restore := func(name, vm string) *v1alpha1.VMRestore {
		s := &v1alpha1.VMRestore{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns},
			Spec:       v1alpha1.VMRestoreSpec{Backup: b.Name, NewVM: vm, Images: v1alpha1.ImagesRecreate},
		}
		w.create(s)
		return s
	}
	early := restore("early", "web2")
	w.awaitRestore(early, v1alpha1.RestoreFailed)
	_, message := ready(early.Status.Conditions)
	require.Contains(t, message, "Longhorn here does not know a backup of that content at "+url)

	backup := &longhorn.BackupBackingImage{ObjectMeta: metav1.ObjectMeta{Name: "vmi-there-backup", Namespace: w.lh}}
	w.create(backup)
	backup.Status.State, backup.Status.URL, backup.Status.Checksum = longhorn.BackupStateCompleted, url, checksum
	require.NoError(t, w.client.Status().Update(w.ctx, backup))
	restore("asked", "web3")
	image := w.vmImage("image-abc")
	w.eventually("the image is made", func() bool { return w.refresh(image) })
	require.Equal(t, map[string]any{
		"displayName": "Debian", "sourceType": "restore", "url": url, "checksum": checksum,
	}, image.Object["spec"])
}
