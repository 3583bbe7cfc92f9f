package e2e

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/test/harness"
)

// serve offers a file at a URL, as whoever publishes images does.
func serve(t testing.TB, file string) (url string) {
	t.Helper()
	s := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(file))))
	t.Cleanup(s.Close)
	return s.URL + "/" + filepath.Base(file)
}

// imageDefinition is Harvester's kind of image, without its schema.
const imageDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: virtualmachineimages.harvesterhci.io}
spec:
  group: harvesterhci.io
  scope: Namespaced
  names: {kind: VirtualMachineImage, listKind: VirtualMachineImageList, plural: virtualmachineimages, singular: virtualmachineimage}
  versions:
  - {name: v1beta1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}`

// harvester defines Harvester's kind of image.
func (w *world) harvester() {
	w.t.Helper()
	definition := &unstructured.Unstructured{}
	require.NoError(w.t, yaml.Unmarshal([]byte(imageDefinition), &definition.Object))
	require.NoError(w.t, w.c.Create(w.ctx, definition))
	w.eventually("VirtualMachineImages to be served", func() (bool, string) {
		list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "harvesterhci.io/v1beta1", "kind": "VirtualMachineImageList"}}
		err := w.c.List(w.ctx, list)
		return err == nil, words(err)
	})
}

// importImage stands in for Harvester's controller of images (pkg/image/backingimage),
// for one that is downloaded: once the image is there, Longhorn's backing image and a
// StorageClass are made of it, with names made of its UID, and it is Imported when
// Longhorn has its content. It tries nothing again and checks nothing.
func (w *world) importImage(name string) (image *unstructured.Unstructured, backing string) {
	w.t.Helper()
	image = &unstructured.Unstructured{Object: map[string]any{"apiVersion": "harvesterhci.io/v1beta1", "kind": "VirtualMachineImage"}}
	image.SetNamespace(w.ns)
	image.SetName(name)
	w.eventually("VirtualMachineImage "+name+" to be made", func() (bool, string) {
		err := w.c.Get(w.ctx, client.ObjectKeyFromObject(image), image)
		return err == nil, words(err)
	})
	spec := image.Object["spec"].(map[string]any)
	require.Equal(w.t, "download", spec["sourceType"])
	backing = "vmi-" + string(image.GetUID())
	w.download(backing, w.ns+"/"+name, spec["url"].(string), spec["checksum"].(string))
	class := &storagev1.StorageClass{Provisioner: rules.Driver, Parameters: map[string]string{"backingImage": backing}}
	class.Name = "lh-" + string(image.GetUID())
	require.NoError(w.t, w.c.Create(w.ctx, class))
	image.Object["status"] = map[string]any{
		"storageClassName": class.Name, "conditions": []any{map[string]any{"type": "Imported", "status": "True"}},
	}
	require.NoError(w.t, w.c.Update(w.ctx, image))
	return image, backing
}

// download makes a Longhorn backing image of a VirtualMachineImage, as Harvester does,
// and returns its checksum when it is on the nodes.
func (w *world) download(name, of, url, checksum string) string {
	w.t.Helper()
	image := &longhorn.BackingImage{}
	image.Namespace, image.Name = harness.LonghornNamespace, name
	image.Annotations = map[string]string{rules.AnnotationImage: of}
	image.Spec.SourceType, image.Spec.Checksum = longhorn.BackingImageDataSourceTypeDownload, checksum
	image.Spec.SourceParameters = map[string]string{longhorn.DataSourceTypeDownloadParameterURL: url}
	image.Spec.DataEngine = longhorn.DataEngineTypeV1
	require.NoError(w.t, w.c.Create(w.ctx, image))
	w.eventually("image "+name+" to be on the nodes", func() (bool, string) {
		err := w.c.Get(w.ctx, client.ObjectKeyFromObject(image), image)
		return err == nil && image.Status.Checksum != "", words(image.Status)
	})
	return image.Status.Checksum
}
