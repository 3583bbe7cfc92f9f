package e2e

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// soon bounds a refusal that needs no data to move: a second on an idle
// machine, and the start of a target worker or two on a busy one.
const soon = 30 * time.Second

// forSubtest is the same world for a subtest, in a namespace of its own.
func (w *world) forSubtest(t *testing.T) *world {
	t.Helper()
	s := *w
	s.t, s.ctx, s.ns = t, t.Context(), harness.Namespace(t, w.Config)
	return &s
}

// cleanUp is a context for what follows the end of a test, whose own has ended.
func cleanUp(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// mustMake creates an object.
func (w *world) mustMake(o client.Object) {
	w.t.Helper()
	require.NoError(w.t, w.c.Create(w.ctx, o), "making %s", o.GetName())
}

// mustRemove deletes objects and waits until they are gone.
func (w *world) mustRemove(list ...client.Object) {
	w.t.Helper()
	for _, o := range list {
		require.NoError(w.t, client.IgnoreNotFound(w.c.Delete(w.ctx, o)), "deleting %s", o.GetName())
	}
	for _, o := range list {
		w.eventually(o.GetName()+" to be gone", func() (bool, string) {
			err := w.c.Get(w.ctx, client.ObjectKeyFromObject(o), o)
			return err != nil && client.IgnoreNotFound(err) == nil, words(o.GetFinalizers())
		})
	}
}

// refusalVM makes a VM that does not run; change may be nil.
func (w *world) refusalVM(name string, claims []string, change func(*kubevirt.VirtualMachine)) *kubevirt.VirtualMachine {
	w.t.Helper()
	halted := kubevirt.RunStrategyHalted
	vm := w.vmSpec(name, claims, change)
	vm.Spec.RunStrategy = &halted
	w.mustMake(vm)
	return vm
}

// addVolume gives a VM a volume that is not on a claim.
func addVolume(vm *kubevirt.VirtualMachine, name string, source kubevirt.VolumeSource) {
	spec := &vm.Spec.Template.Spec
	spec.Domain.Devices.Disks = append(spec.Domain.Devices.Disks, kubevirt.Disk{
		Name: name, DiskDevice: kubevirt.DiskDevice{Disk: &kubevirt.DiskTarget{Bus: kubevirt.DiskBusVirtio}},
	})
	spec.Volumes = append(spec.Volumes, kubevirt.Volume{Name: name, VolumeSource: source})
}

// ownTarget makes a BackupTarget that differs from the stack's by change, with
// these keys in a Secret of its own. Both go with the test.
func (w *world) ownTarget(name, keyID, key string, change func(*v1alpha1.BackupTargetSpec)) *v1alpha1.BackupTarget {
	w.t.Helper()
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = harness.HayloftNamespace, w.ns+"-"+name
	secret.Data = map[string][]byte{"AWS_ACCESS_KEY_ID": []byte(keyID), "AWS_SECRET_ACCESS_KEY": []byte(key)}
	w.mustMake(secret)
	t := &v1alpha1.BackupTarget{}
	t.Name = w.ns + "-" + name
	t.Spec.S3 = &v1alpha1.S3Target{Endpoint: w.S3.Endpoint, Insecure: true, Bucket: w.S3.Bucket, Region: w.S3.Region}
	t.Spec.CredentialSecret = secret.Name
	if change != nil {
		change(&t.Spec)
	}
	w.mustMake(t)
	w.t.Cleanup(func() { require.NoError(w.t, client.IgnoreNotFound(w.c.Delete(cleanUp(w.t), t))) })
	return t
}

// backupToTarget makes a VMBackup on a target of the test's own.
func (w *world) backupToTarget(name, vm, target string) *v1alpha1.VMBackup {
	w.t.Helper()
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = w.ns, name
	b.Spec.VM, b.Spec.Target = vm, target
	w.mustMake(b)
	return b
}

// refusedBackup waits until a point is Failed and nothing is left of it; the
// words must stand in its cause.
func (w *world) refusedBackup(name string, limit time.Duration, wants ...string) *v1alpha1.VMBackup {
	w.t.Helper()
	var b v1alpha1.VMBackup
	w.within(limit, "backup "+name+" to be Failed", func() (bool, string) {
		if err := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &b); err != nil {
			return false, err.Error()
		}
		require.NotEqual(w.t, v1alpha1.BackupReady, b.Status.Phase)
		return b.Status.Phase == v1alpha1.BackupFailed, words(b.Status)
	})
	w.mustSay(b.Status.Conditions, wants)
	return &b
}

// refusedRestore is refusedBackup for restores.
func (w *world) refusedRestore(name string, limit time.Duration, wants ...string) *v1alpha1.VMRestore {
	w.t.Helper()
	var r v1alpha1.VMRestore
	w.within(limit, "restore "+name+" to be Failed", func() (bool, string) {
		if err := w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &r); err != nil {
			return false, err.Error()
		}
		require.NotEqual(w.t, v1alpha1.RestoreReady, r.Status.Phase)
		return r.Status.Phase == v1alpha1.RestoreFailed, words(r.Status)
	})
	w.mustSay(r.Status.Conditions, wants)
	return &r
}

func (w *world) mustSay(conditions []metav1.Condition, wants []string) {
	w.t.Helper()
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	require.NotNil(w.t, ready)
	require.Equal(w.t, metav1.ConditionFalse, ready.Status)
	w.t.Logf("%s: %s", ready.Reason, ready.Message)
	for _, want := range wants {
		require.Contains(w.t, ready.Message, want)
	}
}

// staticClaim makes a claim that is bound to a PersistentVolume of any kind.
func (w *world) staticClaim(name string, source corev1.PersistentVolumeSource) {
	w.t.Helper()
	block, none := corev1.PersistentVolumeBlock, ""
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("16Mi")}
	access := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	pv := &corev1.PersistentVolume{}
	pv.Name = w.ns + "-" + name
	pv.Spec = corev1.PersistentVolumeSpec{
		Capacity: size, AccessModes: access, VolumeMode: &block, PersistentVolumeSource: source,
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
	}
	w.mustMake(pv)
	w.t.Cleanup(func() { require.NoError(w.t, client.IgnoreNotFound(w.c.Delete(cleanUp(w.t), pv))) })
	w.eventually("volume "+pv.Name+" to be available", func() (bool, string) {
		err := w.c.Get(w.ctx, client.ObjectKeyFromObject(pv), pv)
		return err == nil && pv.Status.Phase == corev1.VolumeAvailable, string(pv.Status.Phase)
	})
	c := &corev1.PersistentVolumeClaim{}
	c.Namespace, c.Name = w.ns, name
	c.Spec = corev1.PersistentVolumeClaimSpec{
		AccessModes: access, VolumeMode: &block, StorageClassName: &none, VolumeName: pv.Name,
		Resources: corev1.VolumeResourceRequirements{Requests: size},
	}
	w.mustMake(c)
	w.eventually("claim "+name+" to be bound", func() (bool, string) {
		err := w.c.Get(w.ctx, client.ObjectKeyFromObject(c), c)
		return err == nil && c.Status.Phase == corev1.ClaimBound, string(c.Status.Phase)
	})
}

// quietConfig is the admin's, without the API server's warnings, such as that
// about Longhorn's finalizer.
func (w *world) quietConfig() *rest.Config {
	c := rest.CopyConfig(w.Config)
	c.WarningHandlerWithContext = rest.NoWarnings{}
	return c
}

func (w *world) quietClient() client.Client {
	w.t.Helper()
	c, err := client.New(w.quietConfig(), client.Options{})
	require.NoError(w.t, err)
	return c
}

// staticVolume makes a Longhorn volume as its API takes it, and removes it
// with the test.
func (w *world) staticVolume(name string, spec map[string]any) {
	w.t.Helper()
	vol := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	vol.SetGroupVersionKind(longhorn.SchemeGroupVersion.WithKind("Volume"))
	vol.SetNamespace(harness.LonghornNamespace)
	vol.SetName(name)
	require.NoError(w.t, w.quietClient().Create(w.ctx, vol), "making volume %s", name)
	w.t.Cleanup(func() { require.NoError(w.t, client.IgnoreNotFound(w.c.Delete(cleanUp(w.t), vol))) })
}

// staticVolumeClaim makes a claim over a Longhorn volume of the test's own.
func (w *world) staticVolumeClaim(name string, spec map[string]any) (volume string) {
	w.t.Helper()
	volume = w.ns + "-" + name
	all := map[string]any{"size": "16777216", "frontend": "blockdev", "numberOfReplicas": int64(2), "dataEngine": "v1"}
	for k, v := range spec {
		all[k] = v
	}
	w.staticVolume(volume, all)
	w.staticClaim(name, corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "driver.longhorn.io", VolumeHandle: volume}})
	return volume
}

// deafEndpoint accepts connections and never answers.
func deafEndpoint(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		var held []net.Conn // referenced, so that none is closed by the collector
		for {
			conn, err := listener.Accept()
			if err != nil {
				for _, c := range held {
					_ = c.Close()
				}
				return
			}
			held = append(held, conn)
		}
	}()
	return "http://" + listener.Addr().String()
}

// closedEndpoint is an address where nothing listens.
func closedEndpoint(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return "http://" + listener.Addr().String()
}

// dataOnTarget is what points are made of: Longhorn's files, documents and
// drafts, without the files that probes of the target make for a moment.
func (w *world) dataOnTarget() (files []string) {
	for _, f := range w.onTarget() {
		for _, of := range []string{"backupstore/", "hayloft/points/", "hayloft/drafts/"} {
			if strings.HasPrefix(f, of) {
				files = append(files, f)
			}
		}
	}
	return files
}

// descriptionOf is the file on the target in which Longhorn describes the
// backup of a point's first disk.
func (w *world) descriptionOf(b *v1alpha1.VMBackup) string {
	w.t.Helper()
	for _, f := range w.onTarget() {
		if filepath.Base(f) == "backup_"+b.Status.Disks[0].Backup+".cfg" {
			return f
		}
	}
	require.Fail(w.t, "no such file", "of backup %s", b.Status.Disks[0].Backup)
	return ""
}

// damageFile changes one byte in the middle of a file on the target.
func (w *world) damageFile(file string) {
	w.t.Helper()
	path := filepath.Join(w.bucket(), file)
	raw, err := os.ReadFile(path)
	require.NoError(w.t, err)
	raw[len(raw)/2] ^= 1
	require.NoError(w.t, os.WriteFile(path, raw, 0o644))
}

// loseFile removes a file from the target.
func (w *world) loseFile(file string) {
	w.t.Helper()
	require.NoError(w.t, os.Remove(filepath.Join(w.bucket(), file)))
}

// ownClass is the storage class longhorn under another name.
func (w *world) ownClass(name string) *storagev1.StorageClass {
	w.t.Helper()
	c := &storagev1.StorageClass{}
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Name: "longhorn"}, c))
	c.ObjectMeta = metav1.ObjectMeta{Name: w.ns + "-" + name}
	w.mustMake(c)
	return c
}

// claimOf makes a claim of a storage class.
func (w *world) claimOf(name, class string, size int64) {
	w.t.Helper()
	block := corev1.PersistentVolumeBlock
	c := &corev1.PersistentVolumeClaim{}
	c.Namespace, c.Name = w.ns, name
	c.Spec.StorageClassName, c.Spec.VolumeMode = &class, &block
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(size, resource.BinarySI)}
	w.mustMake(c)
	w.eventually("claim "+name+" to be bound", func() (bool, string) {
		err := w.c.Get(w.ctx, client.ObjectKeyFromObject(c), c)
		return err == nil && c.Status.Phase == corev1.ClaimBound, string(c.Status.Phase)
	})
}

func (w *world) patch(o client.Object, merge string) {
	w.t.Helper()
	require.NoError(w.t, w.c.Patch(w.ctx, o, client.RawPatch("application/merge-patch+json", []byte(merge))))
}

// putBack returns what brings a file on the target back as it is now.
func (w *world) putBack(file string) func() {
	w.t.Helper()
	path := filepath.Join(w.bucket(), file)
	raw, err := os.ReadFile(path)
	require.NoError(w.t, err)
	return func() { require.NoError(w.t, os.WriteFile(path, raw, 0o644)) }
}

// networkDefinitions makes the kind that Multus brings.
func (w *world) networkDefinitions() {
	w.t.Helper()
	keep := true
	crd := &apiextensionsv1.CustomResourceDefinition{}
	crd.Name = "network-attachment-definitions.k8s.cni.cncf.io"
	crd.Spec = apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "k8s.cni.cncf.io", Scope: apiextensionsv1.NamespaceScoped,
		Names: apiextensionsv1.CustomResourceDefinitionNames{
			Plural: "network-attachment-definitions", Singular: "network-attachment-definition",
			Kind: "NetworkAttachmentDefinition", ListKind: "NetworkAttachmentDefinitionList",
		},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
			Name: "v1", Served: true, Storage: true,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
				Type: "object", XPreserveUnknownFields: &keep,
			}},
		}},
	}
	scheme := runtime.NewScheme()
	require.NoError(w.t, apiextensionsv1.AddToScheme(scheme))
	c, err := client.New(w.Config, client.Options{Scheme: scheme})
	require.NoError(w.t, err)
	require.NoError(w.t, c.Create(w.ctx, crd))
	w.eventually("Multus's kind to be served", func() (bool, string) {
		require.NoError(w.t, c.Get(w.ctx, client.ObjectKeyFromObject(crd), crd))
		for _, condition := range crd.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return true, ""
			}
		}
		return false, words(crd.Status.Conditions)
	})
}

// network makes a network of Multus's.
func (w *world) network(name string) {
	w.t.Helper()
	n := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"config": "{}"}}}
	n.SetAPIVersion("k8s.cni.cncf.io/v1")
	n.SetKind("NetworkAttachmentDefinition")
	n.SetNamespace(w.ns)
	n.SetName(name)
	w.mustMake(n)
}
