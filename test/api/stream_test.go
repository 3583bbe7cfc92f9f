package api

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// event of a stream.
type event struct {
	kind string
	data map[string]any
}

// stream opens one; next waits for its next event, and is false at its end.
func (c caller) stream(path string) (next func() (event, bool)) {
	c.w.t.Helper()
	r, err := http.NewRequestWithContext(c.w.t.Context(), http.MethodGet, c.base+path, nil)
	require.NoError(c.w.t, err)
	r.Header.Set("Authorization", "Bearer "+c.token)
	response, err := c.http.Do(r)
	require.NoError(c.w.t, err)
	c.w.t.Cleanup(func() { response.Body.Close() })
	require.Equal(c.w.t, http.StatusOK, response.StatusCode)
	require.Equal(c.w.t, "text/event-stream", response.Header.Get("Content-Type"))
	lines := bufio.NewReader(response.Body)
	return func() (e event, ok bool) {
		c.w.t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err == io.EOF { //nolint:errorlint // as bufio returns it
				return e, false
			}
			require.NoError(c.w.t, err)
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch name {
			case "":
				if value != "" {
					return event{kind: ": " + value}, true
				}
			case "event":
				e.kind = value
			case "data":
				require.NoError(c.w.t, json.Unmarshal([]byte(value), &e.data))
				return e, true
			}
		}
	}
}

// nobodyLeads keeps coordinators from planning, so that objects stay as they are.
func (w *world) nobodyLeads() {
	w.t.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: harness.HayloftNamespace, Name: "coordinator"}}
	require.NoError(w.t, client.IgnoreNotFound(w.admin.Delete(w.t.Context(), lease)))
	now := metav1.NowMicro()
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: ptr.To("nobody"), LeaseDurationSeconds: ptr.To(int32(3600)), RenewTime: &now, AcquireTime: &now}
	w.make(lease)
	w.t.Cleanup(func() {
		require.NoError(w.t, w.admin.Delete(context.WithoutCancel(w.t.Context()), lease)) // the test's own context has ended
	})
}

// TestProgress: a stream tells what becomes of a point, and ends with it.
func TestProgress(t *testing.T) {
	w := newWorld(t)
	w.nobodyLeads()
	r := w.start(1, "--api-streams-each", "1")[0]
	c := w.as(r, "viewer")
	b := w.point(shop, "followed")
	next := c.stream("/namespaces/shop/points/followed/progress")
	e, ok := next()
	require.True(t, ok)
	require.Equal(t, "progress", e.kind)
	require.Equal(t, "Pending", e.data["phase"])

	require.Contains(t, r.metrics(t), "hayloft_api_streams 1\n")

	got := c.do("GET", "/namespaces/shop/points/followed/progress", "")
	require.Equal(t, 429, got.status, got)
	require.NotEmpty(t, got.header.Get("Retry-After"))

	b.Status.Phase, b.Status.Progress = v1alpha1.BackupUploading, &v1alpha1.Progress{BytesDone: 1, BytesTotal: 4}
	require.NoError(t, w.admin.Status().Update(t.Context(), b))
	e, ok = next()
	require.True(t, ok)
	require.Equal(t, "Uploading", e.data["phase"])
	require.EqualValues(t, 4, e.data["bytesTotal"])

	b.Status.Phase, b.Status.Progress.BytesDone = v1alpha1.BackupReady, 4
	require.NoError(t, w.admin.Status().Update(t.Context(), b))
	e, ok = next()
	require.True(t, ok)
	require.Equal(t, true, e.data["ended"])
	e, ok = next()
	require.True(t, ok)
	require.Equal(t, event{"end", map[string]any{"phase": "Ready"}}, e)
	_, ok = next()
	require.False(t, ok, "the stream goes on")

	other := w.point(shop, "leaves")
	next = c.stream("/namespaces/shop/points/leaves/progress")
	_, ok = next()
	require.True(t, ok)
	require.NoError(t, w.admin.Delete(t.Context(), other))
	e, ok = next()
	require.True(t, ok)
	require.Equal(t, event{"end", map[string]any{"phase": "Deleted"}}, e)
}

// TestHeartbeat: a stream on which nothing happens stays open, and says so.
func TestHeartbeat(t *testing.T) {
	w := newWorld(t)
	w.nobodyLeads()
	c := w.as(w.start(1)[0], "viewer")
	b := w.point(shop, "quiet")
	next := c.stream("/namespaces/shop/points/quiet/progress")
	e, ok := next()
	require.True(t, ok)
	require.Equal(t, "progress", e.kind)
	e, ok = next()
	require.True(t, ok)
	require.Equal(t, ": heartbeat", e.kind)
	b.Status.Phase = v1alpha1.BackupReady
	require.NoError(t, w.admin.Status().Update(t.Context(), b))
	e, ok = next()
	require.True(t, ok)
	require.Equal(t, "Ready", e.data["phase"])
}

// TestPlannersRefusal: where no webhook is asked, the planner's sentence is the
// end of the stream and the point's problem.
func TestPlannersRefusal(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.start(1, "--leader-lease-duration", "4s", "--leader-lease-renew", "3s", "--leader-lease-retry", "500ms")[0], "operator")
	made := c.do("POST", "/namespaces/shop/backups", `{"name":"refused","vm":"nobody","target":"dir"}`)
	require.Equal(t, 201, made.status, made)
	next := c.stream("/namespaces/shop/points/refused/progress")
	for {
		e, ok := next()
		require.True(t, ok)
		if e.kind != "end" {
			continue
		}
		require.Equal(t, "Failed", e.data["phase"])
		require.Contains(t, e.data["problem"].(map[string]any)["detail"], `there is no VirtualMachine "nobody" in namespace shop (spec.vm): name one that exists in a new VMBackup`)
		break
	}
}

// TestCertificates: a client certificate of the named authority tells a user and
// groups, whom the coordinator must have been allowed to act for.
func TestCertificates(t *testing.T) {
	w := newWorld(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "people-ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	certificate := func(name string, groups ...string) tls.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name, Organization: groups},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		}, authority, key.Public(), key)
		require.NoError(t, err)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	w.make(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "act-for-team"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"users"}, ResourceNames: []string{"alice"}, Verbs: []string{"impersonate"}},
		{APIGroups: []string{""}, Resources: []string{"groups"}, ResourceNames: []string{"shop-team"}, Verbs: []string{"impersonate"}},
	}})
	w.make(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "act-for-team"}, Subjects: []rbacv1.Subject{account(harness.HayloftNamespace, "hayloft-coordinator")},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "act-for-team"},
	})
	w.bind(shop, "ClusterRole", "hayloft-view", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "shop-team"})

	r := w.start(1, "--api-client-ca", file)[0]
	alice := w.caller(r, "", certificate("alice", "shop-team"))
	require.Equal(t, 200, alice.do("GET", "/namespaces/shop/points", "").status)
	require.Equal(t, 403, alice.do("GET", "/namespaces/lab/points", "").status)
	got := w.caller(r, "", certificate("alice", "system:masters")).do("GET", "/namespaces/shop/points", "")
	require.Equal(t, 403, got.status, got)
	require.Contains(t, got.detail(), "may not act for groups system:masters")
	require.Equal(t, 403, w.caller(r, "", certificate("root")).do("GET", "/namespaces/shop/points", "").status)
	require.Equal(t, 401, w.caller(r, "").do("GET", "/namespaces/shop/points", "").status)
	require.Equal(t, 200, w.as(r, "viewer").do("GET", "/namespaces/shop/points", "").status, "tokens go on")

	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	self, err := x509.CreateCertificate(rand.Reader, authority, authority, stranger.Public(), stranger)
	require.NoError(t, err)
	_, err = w.caller(r, "", tls.Certificate{Certificate: [][]byte{self}, PrivateKey: stranger}).try("GET", "/namespaces/shop/points", "")
	require.Error(t, err, "a certificate of another authority")
}

// TestAudit: each change leaves one line, a request that changes nothing none,
// and no credentials are in any.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	r := w.start(1)[0]
	c, viewer := w.as(r, "operator"), w.as(r, "viewer")
	require.Equal(t, 201, c.do("POST", "/namespaces/shop/backups", `{"name":"audited","vm":"web","target":"dir"}`).status)
	require.Equal(t, 403, viewer.do("DELETE", "/namespaces/shop/points/audited", "").status)
	require.Equal(t, 401, w.caller(r, "canary").do("POST", "/namespaces/shop/points/audited/pin", "").status)
	require.Equal(t, 200, c.do("GET", "/namespaces/shop/points/audited", "").status)
	var log string
	var lines []string
	// A line is written when its answer is on its way.
	require.Eventually(t, func() bool {
		log, lines = r.Log(t), nil
		for line := range strings.Lines(log) {
			if strings.Contains(line, "msg=audit") {
				lines = append(lines, line)
			}
		}
		return len(lines) >= 3
	}, patience, 20*time.Millisecond)
	require.Len(t, lines, 3)
	require.Contains(t, lines[0], "caller=system:serviceaccount:people:operator operation=create-backup namespace=shop name=audited from=127.0.0.1:")
	require.Contains(t, lines[0], "status=201 outcome=done")
	require.Contains(t, lines[1], "caller=system:serviceaccount:people:viewer operation=delete-point namespace=shop name=audited")
	require.Contains(t, lines[1], "status=403 outcome=refused")
	require.Contains(t, lines[2], `caller="" operation="POST /api/v1/namespaces/shop/points/audited/pin"`)
	for _, secret := range []string{c.token, viewer.token, "canary"} {
		require.NotContains(t, log, secret)
	}
}
