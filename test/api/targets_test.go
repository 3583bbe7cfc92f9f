package api

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/test/harness"
	"hayloft.dev/test/points"
)

// TestTargetRequests: a coordinator with its own account's rights, and no more, finds
// leftovers and removes them, forgets a point and remembers it, and has one claimed,
// as it is asked to over HTTP.
func TestTargetRequests(t *testing.T) {
	w := newWorld(t)
	system := &corev1.Namespace{}
	require.NoError(t, w.admin.Get(t.Context(), client.ObjectKey{Name: metav1.NamespaceSystem}, system))
	dir := t.TempDir()
	left := points.Document(lab, "left", 1)
	left.Origin.ClusterUID, left.Disks, left.Consistency = system.UID, nil, ""
	draft, _, err := document.EncodeDraft(left)
	require.NoError(t, err)
	path, err := document.DraftPath(left.Point.UID)
	require.NoError(t, err)
	points.Write(t, dir, path, draft)
	points.WriteAll(t, dir, points.Document(lab, "other", 2))
	target := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "requests"}, Spec: v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: dir}}}
	w.make(target)
	t.Cleanup(func() { _ = w.admin.Delete(t.Context(), target) })
	r := w.start(1, "--leftover-age", "1ms", "--refresh-floor", "1s")[0]
	c := w.as(r, "admin")
	const at = "/targets/requests"
	eventually := func(what string, done func() bool) {
		t.Helper()
		require.Eventually(t, done, patience, 50*time.Millisecond, what)
	}
	get := func(path string) answer {
		t.Helper()
		got := c.do("GET", path, "")
		require.Equal(t, 200, got.status, got)
		return got
	}
	count := func(path string) int { return len(get(path).body["items"].([]any)) }
	found := func() answer { return c.do("GET", "/namespaces/lab/points/other", "") }
	eventually("the other cluster's point to appear", func() bool { a := found(); return a.status == 200 && a.body["phase"] == "Ready" })
	// By itself the coordinator has counted, and removed nothing.
	eventually("leftovers to be counted", func() bool { return get(at + "/leftovers").body["removable"] == 1.0 })
	require.Equal(t, false, get(at + "/leftovers").body["pending"])
	require.FileExists(t, filepath.Join(dir, path))
	eventually("Prometheus to be told", func() bool {
		said := r.metrics(t)
		return strings.Contains(said, `hayloft_target_leftovers_removable{target="requests"} 1`+"\n") && strings.Contains(said, `hayloft_target_leftovers{kind="draft",target="requests"} 1`+"\n")
	})

	// A key asks once, and stands for one request.
	const key = "Idempotency-Key: clean-1"
	got := c.do("POST", at+"/leftovers", `{"remove":true}`, key)
	require.Equal(t, 202, got.status, got)
	got = c.do("POST", at+"/leftovers", `{"remove":true}`, key)
	require.Equal(t, 200, got.status, got)
	require.Equal(t, "true", got.header.Get("Idempotency-Replayed"))
	got = c.do("POST", at+"/leftovers", `{}`, key)
	require.Equal(t, 409, got.status, got)
	eventually("the leftover to be removed", func() bool { a := get(at + "/leftovers").body; return a["pending"] == false && a["removed"] == 1.0 })
	_, err = os.Stat(filepath.Join(dir, path))
	require.ErrorIs(t, err, os.ErrNotExist)

	require.Equal(t, 202, c.do("DELETE", "/namespaces/lab/points/other?keepData=true&force=true", "").status)
	eventually("the point to be forgotten", func() bool { return count(at+"/forgotten") == 1 })
	require.Equal(t, "other", get(at + "/forgotten").body["items"].([]any)[0].(map[string]any)["name"])
	got = c.do("POST", at+"/remember", `{"points":["lab/other"]}`)
	require.Equal(t, 202, got.status, got)
	eventually("it to be back", func() bool { a := found(); return a.status == 200 && a.body["phase"] == "Ready" })
	require.Zero(t, count(at+"/forgotten"))

	got = c.do("POST", "/namespaces/lab/points/other/claim", "")
	require.Equal(t, 200, got.status, got)
	require.Equal(t, true, got.body["claimed"])
	eventually("it to be this cluster's to delete", func() bool {
		var b v1alpha1.VMBackup
		require.NoError(t, w.admin.Get(t.Context(), client.ObjectKey{Namespace: lab, Name: "other"}, &b))
		return len(b.Finalizers) == 1 && b.Status.StartedAt != nil
	})
	require.Equal(t, 202, c.do("DELETE", "/namespaces/lab/points/other", "").status)
	eventually("it to be gone", func() bool { return found().status == 404 })
	require.NoFileExists(t, filepath.Join(dir, points.Path(t, points.Document(lab, "other", 2))))
}

// found makes a point of shop that is said to be another cluster's, as the coordinator
// does.
func (w *world) found(name string) {
	w.t.Helper()
	config := rest.CopyConfig(w.config)
	config.Impersonate.UserName = "system:serviceaccount:" + harness.HayloftNamespace + ":hayloft-coordinator"
	c, err := client.New(config, client.Options{Scheme: w.admin.Scheme()})
	require.NoError(w.t, err)
	err = c.Create(w.t.Context(), &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: name}, Spec: v1alpha1.VMBackupSpec{
		VM: "web", Target: "dir", DeletionPolicy: v1alpha1.DeletionRetain, Found: &v1alpha1.FoundPoint{ClusterUID: "c", UID: "u"},
	}})
	if !apierrors.IsAlreadyExists(err) {
		require.NoError(w.t, err)
	}
}
