package api

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestRights is the table of callers by every endpoint, on the API server's own
// roles and policies: nobody, a token that has expired, a viewer and a backup
// operator of namespace shop, and an administrator of the cluster.
func TestRights(t *testing.T) {
	w := newWorld(t)
	r := w.start(1)[0]
	w.awaitPolicies(r)
	for _, name := range []string{"mine", "pinned", "gone-o", "gone-a"} {
		w.point(shop, name)
	}
	w.point(lab, "theirs")
	w.found("found")
	w.restore("r1")
	w.restore("r2")
	w.schedule("nightly")
	callers := []struct {
		letter string
		caller
	}{
		{"n", w.caller(r, "")},
		{"e", w.caller(r, expired(t, "operator"))},
		{"v", w.as(r, "viewer")},
		{"o", w.as(r, "operator")},
		{"a", w.as(r, "admin")},
	}
	const backup, restore = `{"vm":"web","target":"dir"}`, `{"backup":"mine","newVM":"copy"}`
	table := []struct{ method, path, body, want string }{
		{"GET", "/openapi.json", "", "n200 e200 v200 o200 a200"},
		{"POST", "/namespaces/shop/backups", backup, "n401 e401 v403 o201 a201"},
		{"POST", "/namespaces/lab/backups", backup, "n401 e401 v403 o403 a201"},
		{"POST", "/namespaces/shop/snapshots", `{"vm":"web"}`, "n401 e401 v403 o201 a201"},
		{"POST", "/namespaces/lab/snapshots", `{"vm":"web"}`, "n401 e401 v403 o403 a201"},
		{"POST", "/namespaces/shop/restores", restore, "n401 e401 v403 o201 a201"},
		{"POST", "/namespaces/lab/restores", restore, "n401 e401 v403 o403 a201"},
		{"POST", "/namespaces/shop/restores", `{"backup":"theirs","backupNamespace":"lab","newVM":"copy"}`, "n401 e401 v403 o403 a201"},
		{"GET", "/points", "", "n401 e401 v403 o403 a200"},
		{"GET", "/namespaces/shop/points", "", "n401 e401 v200 o200 a200"},
		{"GET", "/namespaces/lab/points", "", "n401 e401 v403 o403 a200"},
		{"GET", "/namespaces/shop/points/mine", "", "n401 e401 v200 o200 a200"},
		{"GET", "/namespaces/lab/points/theirs", "", "n401 e401 v403 o403 a200"},
		{"GET", "/namespaces/lab/points/theirs/progress", "", "n401 e401 v403 o403 a200"},
		{"GET", "/namespaces/shop/points/mine/progress", "", "n401 e401 v200 o200 a200"},
		{"POST", "/namespaces/shop/points/pinned/pin", "", "n401 e401 v403 o200 a200"},
		{"POST", "/namespaces/shop/points/pinned/unpin", "", "n401 e401 v403 o200 a200"},
		{"POST", "/namespaces/shop/points/pinned/cancel", "", "n401 e401 v403 o200 a200"},
		{"POST", "/namespaces/shop/points/pinned/verify", "{}", "n401 e401 v403 o202 a202"},
		{"POST", "/namespaces/lab/points/theirs/verify", "{}", "n401 e401 v403 o403 a202"},
		{"POST", "/namespaces/shop/points/found/claim", "", "n401 e401 v403 o403 a200"},
		{"POST", "/namespaces/lab/points/theirs/pin", "", "n401 e401 v403 o403 a200"},
		{"DELETE", "/namespaces/lab/points/theirs", "", "n401 e401 v403 o403 a202"},
		{"DELETE", "/namespaces/shop/points/gone-o", "", "n401 e401 v403 o202"},
		{"DELETE", "/namespaces/shop/points/gone-a", "", "a202"},
		{"GET", "/restores", "", "n401 e401 v403 o403 a200"},
		{"GET", "/namespaces/shop/restores", "", "n401 e401 v200 o200 a200"},
		{"GET", "/namespaces/shop/restores/r1", "", "n401 e401 v200 o200 a200"},
		{"GET", "/namespaces/shop/restores/r1/progress", "", "n401 e401 v200 o200 a200"},
		{"POST", "/namespaces/shop/restores/r1/cancel", "", "n401 e401 v403 o200 a200"},
		{"DELETE", "/namespaces/shop/restores/r1", "", "n401 e401 v403 o202"},
		{"DELETE", "/namespaces/shop/restores/r2", "", "a202"},
		{"GET", "/schedules", "", "n401 e401 v403 o403 a200"},
		{"GET", "/namespaces/shop/schedules", "", "n401 e401 v200 o200 a200"},
		{"GET", "/namespaces/shop/schedules/nightly", "", "n401 e401 v200 o200 a200"},
		{"POST", "/namespaces/shop/schedules/nightly/suspend", "", "n401 e401 v403 o200 a200"},
		{"POST", "/namespaces/shop/schedules/nightly/resume", "", "n401 e401 v403 o200 a200"},
		{"GET", "/targets", "", "n401 e401 v403 o403 a200"},
		{"GET", "/targets/dir", "", "n401 e401 v403 o403 a200"},
		{"POST", "/targets/dir/test", "", "n401 e401 v403 o403 a200"},
		{"POST", "/targets/dir/refresh", "", "n401 e401 v403 o403 a202"},
		{"GET", "/targets/dir/leftovers", "", "n401 e401 v403 o403 a200"},
		{"POST", "/targets/dir/leftovers", "{}", "n401 e401 v403 o403 a202"},
		{"GET", "/targets/dir/forgotten", "", "n401 e401 v403 o403 a200"},
		{"POST", "/targets/dir/remember", `{"all":true}`, "n401 e401 v403 o403 a202"},
		{"GET", "/jobs", "", "n401 e401 v403 o403 a200"},
		{"GET", "/jobs/none", "", "n401 e401 v403 o403 a404"},
		{"GET", "/upgrade", "", "n401 e401 v403 o403 a200"},
		{"POST", "/upgrade/prepare", `{"reason":"a test"}`, "n401 e401 v403 o403 a200"},
		{"POST", "/upgrade/finish", "", "n401 e401 v403 o403 a200"},
		{"GET", "/nothing", "", "n401 e401 v404 o404 a404"},
		{"PUT", "/targets", "", "n401 e401 v405 o405 a405"},
	}
	for _, o := range callers[0].operations() {
		require.True(t, slices.ContainsFunc(table, func(c struct{ method, path, body, want string }) bool { return o.is(c.method, c.path) }), "the table has no %s", o)
	}
	for _, c := range table {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			for _, who := range callers {
				at := strings.Index(c.want, who.letter)
				if at < 0 {
					continue
				}
				got := who.do(c.method, c.path, c.body)
				assert.Equal(t, c.want[at+1:at+4], fmt.Sprint(got.status), "%s: %s", who.letter, got)
				if got.status >= 400 {
					assert.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
					assert.NotEmpty(t, got.detail())
				}
			}
		})
	}
}

// served is an operation that the OpenAPI document names.
type served struct{ method, path string }

func (o served) String() string { return o.method + " " + o.path }

// is tells whether a request is for the operation.
func (o served) is(method, path string) bool {
	pattern := regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(o.path), `[^/]+`)
	return o.method == method && regexp.MustCompile("^"+pattern+"$").MatchString(path)
}

// operations that a coordinator serves, as it says itself.
func (c caller) operations() (all []served) {
	c.w.t.Helper()
	paths, is := c.do("GET", "/openapi.json", "").body["paths"].(map[string]any)
	require.True(c.w.t, is)
	for path, methods := range paths {
		for method := range methods.(map[string]any) {
			all = append(all, served{strings.ToUpper(method), strings.TrimPrefix(path, "/api/v1")})
		}
	}
	require.NotEmpty(c.w.t, all)
	return all
}

// TestRefusedBy: what keeps a caller from something says so.
func TestRefusedBy(t *testing.T) {
	w := newWorld(t)
	r := w.start(1)[0]
	w.awaitPolicies(r)
	got := w.as(r, "writer").do("POST", "/namespaces/shop/backups", `{"vm":"web","target":"dir"}`)
	require.Equal(t, 403, got.status, got)
	require.Contains(t, got.detail(), "spec.vm: you may not get VirtualMachine web in namespace shop: ask for that right")
	require.Equal(t, []string{"body.vm"}, got.locations())

	w.found("taken")
	got = w.as(r, "operator").do("POST", "/namespaces/shop/points/taken/claim", "")
	require.Equal(t, 403, got.status, got)
	require.Contains(t, got.detail(), "you may not claim points on BackupTarget dir: ask for the verb claim on it")

	got = w.as(r, "viewer").do("POST", "/namespaces/shop/backups", `{"vm":"web","target":"dir"}`)
	require.Contains(t, got.detail(), `User "system:serviceaccount:people:viewer" cannot create resource "vmbackups"`)

	// Even the cluster's administrator, where the coordinator may not act for it.
	outsider := w.caller(r, harness.Token(t, w.config, elsewhere, "outsider"))
	got = outsider.do("GET", "/targets", "")
	require.Equal(t, 403, got.status, got)
	require.Contains(t, got.detail(), "the HTTP API may not act for serviceaccounts outsider")
	require.Equal(t, "urn:hayloft:problem:caller-unknown", got.body["type"])

	// A token for somebody else is none for the API server.
	got = w.caller(r, harness.Token(t, w.config, people, "admin", "vault")).do("GET", "/targets", "")
	require.Equal(t, 401, got.status, got)
	require.NotEmpty(t, got.header.Get("WWW-Authenticate"))
}

// TestAudience: where one is asked for, only tokens for it are taken, and not
// those that the API server takes.
func TestAudience(t *testing.T) {
	w := newWorld(t)
	r := w.start(1, "--api-audience", "hayloft")[0]
	require.Equal(t, 200, w.caller(r, harness.Token(t, w.config, people, "admin", "hayloft")).do("GET", "/targets", "").status)
	require.Equal(t, 401, w.as(r, "admin").do("GET", "/targets", "").status)
}

// awaitPolicies: the server takes a moment to hold a policy that it was given.
func (w *world) awaitPolicies(r replica) {
	w.t.Helper()
	writer := w.as(r, "writer")
	require.EventuallyWithT(w.t, func(t *assert.CollectT) {
		for _, body := range []string{"backups", "snapshots"} {
			got := writer.do("POST", "/namespaces/shop/"+body, `{"vm":"web","target":"dir"}`)
			if body == "snapshots" {
				got = writer.do("POST", "/namespaces/shop/snapshots", `{"vm":"web"}`)
			}
			assert.Equal(t, 403, got.status, got)
		}
		o := &v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: "probe"}, Spec: v1alpha1.VMRestoreSpec{Backup: "none", NewVM: "x"}}
		assert.NoError(t, client.IgnoreAlreadyExists(w.admin.Create(w.t.Context(), o, client.DryRunAll)))
	}, patience, 50*time.Millisecond)
}

func (w *world) restore(name string) {
	w.t.Helper()
	w.make(&v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: name}, Spec: v1alpha1.VMRestoreSpec{Backup: "mine", NewVM: "vm-" + name}})
}

func (w *world) schedule(name string) {
	w.t.Helper()
	w.make(&v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: name}, Spec: v1alpha1.VMScheduleSpec{
		Cron: "0 3 * * *", VM: "web", Target: "dir",
	}})
}

// expired is a token as the API server signs them, of an hour ago.
func expired(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(harness.SigningKey(t))
	require.NoError(t, err)
	block, _ := pem.Decode(data)
	key, err := x509.ParseECPrivateKey(block.Bytes)
	require.NoError(t, err)
	encode := func(v any) string {
		data, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(data)
	}
	now := time.Now().Unix()
	signed := encode(map[string]string{"alg": "ES256", "typ": "JWT"}) + "." + encode(map[string]any{
		"iss": "https://kubernetes.default.svc", "aud": []string{"https://kubernetes.default.svc"},
		"iat": now - 7200, "nbf": now - 7200, "exp": now - 3600, "sub": "system:serviceaccount:people:" + name,
		"kubernetes.io": map[string]any{"namespace": people, "serviceaccount": map[string]string{"name": name}},
	})
	sum := sha256.Sum256([]byte(signed))
	x, y, err := ecdsa.Sign(rand.Reader, key, sum[:])
	require.NoError(t, err)
	signature := append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}
