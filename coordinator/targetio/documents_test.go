package main

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
)

// files are documents in memory, by their path.
type files map[string][]byte

func (f files) Read(_ context.Context, path string, _ int64) ([]byte, error) {
	data, ok := f[path]
	if !ok {
		return nil, store.ErrMissing
	}
	return data, nil
}

func (f files) Write(_ context.Context, path string, data []byte) error {
	f[path] = data
	return nil
}

func (f files) Remove(_ context.Context, path string) error {
	delete(f, path)
	return nil
}

// between has something done once before a file is read.
type between struct {
	files
	path string
	do   func()
}

func (b *between) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	if do := b.do; path == b.path && do != nil {
		b.do = nil
		do()
	}
	return b.files.Read(ctx, path, limit)
}

// Two leaders may have a point finalized at once: the former one's worker goes on for a
// moment. Both come to the same document, whichever is first.
func TestTwoFinalizeAtOnce(t *testing.T) {
	const uid = "11111111-2222-4333-8444-555555555555"
	point := document.Point{UID: uid, Name: "monday", Namespace: "shop", CutAt: time.Unix(1700000000, 0).UTC(), CreatedAt: time.Unix(1699999999, 0).UTC()}
	r := protocol.FinalizeRequest{Point: point, Consistency: v1alpha1.ConsistencyCrash, Disks: []document.Disk{{
		Name: "root", Claim: "web-root", Volume: "pvc-web-root", SizeBytes: 1 << 30, Snapshot: names.Snapshot(uid, 1, "root"),
		StorageClass: "longhorn", VolumeMode: corev1.PersistentVolumeBlock, NumberOfReplicas: 2,
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
	}}}
	path, err := document.PointPath(point.Namespace, point.Name, point.UID)
	require.NoError(t, err)
	draftPath, err := document.DraftPath(point.UID)
	require.NoError(t, err)
	draft, _, err := document.EncodeDraft(&document.Document{
		FormatVersion: document.FormatVersion, Point: point,
		Origin: document.Origin{ClusterUID: "99999999-2222-4333-8444-555555555555", Namespace: "shop", VM: "web", VMUID: "88888888-2222-4333-8444-555555555555"},
		VM:     json.RawMessage(`{"apiVersion":"kubevirt.io/v1","kind":"VirtualMachine","metadata":{"namespace":"shop","name":"web","uid":"88888888-2222-4333-8444-555555555555"}}`),
		Claims: []document.Claim{{Name: "web-root", Object: json.RawMessage(`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"namespace":"shop","name":"web-root"}}`)}},
	})
	require.NoError(t, err)
	for _, before := range []string{path, draftPath} {
		there := files{draftPath: draft}
		var first *protocol.FinalizeResult
		other := &worker{documents: there}
		w := &worker{documents: &between{files: there, path: before, do: func() {
			var err error
			first, err = other.finalize(t.Context(), r)
			require.NoError(t, err)
		}}}
		second, err := w.finalize(t.Context(), r)
		require.NoError(t, err, "before %s was read", before)
		require.Equal(t, first, second)
		require.NotContains(t, there, draftPath)
		require.Contains(t, there, path)
	}
	_, err = (&worker{documents: files{}}).finalize(t.Context(), r)
	require.Equal(t, protocol.NotFound, asError(err).Reason, "there is neither")
}
