package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestRefusedBySchema: what the API server itself refuses, by a sentence that
// names the field.
func TestRefusedBySchema(t *testing.T) {
	w := bare(t, newStack(t))
	backup := func(name string, change func(*v1alpha1.VMBackup)) client.Object {
		b := &v1alpha1.VMBackup{}
		b.Namespace, b.Name, b.Spec.VM, b.Spec.Target = w.ns, name, "vm", "target"
		change(b)
		return b
	}
	restore := func(vm string) client.Object {
		r := &v1alpha1.VMRestore{}
		r.Namespace, r.Name, r.Spec.Backup, r.Spec.NewVM = w.ns, "r", "point", vm
		return r
	}
	s3 := &v1alpha1.S3Target{Bucket: "bucket", Region: "r"}
	target := func(spec v1alpha1.BackupTargetSpec) client.Object {
		o := &v1alpha1.BackupTarget{Spec: spec}
		o.Name = w.ns
		return o
	}
	for name, c := range map[string]struct {
		object client.Object
		says   string
	}{
		"name over 63 characters":        {backup(strings.Repeat("n", 64), func(*v1alpha1.VMBackup) {}), "metadata.name must be at most 63 characters"},
		"no VM":                          {backup("b", func(b *v1alpha1.VMBackup) { b.Spec.VM = "" }), "spec.vm"},
		"no target":                      {backup("b", func(b *v1alpha1.VMBackup) { b.Spec.Target = "" }), "spec.target"},
		"unknown deletion policy":        {backup("b", func(b *v1alpha1.VMBackup) { b.Spec.DeletionPolicy = "Maybe" }), `spec.deletionPolicy: Unsupported value: "Maybe"`},
		"VM name in upper case":          {restore("Copy"), "spec.newVM"},
		"VM name with dots":              {restore("copy.of.vm"), "spec.newVM"},
		"VM name over 63 characters":     {restore(strings.Repeat("n", 64)), "spec.newVM"},
		"VM name that begins with -":     {restore("-copy"), "spec.newVM"},
		"both S3 and directory":          {target(v1alpha1.BackupTargetSpec{S3: s3, CredentialSecret: "s", Directory: &v1alpha1.DirectoryTarget{Path: "/x"}}), "exactly one of spec.s3, spec.nfs"},
		"neither S3 nor directory":       {target(v1alpha1.BackupTargetSpec{}), "exactly one of spec.s3, spec.nfs"},
		"S3 without credentials":         {target(v1alpha1.BackupTargetSpec{S3: s3}), "spec.credentialSecret is required with spec.s3"},
		"directory with credentials":     {target(v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: "/x"}, CredentialSecret: "s"}), "spec.credentialSecret does not belong to a directory"},
		"relative directory":             {target(v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: "x"}}), "spec.directory.path"},
		"unknown compression":            {target(v1alpha1.BackupTargetSpec{S3: s3, CredentialSecret: "s", Compression: "zip"}), `spec.compression: Unsupported value: "zip"`},
		"endpoint that is no URL":        {target(v1alpha1.BackupTargetSpec{S3: &v1alpha1.S3Target{Bucket: "bucket", Region: "r", Endpoint: "minio:9000"}, CredentialSecret: "s"}), "spec.s3.endpoint"},
		"bucket name in upper case":      {target(v1alpha1.BackupTargetSpec{S3: &v1alpha1.S3Target{Bucket: "Bucket", Region: "r"}, CredentialSecret: "s"}), "spec.s3.bucket"},
		"more threads than there may be": {target(v1alpha1.BackupTargetSpec{S3: s3, CredentialSecret: "s", Threads: 65}), "spec.threads"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, w.c.Create(t.Context(), c.object), c.says)
		})
	}

	t.Run("what was asked for does not change", func(t *testing.T) {
		for change, says := range map[string]string{
			`{"spec":{"vm":"another"}}`:     "spec.vm is immutable: create another VMBackup",
			`{"spec":{"target":"another"}}`: "spec.target is immutable: create another VMBackup",
		} {
			b := backup("kept", func(*v1alpha1.VMBackup) {})
			require.NoError(t, client.IgnoreAlreadyExists(w.c.Create(t.Context(), b)))
			require.ErrorContains(t, w.c.Patch(t.Context(), b, client.RawPatch("application/merge-patch+json", []byte(change))), says)
		}
		r := restore("copy")
		require.NoError(t, w.c.Create(t.Context(), r))
		for _, change := range []string{`{"spec":{"newVM":"another"}}`, `{"spec":{"backup":"another"}}`, `{"spec":{"keepMACAddresses":true}}`} {
			require.ErrorContains(t, w.c.Patch(t.Context(), r, client.RawPatch("application/merge-patch+json", []byte(change))), "spec is immutable but for spec.cancel: create another VMRestore")
		}
	})
}

// TestRefusedBackups: what cannot be backed up fails with its cause, names what
// is to be done, and touches nothing.
func TestRefusedBackups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	for name, test := range map[string]func(*world){
		"unknown target": func(w *world) {
			w.refusalVM("vm", []string{"vm-root"}, nil)
			w.backupToTarget("b", "vm", "no-such-target")
			w.refusedBackup("b", soon, `no BackupTarget "no-such-target" (spec.target)`, "create it")
		},
		"target without its Secret": func(w *world) {
			w.claim("vm-root", 16*mib)
			w.refusalVM("vm", []string{"vm-root"}, nil)
			target := w.ownTarget("t", "id", "key", func(s *v1alpha1.BackupTargetSpec) { s.CredentialSecret = w.ns + "-none" })
			w.backupToTarget("b", "vm", target.Name)
			w.refusedBackup("b", soon, target.Name, w.ns+"-none")
		},
		"wrong key": func(w *world) {
			w.claim("vm-root", 16*mib)
			w.refusalVM("vm", []string{"vm-root"}, nil)
			target := w.ownTarget("t", w.S3.AccessKey, "not-the-key", nil)
			w.backupToTarget("b", "vm", target.Name)
			w.refusedBackup("b", soon, target.Name, "InvalidCredentials", "AWS_SECRET_ACCESS_KEY", "correct it")
		},
		"unknown key ID": func(w *world) {
			w.claim("vm-root", 16*mib)
			w.refusalVM("vm", []string{"vm-root"}, nil)
			target := w.ownTarget("t", "nobody", "not-the-key", nil)
			w.backupToTarget("b", "vm", target.Name)
			w.refusedBackup("b", soon, target.Name, "InvalidCredentials", "AWS_ACCESS_KEY_ID", "correct it")
		},
		"missing bucket": func(w *world) {
			w.claim("vm-root", 16*mib)
			w.refusalVM("vm", []string{"vm-root"}, nil)
			target := w.ownTarget("t", w.S3.AccessKey, w.S3.SecretKey, func(s *v1alpha1.BackupTargetSpec) { s.S3.Bucket = "nowhere" })
			w.backupToTarget("b", "vm", target.Name)
			w.refusedBackup("b", soon, "BucketNotFound", "nowhere", "create the bucket, or correct spec.s3.bucket")
		},
		"endpoint that refuses": func(w *world) {
			w.claim("vm-root", 16*mib)
			w.refusalVM("vm", []string{"vm-root"}, nil)
			endpoint := closedEndpoint(w.t)
			target := w.ownTarget("t", "id", "key", func(s *v1alpha1.BackupTargetSpec) { s.S3.Endpoint = endpoint })
			w.backupToTarget("b", "vm", target.Name)
			w.refusedBackup("b", soon, "Unreachable", endpoint, "nothing listens there", "spec.s3.endpoint")
		},
		"endpoint that never answers": deafTarget,
		"VM that does not exist": func(w *world) {
			w.backup("b", "nobody")
			w.refusedBackup("b", soon, `no VirtualMachine "nobody" in namespace `+w.ns, "spec.vm")
		},
		"VM without a disk on a claim": func(w *world) {
			w.refusalVM("vm", nil, func(vm *kubevirt.VirtualMachine) {
				addVolume(vm, "image", kubevirt.VolumeSource{ContainerDisk: &kubevirt.ContainerDiskSource{Image: "os"}})
				addVolume(vm, "seed", kubevirt.VolumeSource{CloudInitNoCloud: &kubevirt.CloudInitNoCloudSource{UserData: "#cloud-config"}})
			})
			w.backup("b", "vm")
			w.refusedBackup("b", soon, "no disk on a PersistentVolumeClaim", "nothing to back up")
		},
		"one disk on a node's own disk": func(w *world) {
			w.claim("vm-root", 16*mib)
			w.staticClaim("vm-local", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/nowhere"}})
			w.refusalVM("vm", []string{"vm-root", "vm-local"}, nil)
			w.backup("b", "vm")
			require.Empty(w.t, w.refusedBackup("b", soon, "disk local (claim vm-local)", "a disk of one node", "nothing was backed up").Status.Disks)
		},
		"two disks on another CSI driver": func(w *world) {
			w.claim("vm-root", 16*mib)
			for _, claim := range []string{"vm-a", "vm-b"} {
				w.staticClaim(claim, corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "rbd.example.com", VolumeHandle: claim}})
			}
			w.refusalVM("vm", []string{"vm-a", "vm-root", "vm-b"}, nil)
			w.backup("b", "vm")
			w.refusedBackup("b", soon, "disk a (claim vm-a) is on CSI driver rbd.example.com", "disk b (claim vm-b)")
		},
		"missing claim": func(w *world) {
			w.refusalVM("vm", []string{"vm-root"}, nil)
			w.backup("b", "vm")
			w.refusedBackup("b", soon, "disk root: PersistentVolumeClaim vm-root does not exist")
		},
		"unbound claim": func(w *world) {
			class := "no-such-class"
			c := &corev1.PersistentVolumeClaim{}
			c.Namespace, c.Name, c.Spec.StorageClassName = w.ns, "vm-root", &class
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
			c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("16Mi")}
			w.mustMake(c)
			w.refusalVM("vm", []string{"vm-root"}, nil)
			w.backup("b", "vm")
			w.refusedBackup("b", soon, "disk root: PersistentVolumeClaim vm-root is not bound")
		},
		"volume of data engine v2": func(w *world) {
			volume := w.staticVolumeClaim("vm-root", map[string]any{"dataEngine": "v2"})
			w.refusalVM("vm", []string{"vm-root"}, nil)
			w.backup("b", "vm")
			w.refusedBackup("b", soon, "disk root: Longhorn volume "+volume, "spec.dataEngine v2", "data engine v1")
		},
		"encrypted volume": func(w *world) {
			volume := w.staticVolumeClaim("vm-root", map[string]any{"encrypted": true})
			w.refusalVM("vm", []string{"vm-root"}, nil)
			w.backup("b", "vm")
			w.refusedBackup("b", soon, "disk root: Longhorn volume "+volume+" is encrypted", "LUKS key")
		},
	} {
		w.t.(*testing.T).Run(name, func(t *testing.T) {
			s := w.forSubtest(t)
			before := s.dataOnTarget()
			test(s)
			s.nothingLeft()
			if name != "endpoint that never answers" {
				require.Equal(t, before, s.dataOnTarget(), "nothing came to the target")
			}
		})
	}
}

// deafTarget: a target that hangs keeps its own backups waiting for a while,
// and nobody else's.
func deafTarget(w *world) {
	w.claim("vm-root", 16*mib)
	w.refusalVM("vm", []string{"vm-root"}, nil)
	endpoint := deafEndpoint(w.t)
	target := w.ownTarget("t", "id", "key", func(s *v1alpha1.BackupTargetSpec) { s.S3.Endpoint = endpoint })
	deaf := w.backupToTarget("deaf", "vm", target.Name)
	began := time.Now()
	w.backup("good", "vm")
	w.awaitBackup("good", v1alpha1.BackupReady)
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKeyFromObject(deaf), deaf))
	require.Equal(w.t, v1alpha1.BackupPending, deaf.Status.Phase, "the good target's backup did not wait for the deaf one")

	w.restore("r", "deaf", "copy")
	w.refusedRestore("r", soon, "VMBackup deaf (spec.backup) is Pending, not Ready")
	w.within(25*time.Second-time.Since(began), "the cause to be told", func() (bool, string) {
		require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKeyFromObject(deaf), deaf))
		said := words(deaf.Status.Conditions)
		return strings.Contains(said, "it gave no answer in the time allowed"), said
	})
	w.refusedBackup("deaf", 45*time.Second-time.Since(began), target.Name, "Timeout", endpoint)
}

// TestRefusedRestores: what cannot be restored fails with its cause, and
// nothing half-made is left.
func TestRefusedRestores(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newStack(t))
	class := w.ownClass("lost")
	w.claimOf("vm-root", class.Name, 16*mib)
	w.disk("fill", "vm-root", "--seed", "1", "--length", "8388608")
	w.refusalVM("vm", []string{"vm-root"}, func(vm *kubevirt.VirtualMachine) {
		vm.Spec.Template.Spec.Domain.Devices.Interfaces = []kubevirt.Interface{
			{Name: "lan", MacAddress: "02:00:00:00:00:01", InterfaceBindingMethod: kubevirt.InterfaceBindingMethod{Bridge: &kubevirt.InterfaceBridge{}}},
		}
		vm.Spec.Template.Spec.Networks = []kubevirt.Network{
			{Name: "lan", NetworkSource: kubevirt.NetworkSource{Multus: &kubevirt.MultusNetwork{NetworkName: "lan"}}},
		}
	})
	w.backup("point", "vm")
	point := w.awaitBackup("point", v1alpha1.BackupReady)
	require.EqualValues(t, 1, point.Status.Disks[0].Attempt, "a halted VM's volume, attached for each job anew, is no reason for a second attempt")

	try := func(name string, test func(*world)) {
		t.Run(name, func(t *testing.T) {
			s := *w
			s.t, s.ctx = t, t.Context()
			test(&s)
			s.nothingLeft()
		})
	}
	try("backup that does not exist", func(w *world) {
		w.restore("r-none", "nothing", "copy")
		w.refusedRestore("r-none", soon, `no VMBackup "nothing" in namespace `+w.ns, "spec.backup")
	})
	try("backup that failed", func(w *world) {
		w.backup("failed", "nobody")
		w.refusedBackup("failed", soon)
		w.restore("r-failed", "failed", "copy")
		w.refusedRestore("r-failed", soon, "VMBackup failed (spec.backup) is Failed, not Ready")
	})
	try("backup that is being deleted", func(w *world) {
		b := w.backup("going", "vm")
		w.awaitBackup("going", v1alpha1.BackupReady)
		const hold = "example.com/hold"
		w.patch(b, `{"metadata":{"finalizers":["hayloft.dev/data","`+hold+`"]}}`)
		require.NoError(w.t, w.c.Delete(w.ctx, b))
		w.restore("r-going", "going", "copy")
		w.refusedRestore("r-going", soon, "VMBackup going (spec.backup) is being deleted", "choose another")
		w.eventually("its data to be removed", func() (bool, string) {
			require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKeyFromObject(b), b))
			return len(b.Finalizers) == 1, words(b.Status)
		})
		w.patch(b, `{"metadata":{"finalizers":[]}}`)
	})
	try("VM name taken", func(w *world) {
		w.restore("r-taken", "point", "vm")
		w.refusedRestore("r-taken", soon, "VirtualMachine vm exists already", "spec.newVM")
	})
	try("claim name taken", func(w *world) {
		w.claim("copy-root", 16*mib)
		w.restore("r-claim", "point", "copy")
		w.refusedRestore("r-claim", soon, "PersistentVolumeClaim copy-root exists already", "spec.newVM")
		c := &corev1.PersistentVolumeClaim{}
		require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "copy-root"}, c), "somebody else's claim is left alone")
		w.mustRemove(c)
	})
	try("MAC addresses while the source lives", func(w *world) {
		r := &v1alpha1.VMRestore{}
		r.Namespace, r.Name = w.ns, "r-mac"
		r.Spec.Backup, r.Spec.NewVM, r.Spec.KeepMACAddresses = "point", "copy", true
		w.mustMake(r)
		w.refusedRestore("r-mac", soon, "spec.keepMACAddresses", "source VM "+w.ns+"/vm still exists")
	})
	try("networks that nothing here knows of", func(w *world) {
		w.restore("r-multus", "point", "unknown-net")
		r := w.awaitRestore("r-multus", v1alpha1.RestoreReady)
		require.Contains(w.t, strings.Join(r.Status.Notes, "\n"), w.ns+"/lan", "that the network could not be looked for is said")
	})
	try("missing network", func(w *world) {
		w.networkDefinitions()
		w.restore("r-net", "point", "copy")
		w.refusedRestore("r-net", soon, "NetworkAttachmentDefinition "+w.ns+"/lan, which the VM needs, does not exist here")
	})
	// From here on the network is there.
	w.network("lan")
	try("no space", noSpace)
	try("missing storage class", func(w *world) {
		w.mustRemove(class)
		w.restore("r-class", "point", "copy")
		w.refusedRestore("r-class", soon, "StorageClass "+class.Name+", which the VM needs, does not exist here")
		class.ResourceVersion, class.UID = "", ""
		w.mustMake(class)
	})
	// Damaged blocks show only when they are read: TestRestoreFaults has those.
	document := point.Status.Document
	try("a byte of the document changed", func(w *world) {
		defer w.putBack(document)()
		w.damageFile(document)
		w.restore("r-damaged", "point", "copy")
		w.refusedRestore("r-damaged", soon, document, "it was damaged or changed")
	})
	try("the document missing", func(w *world) {
		defer w.putBack(document)()
		w.loseFile(document)
		w.restore("r-missing", "point", "copy")
		w.refusedRestore("r-missing", soon, document+" is not on the target")
	})
	try("a backup of Longhorn's missing", func(w *world) {
		description := w.descriptionOf(point)
		defer w.putBack(description)()
		w.loseFile(description)
		w.restore("r-missing-cfg", "point", "copy")
		w.refusedRestore("r-missing-cfg", soon, "not whole", point.Status.Disks[0].Backup)
	})
	try("what was put back can be restored", func(w *world) {
		sum := w.sha256("vm-root")
		w.restore("r-whole", "point", "copy")
		w.sameDisks(w.awaitRestore("r-whole", v1alpha1.RestoreReady), map[string]string{"root": sum})
	})
}

// noSpace: Longhorn's disks are promised to the last byte.
func noSpace(w *world) {
	var nodes longhorn.NodeList
	require.NoError(w.t, w.c.List(w.ctx, &nodes, client.InNamespace(harness.LonghornNamespace)))
	var fillers []client.Object
	for i := range nodes.Items {
		name := w.ns + "-filler-" + nodes.Items[i].Name
		fillers = append(fillers, w.fillEmptiest(name, nodes.Items))
	}
	w.restore("r-space", "point", "copy")
	w.refusedRestore("r-space", time.Minute, "disk root", "finds no room for a volume of", "insufficient storage")
	w.nothingLeft()
	w.mustRemove(fillers...)
}

// fillEmptiest makes a volume of one replica that takes what is left on the
// node with the most room, and waits until it is placed.
func (w *world) fillEmptiest(name string, nodes []longhorn.Node) client.Object {
	w.t.Helper()
	var replicas longhorn.ReplicaList
	require.NoError(w.t, w.c.List(w.ctx, &replicas, client.InNamespace(harness.LonghornNamespace)))
	promised := map[string]int64{}
	for _, r := range replicas.Items {
		promised[r.Spec.NodeID] += r.Spec.VolumeSize
	}
	room := int64(0)
	for _, n := range nodes {
		for _, d := range n.Status.DiskStatus {
			room = max(room, d.StorageMaximum-promised[n.Name])
		}
	}
	require.Positive(w.t, room)
	w.staticVolume(name, map[string]any{
		"size": strconv.FormatInt(room, 10), "frontend": "blockdev",
		"numberOfReplicas": int64(1), "dataEngine": "v1",
	})
	vol := &longhorn.Volume{}
	vol.Namespace, vol.Name = harness.LonghornNamespace, name
	w.eventually("the filler to be placed", func() (bool, string) {
		require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKeyFromObject(vol), vol))
		return vol.Status.State == longhorn.VolumeStateDetached, string(vol.Status.State)
	})
	return vol
}
