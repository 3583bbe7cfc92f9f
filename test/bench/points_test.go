package bench

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/test/points"
)

// manyPoints is a bucket with the points of another cluster, and what stands before
// it and counts requests.
type manyPoints struct {
	n        int
	target   *v1alpha1.BackupTarget
	endpoint string
	requests *atomic.Int64
}

// manyPoints puts documents and Longhorn backups, as many as HAYLOFT_BENCH_DOCUMENTS
// says (10,000), into the stack's bucket, ten of each volume, written as files below
// the S3 server; and makes a target of it in the place of the stack's own.
func (w *world) manyPoints(namespace string) *manyPoints {
	w.b.Helper()
	m := &manyPoints{n: setting(w.b, "HAYLOFT_BENCH_DOCUMENTS", 10_000), requests: &atomic.Int64{}}
	for i := range m.n {
		d := points.Document(namespace, fmt.Sprintf("point-%d", i), i)
		w.file(points.Path(w.b, d), points.Encode(w.b, d))
		w.longhornBackup(d.Disks[0])
	}
	backend, err := url.Parse(w.S3.Endpoint)
	check(w.b, err)
	proxy := httputil.NewSingleHostReverseProxy(backend)
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		m.requests.Add(1)
		proxy.ServeHTTP(out, r)
	}))
	w.b.Cleanup(server.Close)
	m.endpoint = server.URL

	own := &v1alpha1.BackupTarget{}
	check(w.b, w.c.Get(w.ctx, client.ObjectKey{Name: w.Target}, own))
	check(w.b, w.c.Delete(w.ctx, own))
	m.target = &v1alpha1.BackupTarget{Spec: own.Spec}
	m.target.Name, m.target.Spec.S3.Endpoint = "many", m.endpoint
	check(w.b, w.c.Create(w.ctx, m.target))
	return m
}

func (w *world) file(path string, data []byte) {
	w.b.Helper()
	file := w.onTarget(w.S3.Bucket, path)
	check(w.b, os.MkdirAll(filepath.Dir(file), 0o755))
	check(w.b, os.WriteFile(file, data, 0o644))
}

// longhornBackup writes the configurations of a full backup of a disk, as backupstore
// does, with every block of it named and none there.
func (w *world) longhornBackup(d document.Disk) {
	w.b.Helper()
	const block = 2 * mib
	sum := sha512.Sum512([]byte(d.Volume))
	digits := hex.EncodeToString(sum[:])
	dir := filepath.Join("backupstore", "volumes", digits[:2], digits[2:4], d.Volume)
	write := func(name string, content any) {
		data, err := json.Marshal(content)
		check(w.b, err)
		w.file(filepath.Join(dir, name), data)
	}
	var blocks []map[string]any
	for at := int64(0); at < d.SizeBytes; at += block {
		sum := sha512.Sum512(fmt.Appendf(nil, "%s %d", d.Backup, at))
		blocks = append(blocks, map[string]any{"Offset": at, "BlockChecksum": hex.EncodeToString(sum[:32])})
	}
	write("volume.cfg", map[string]any{
		"Name": d.Volume, "Size": fmt.Sprint(d.SizeBytes), "Labels": map[string]string{}, "CreatedTime": "2026-03-01T00:00:00Z",
		"LastBackupName": d.Backup, "LastBackupAt": "2026-03-01T00:00:00Z", "BlockCount": fmt.Sprint(len(blocks)),
		"CompressionMethod": `"lz4"`, "DataEngine": `"v1"`, // backupstore quotes these twice
	})
	write("backups/backup_"+d.Backup+".cfg", map[string]any{
		"Name": d.Backup, "VolumeName": d.Volume, "SnapshotName": d.Snapshot, "SnapshotCreatedAt": "2026-03-01T00:00:00Z", "CreatedTime": "2026-03-01T00:00:10Z",
		"Size": fmt.Sprint(d.SizeBytes), "CompressionMethod": "lz4", "Labels": map[string]string{}, "IsIncremental": false, "Blocks": blocks,
	})
}
