package targetwork_test

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
	"hayloft.dev/test/enginetest"
	"hayloft.dev/test/harness"
	"hayloft.dev/test/points"
)

// withoutCluster is a worker for a target that needs no Secret: it asks no cluster
// for anything.
func withoutCluster(t *testing.T) *targetwork.Caller {
	t.Helper()
	worker := harness.TestedBinary(t, "targetio")
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	config := api.NewConfig()
	config.Clusters["none"] = &api.Cluster{Server: "https://127.0.0.1:1"}
	config.Contexts["none"] = &api.Context{Cluster: "none"}
	config.CurrentContext = "none"
	require.NoError(t, clientcmd.WriteToFile(*config, kubeconfig))
	return &targetwork.Caller{Path: worker, Kubeconfig: kubeconfig, Namespace: "none"}
}

// bareTarget is a target in a directory whose files are written by hand, as backupstore
// writes them.
type bareTarget struct {
	t   *testing.T
	dir string
}

func (b bareTarget) volume(name string) string {
	sum := sha512.Sum512([]byte(name))
	digits := hex.EncodeToString(sum[:])
	return path.Join("backupstore/volumes", digits[:2], digits[2:4], name)
}

func (b bareTarget) write(file string, content any) {
	b.t.Helper()
	data, err := json.Marshal(content)
	require.NoError(b.t, err)
	points.Write(b.t, b.dir, file, data)
}

// backup of a volume; one that is in progress has no time.
func (b bareTarget) backup(volume, name string, complete bool) string {
	b.t.Helper()
	b.write(path.Join(b.volume(volume), "volume.cfg"), map[string]any{"Name": volume, "Size": "1073741824", "CompressionMethod": "lz4"})
	cfg := map[string]any{"Name": name, "VolumeName": volume, "SnapshotName": "snap-1", "Blocks": []any{}}
	if complete {
		cfg["CreatedTime"] = "2026-03-01T00:00:00Z"
	}
	file := path.Join(b.volume(volume), "backups", "backup_"+name+".cfg")
	b.write(file, cfg)
	return file
}

// draft of the n-th point, of some cluster.
func (b bareTarget) draft(n int, of types.UID) string {
	b.t.Helper()
	d := points.Document("prod", "drafted", n)
	d.Origin.ClusterUID, d.Disks, d.Consistency = of, nil, ""
	data, _, err := document.EncodeDraft(d)
	require.NoError(b.t, err)
	file, err := document.DraftPath(d.Point.UID)
	require.NoError(b.t, err)
	points.Write(b.t, b.dir, file, data)
	return file
}

// Leftovers are told of and removed, and nothing else: no point's data, nothing that
// another cluster may be writing, nothing of Longhorn's, nothing young, and nothing
// at all where the listing lacks what must be there.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		testLeftovers(t, withoutCluster(t), dir, directory(dir), protocol.NotFound)
	})
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		w, bucket := newWorld(t), enginetest.StartS3(t)
		testLeftovers(t, w.Caller, bucket.Dir, w.s3(t, bucket.Target), protocol.BucketNotFound)
	})
}

// testLeftovers looks for them on a target whose files lie in dir; away is what is
// said of a target that is not there.
func testLeftovers(t *testing.T, w *targetwork.Caller, dir string, at targetwork.Target, away protocol.Reason) {
	b := bareTarget{t, dir}
	const other types.UID = "c2000000-0000-4000-8000-000000000002"
	ours := points.Document("prod", "whole", 1)
	theirs := points.Document("prod", "theirs", 2)
	theirs.Origin.ClusterUID = other
	points.WriteAll(t, b.dir, ours, theirs)
	name := func(n int, attempt int32) string { return names.Backup(points.UID(n), "root", attempt) }
	stays := []string{
		b.backup("v1", name(1, 1), true), b.backup("v1", "backup-longhorn", true), b.backup("v1", "backup-broken", false),
		b.backup("v2", name(2, 1), true), b.backup("v2", name(2, 2), false),
		b.backup("v3", name(3, 1), false), b.draft(3, other), // being taken elsewhere
		b.backup("v4", name(4, 1), false), b.draft(4, points.Cluster), // being taken here
		points.Path(t, ours), points.Path(t, theirs),
	}
	goes := []string{
		b.backup("v1", name(1, 2), false), b.backup("v5", name(5, 1), true), b.backup("v5", name(6, 1), false), b.draft(6, points.Cluster), b.draft(7, points.Cluster),
	}
	request := protocol.LeftoversRequest{
		Cluster: points.Cluster, Living: []types.UID{points.UID(4)}, Documents: []string{points.Path(t, ours)},
		MaxTold: 50, CPUMilliseconds: 60_000,
	}
	look := func(change func(*protocol.LeftoversRequest)) protocol.LeftoversResult {
		t.Helper()
		r := request
		if change != nil {
			change(&r)
		}
		result, cost, err := w.Leftovers(within(t, limit), at, r)
		require.NoError(t, err)
		require.Positive(t, cost.Requests)
		return result
	}
	all := func() {
		t.Helper()
		for _, f := range append(stays, goes...) {
			require.FileExists(t, filepath.Join(b.dir, f))
		}
	}

	r := look(nil)
	require.Equal(t, []int{5, 1, 3, 5, 0}, []int{r.InProgress, r.NoDocument, r.Drafts, r.Removable, r.Removed}, "%+v", r)
	all()
	for _, l := range r.Told {
		switch {
		case l.Backup == "backup-broken":
			require.Contains(t, l.Keep, "Hayloft has not made it")
		case l.Point == points.UID(2):
			require.Contains(t, l.Keep, "cluster "+string(other))
		case l.Point == points.UID(3):
			require.Contains(t, l.Keep, "may be taking")
		default:
			require.Empty(t, l.Keep, "%+v", l)
		}
	}
	r = look(func(r *protocol.LeftoversRequest) { r.Remove, r.MinAgeMilliseconds = true, time.Hour.Milliseconds() })
	require.Zero(t, r.Removed)
	all()
	r = look(func(r *protocol.LeftoversRequest) {
		r.Remove = true
		r.Documents = append([]string{"hayloft/points/prod/gone-" + string(points.UID(99)) + ".json"}, r.Documents...)
	})
	require.Zero(t, r.Removed)
	require.Contains(t, r.Kept, "does not list 1 documents")
	all()
	// Nor where all that tells whose the backups are is away.
	require.NoError(t, os.Rename(filepath.Join(b.dir, "hayloft"), filepath.Join(b.dir, "away")))
	r = look(func(r *protocol.LeftoversRequest) { r.Remove, r.Documents = true, nil })
	require.Zero(t, r.Removed)
	require.Contains(t, r.Kept, "an empty listing")
	require.NoError(t, os.Rename(filepath.Join(b.dir, "away"), filepath.Join(b.dir, "hayloft")))
	all()
	_, _, err := w.Leftovers(within(t, limit), at, protocol.LeftoversRequest{MaxTold: 1})
	failed(t, err, protocol.Invalid, "which cluster asks")
	require.NoError(t, os.Rename(b.dir, b.dir+".away"))
	_, _, err = w.Leftovers(within(t, limit), at, request)
	failed(t, err, away, "")
	require.NoError(t, os.Rename(b.dir+".away", b.dir))

	// A brief look reads no document: what may be left of a point that has one is not
	// counted, and nothing can be removed by it.
	r = look(func(r *protocol.LeftoversRequest) { r.Brief = true })
	require.Equal(t, []int{3, 1, 3, 4}, []int{r.InProgress, r.NoDocument, r.Drafts, r.Removable}, "%+v", r)
	_, _, err = w.Leftovers(within(t, limit), at, func() protocol.LeftoversRequest { r := request; r.Brief, r.Remove = true, true; return r }())
	failed(t, err, protocol.Invalid, "removes nothing")

	r = look(func(r *protocol.LeftoversRequest) { r.Remove = true })
	require.Equal(t, len(goes), r.Removed)
	for _, f := range goes {
		require.NoFileExists(t, filepath.Join(b.dir, f))
	}
	for _, f := range stays {
		require.FileExists(t, filepath.Join(b.dir, f))
	}
	r = look(nil)
	require.Equal(t, []int{3, 0, 1}, []int{r.InProgress, r.NoDocument, r.Drafts}, "%+v", r)
}
