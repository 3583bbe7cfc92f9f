package document_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/words"
)

func uid(n int) types.UID { return types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n)) }

// whole is a document with a bit of everything and n disks.
func whole(n int) *document.Document {
	d := &document.Document{
		FormatVersion: document.FormatVersion,
		Origin:        document.Origin{ClusterUID: uid(1), Namespace: "prod", VM: "web", VMUID: uid(2)},
		Point: document.Point{
			UID: uid(3), Name: "web-1", Namespace: "prod",
			CutAt: time.Date(2026, 11, 23, 4, 5, 6, 789000, time.UTC), CreatedAt: time.Date(2026, 11, 23, 4, 5, 0, 0, time.UTC),
		},
		Consistency: v1alpha1.ConsistencyCrash,
		VM: json.RawMessage(fmt.Sprintf(`{"apiVersion":"kubevirt.io/v1","futureField":{"a":[1,2.50,"<&>"]},"kind":"VirtualMachine",`+
			`"metadata":{"name":"web","namespace":"prod","uid":%q}}`, uid(2))),
		Secrets:    []document.Secret{{Name: "web-init", Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"userdata": []byte("canary-value\x00\xff"), "empty": {}}}},
		ConfigMaps: []document.ConfigMap{{Name: "web-conf", Data: map[string]string{"a.txt": "ä<b>\n"}, BinaryData: map[string][]byte{"b": {1, 2}}}},
		Notes:      []string{"a note"},
	}
	for i := range n {
		claim := fmt.Sprintf("web-disk-%d", i)
		d.Claims = append(d.Claims, document.Claim{Name: claim, Object: json.RawMessage(fmt.Sprintf(
			`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":%q,"namespace":"prod"}}`, claim))})
		d.Disks = append(d.Disks, document.Disk{
			Name: fmt.Sprintf("disk-%d", i), Claim: claim, Volume: fmt.Sprintf("pvc-%s", uid(100+i)),
			Snapshot: fmt.Sprintf("hl-%s-c1-disk-%d", uid(3), i), Backup: fmt.Sprintf("hl-%s-a1-disk-%d", uid(3), i),
			SizeBytes: 1 << 30, StorageClass: "longhorn", VolumeMode: corev1.PersistentVolumeBlock,
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, NumberOfReplicas: 2, Migratable: true,
		})
	}
	if n > 0 {
		d.Disks[0].BackingImage = &v1alpha1.BackingImage{Name: "debian-12", Checksum: "0123456789abcdef"}
	}
	return d
}

// inCluster is a whole document of a point of type Snapshot.
func inCluster(n int) *document.Document {
	d := whole(n)
	for i := range d.Disks {
		d.Disks[i].Backup = ""
	}
	return d
}

func encoded(t testing.TB, d *document.Document) []byte {
	t.Helper()
	data, _, err := document.Encode(d)
	require.NoError(t, err)
	return data
}

// varied changes a whole document at random, within what is valid.
func varied(r *rand.Rand) *document.Document {
	d := whole(1 + r.IntN(5))
	text := func() string {
		b := make([]rune, r.IntN(40))
		for i := range b {
			b[i] = []rune{'a', '"', '\\', '\n', '<', 0x2028, 0x1F600, 0, 'ß', '/'}[r.IntN(10)]
		}
		return string(b)
	}
	d.Notes = nil
	for range r.IntN(4) {
		d.Notes = append(d.Notes, words.Clean(text(), 100))
	}
	d.ConfigMaps[0].Data = map[string]string{"k": text(), "l": text()}
	d.Secrets[0].Data["userdata"] = []byte(text())
	d.Point.CutAt = time.Unix(r.Int64N(4e9), r.Int64N(1e9)).UTC()
	for i := range d.Disks {
		d.Disks[i].SizeBytes = 1 + r.Int64N(1<<50)
		d.Disks[i].NumberOfReplicas = r.IntN(4)
	}
	if r.IntN(2) == 0 {
		d.Secrets, d.ConfigMaps = nil, nil
	}
	return d
}
