// Package points makes documents of points, as another cluster would have written
// them to a target, for tests that need many or that need strange ones. No backup
// is behind them.
package points

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

// Cluster is the UID of the cluster whose points these are.
const Cluster types.UID = "c1000000-0000-4000-8000-000000000001"

// UID of the n-th point.
func UID(n int) types.UID { return types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n)) }

// Document is the n-th point, of one disk.
func Document(namespace, name string, n int) *document.Document {
	vm, vmUID := fmt.Sprintf("vm-%d", n/10), UID(1_000_000+n/10)
	claim := vm + "-root"
	return &document.Document{
		FormatVersion: document.FormatVersion,
		Origin:        document.Origin{ClusterUID: Cluster, Namespace: namespace, VM: vm, VMUID: vmUID},
		Point: document.Point{
			UID: UID(n), Name: name, Namespace: namespace,
			CutAt: time.Date(2026, 3, 1, 0, n%60, 0, 0, time.UTC), CreatedAt: time.Date(2026, 3, 1, 0, n%60, 0, 0, time.UTC),
		},
		Consistency: v1alpha1.ConsistencyFrozen,
		VM: json.RawMessage(fmt.Sprintf(`{"apiVersion":"kubevirt.io/v1","kind":"VirtualMachine","metadata":{"name":%q,"namespace":%q,"uid":%q},"spec":{"template":{"spec":{}}}}`,
			vm, namespace, vmUID)),
		Claims: []document.Claim{{Name: claim, Object: json.RawMessage(fmt.Sprintf(
			`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":%q,"namespace":%q}}`, claim, namespace))}},
		Disks: []document.Disk{{
			Name: "root", Claim: claim, Volume: "pvc-" + string(vmUID),
			Snapshot: fmt.Sprintf("hl-%s-c1-root", UID(n)), Backup: fmt.Sprintf("hl-%s-a1-root", UID(n)),
			SizeBytes: 1 << 30, StorageClass: "longhorn", VolumeMode: corev1.PersistentVolumeBlock,
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, NumberOfReplicas: 2, Migratable: true,
		}},
	}
}

// Path of a document on its target.
func Path(tb testing.TB, d *document.Document) string {
	tb.Helper()
	path, err := document.PointPath(d.Point.Namespace, d.Point.Name, d.Point.UID)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// Encode writes a document as it lies on a target.
func Encode(tb testing.TB, d *document.Document) []byte {
	tb.Helper()
	data, _, err := document.Encode(d)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// Write puts a file into a directory that is a target, as a whole.
func Write(tb testing.TB, root, path string, data []byte) {
	tb.Helper()
	local := filepath.Join(root, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(local+".tmp", data, 0o644); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(local+".tmp", local); err != nil {
		tb.Fatal(err)
	}
}

// WriteAll puts documents into a directory that is a target.
func WriteAll(tb testing.TB, root string, documents ...*document.Document) {
	tb.Helper()
	for _, d := range documents {
		Write(tb, root, Path(tb, d), Encode(tb, d))
	}
}

// Remove takes a document from a directory that is a target.
func Remove(tb testing.TB, root string, d *document.Document) {
	tb.Helper()
	if err := os.Remove(filepath.Join(root, Path(tb, d))); err != nil {
		tb.Fatal(err)
	}
}
