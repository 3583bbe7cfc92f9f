package control_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

func (w *world) replace(name, backup, vm string, volumes v1alpha1.VolumePolicy) *v1alpha1.VMRestore {
	w.t.Helper()
	s := &v1alpha1.VMRestore{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns},
		Spec:       v1alpha1.VMRestoreSpec{Backup: backup, Replace: &v1alpha1.Replace{VM: vm, Volumes: volumes}},
	}
	w.create(s)
	return s
}

// restored plays everybody else until a restore's claims are bound.
func (w *world) restored(s *v1alpha1.VMRestore, session string) {
	w.t.Helper()
	w.eventually("disks of the restore", func() bool { return w.refresh(s) && len(s.Status.Disks) > 0 })
	for _, d := range s.Status.Disks {
		w.fill(s, d.Name, 1, session, "r0", "r1")
	}
	for _, d := range s.Status.Disks {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: d.Claim, Namespace: w.ns}}
		w.eventually("claim "+c.Name, func() bool { return w.refresh(c) })
		w.bind(c)
	}
}

func claimOfDisk(t *testing.T, vm *unstructured.Unstructured, i int) string {
	t.Helper()
	volumes, _, err := unstructured.NestedSlice(vm.Object, "spec", "template", "spec", "volumes")
	require.NoError(t, err)
	require.Greater(t, len(volumes), i)
	claim, _, err := unstructured.NestedString(volumes[i].(map[string]any), "persistentVolumeClaim", "claimName")
	require.NoError(t, err)
	return claim
}

// A point of some disks only: a new VM is without the others, one that is
// replaced keeps them, and they are no former claims.
func TestRestoreOfSomeDisks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, b := w.point()
	w.fake.mu.Lock()
	doc := w.fake.docs[b.Status.Document]
	doc.Disks = doc.Disks[:1]
	w.fake.mu.Unlock()

	s := w.restore("new", b.Name, "web2")
	w.restored(s, session)
	w.awaitRestore(s, v1alpha1.RestoreReady)
	vm := w.vmObject("web2")
	require.True(t, w.refresh(vm))
	volumes, _, err := unstructured.NestedSlice(vm.Object, "spec", "template", "spec", "volumes")
	require.NoError(t, err)
	require.Len(t, volumes, 1)
	require.Contains(t, s.Status.Notes, "disk data is not in the backup: the VM is restored without it")

	s = w.replace("in-place", b.Name, "web", v1alpha1.VolumesDelete)
	w.restored(s, session)
	w.awaitRestore(s, v1alpha1.RestoreReady)
	vm = w.vmObject("web")
	require.True(t, w.refresh(vm))
	require.Equal(t, s.Status.Disks[0].Claim, claimOfDisk(t, vm, 0))
	require.Equal(t, "web-data", claimOfDisk(t, vm, 1))
	require.Len(t, s.Status.Former, 1)
	require.Equal(t, "web-root", s.Status.Former[0].Claim)
	require.Equal(t, v1alpha1.FormerDeleted, s.Status.Former[0].State)
	data := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "web-data", Namespace: w.ns}}
	require.True(t, w.refresh(data))
	require.Nil(t, data.DeletionTimestamp)
	require.Empty(t, data.Labels)
}

// A restore that is given up after its claims are made changes the VM, so that
// a swap which is still on its way is refused, and leaves no trace on it.
func TestGivenUpReplaceFencesTheVM(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, b := w.point()
	vm := w.vmObject("web")
	require.True(t, w.refresh(vm))
	stale := vm.DeepCopy()
	s := w.replace("r1", b.Name, "web", v1alpha1.VolumesRetain)
	w.eventually("disks of the restore", func() bool { return w.refresh(s) && len(s.Status.Disks) > 0 })
	for _, d := range s.Status.Disks {
		w.fill(s, d.Name, 1, session, "r0", "r1")
	}
	w.eventually("claims to be made", func() bool { return w.refresh(s) && s.Status.Phase == v1alpha1.RestoreBuilding })
	s.Spec.Cancel = true
	require.NoError(t, w.client.Patch(w.ctx, s, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"cancel":true}}`))))
	w.awaitRestore(s, v1alpha1.RestoreFailed)
	reason, _ := ready(s.Status.Conditions)
	require.Equal(t, "Cancelled", reason)

	require.Error(t, w.client.Update(w.ctx, stale), "the late swap")
	w.eventually("the VM to be without a trace, once everything is removed", func() bool {
		w.unprotect(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns}})
		return w.refresh(vm) && len(vm.GetAnnotations()) == 0
	})
	require.Equal(t, "web-root", claimOfDisk(t, vm, 0))
}

// What a restore made of Secrets for a VM goes when the next one has replaced the
// VM, so that they do not grow with each: but not what anybody refers to, and
// nothing that somebody else made.
func TestCopiesOfAnEarlierRestoreGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("one")
	session, b := w.point()
	first := w.replace("r1", b.Name, "web", v1alpha1.VolumesRetain)
	w.restored(first, session)
	w.awaitRestore(first, v1alpha1.RestoreReady)
	made := func(name, restore string) metav1.ObjectMeta {
		m := metav1.ObjectMeta{Name: name, Namespace: w.ns}
		if restore != "" {
			m.Labels = map[string]string{v1alpha1.LabelRestore: restore}
		}
		return m
	}
	uid := string(first.UID)
	goes := []client.Object{&corev1.Secret{ObjectMeta: made("keys-a", uid)}, &corev1.ConfigMap{ObjectMeta: made("config-a", uid)}}
	stays := []client.Object{
		&corev1.Secret{ObjectMeta: made("shared", uid)}, &corev1.ConfigMap{ObjectMeta: made("shared", uid)},
		&corev1.Secret{ObjectMeta: made("keys", "")}, &corev1.Secret{ObjectMeta: made("keys-b", "another")},
	}
	w.create(append(goes, stays...)...)
	other := w.vmObject("other")
	require.NoError(t, unstructured.SetNestedSlice(other.Object, []any{
		map[string]any{"name": "a", "secret": map[string]any{"secretName": "shared"}},
		map[string]any{"name": "b", "configMap": map[string]any{"name": "shared"}},
	}, "spec", "template", "spec", "volumes"))
	w.create(other)

	second := w.replace("r2", b.Name, "web", v1alpha1.VolumesRetain)
	w.restored(second, session)
	w.awaitRestore(second, v1alpha1.RestoreReady)
	require.Equal(t, first.UID, second.Status.FormerRestore)
	for _, o := range goes {
		require.False(t, w.refresh(o), "%T %s", o, o.GetName())
	}
	for _, o := range stays {
		require.True(t, w.refresh(o), "%T %s", o, o.GetName())
	}
}

// A claim that came from a DataVolume would go with the VM, and be made again by
// CDI when only the claim is deleted.
func TestFormerClaimsOfDataVolumes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.dataVolumes()
	w.asItself()
	w.start("one")
	session, b := w.point()
	vm := w.vmObject("web")
	require.True(t, w.refresh(vm))
	for _, policy := range []v1alpha1.VolumePolicy{v1alpha1.VolumesRetain, v1alpha1.VolumesDelete} {
		t.Run(string(policy), func(t *testing.T) {
			require.True(t, w.refresh(vm))
			root := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: claimOfDisk(t, vm, 0), Namespace: w.ns}}
			require.True(t, w.refresh(root))
			dv := &unstructured.Unstructured{}
			dv.SetGroupVersionKind(schema.GroupVersionKind{Group: "cdi.kubevirt.io", Version: "v1beta1", Kind: "DataVolume"})
			dv.SetNamespace(w.ns)
			dv.SetName(root.Name)
			dv.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "kubevirt.io/v1", Kind: "VirtualMachine", Name: "web", UID: vm.GetUID()}})
			w.create(dv)
			root.OwnerReferences = []metav1.OwnerReference{{APIVersion: "cdi.kubevirt.io/v1beta1", Kind: "DataVolume", Name: dv.GetName(), UID: dv.GetUID()}}
			root.Finalizers = nil
			require.NoError(t, w.client.Update(w.ctx, root))

			s := w.replace("r-"+map[v1alpha1.VolumePolicy]string{"Retain": "a", "Delete": "b"}[policy], b.Name, "web", policy)
			w.restored(s, session)
			w.awaitRestore(s, v1alpha1.RestoreReady)
			if policy == v1alpha1.VolumesDelete {
				require.False(t, w.refresh(dv), "or CDI would make the claim again")
				require.False(t, w.refresh(root))
				return
			}
			require.True(t, w.refresh(dv))
			require.Empty(t, dv.GetOwnerReferences(), "or it would go with the VM, and take the claim along")
			require.True(t, w.refresh(root))
			require.Equal(t, dv.GetUID(), root.OwnerReferences[0].UID)
			require.Equal(t, "web", root.Labels[v1alpha1.LabelFormerVM])
		})
	}
}

// dataVolumes makes CDI's kind.
func (w *world) dataVolumes() {
	w.t.Helper()
	keep := true
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "datavolumes.cdi.kubevirt.io"}}
	crd.Spec = apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "cdi.kubevirt.io", Scope: apiextensionsv1.NamespaceScoped,
		Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "datavolumes", Singular: "datavolume", Kind: "DataVolume", ListKind: "DataVolumeList"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
			Name: "v1beta1", Served: true, Storage: true,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &keep}},
		}},
	}
	scheme := runtime.NewScheme()
	require.NoError(w.t, apiextensionsv1.AddToScheme(scheme))
	c, err := client.New(w.config, client.Options{Scheme: scheme})
	require.NoError(w.t, err)
	require.NoError(w.t, client.IgnoreAlreadyExists(c.Create(w.ctx, crd)))
	w.eventually("CDI's kind to be served", func() bool {
		require.NoError(w.t, c.Get(w.ctx, client.ObjectKeyFromObject(crd), crd))
		for _, condition := range crd.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return true
			}
		}
		return false
	})
}
