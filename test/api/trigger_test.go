package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestIdempotency: a key makes one object, whichever coordinator is asked and
// however often, and stands for one request.
func TestIdempotency(t *testing.T) {
	w := newWorld(t)
	replicas := w.start(2)
	one, two := w.as(replicas[0], "operator"), w.as(replicas[1], "operator")
	const path, body = "/namespaces/shop/backups", `{"vm":"web","target":"dir","note":"n"}`

	first := one.do("POST", path, body, "Idempotency-Key: order-1")
	require.Equal(t, 201, first.status, first)
	require.Equal(t, "/api/v1/namespaces/shop/points/"+first.body["name"].(string), first.header.Get("Location"))
	again := two.do("POST", path, `{"note":"n", "target":"dir","vm":"web"}`, "Idempotency-Key: order-1")
	require.Equal(t, 200, again.status, again)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, first.body["uid"], again.body["uid"])

	for name, body := range map[string]string{
		"another body": `{"vm":"web","target":"dir"}`,
		"another VM":   `{"vm":"db","target":"dir","note":"n"}`,
	} {
		got := two.do("POST", path, body, "Idempotency-Key: order-1")
		require.Equal(t, 409, got.status, name)
		require.Equal(t, "urn:hayloft:problem:idempotency-key-reused", got.body["type"])
		require.Equal(t, []string{"header.Idempotency-Key"}, got.locations())
	}
	got := one.do("POST", "/namespaces/shop/snapshots", `{"vm":"web"}`, "Idempotency-Key: order-1")
	require.Equal(t, 409, got.status, "another operation")
	got = w.as(replicas[0], "admin").do("POST", path, body, "Idempotency-Key: order-1")
	require.Equal(t, 201, got.status, "another caller's key is another one")
	got = one.do("POST", path, `{"name":"x","vm":"web","target":"dir"}`, "Idempotency-Key: order-2")
	require.Equal(t, 422, got.status)
	require.Equal(t, []string{"body.name"}, got.locations())

	// After all coordinators were started anew.
	for _, r := range replicas {
		r.Kill(t)
	}
	later := w.as(w.start(1)[0], "operator").do("POST", path, body, "Idempotency-Key: order-1")
	require.Equal(t, 200, later.status, later)
	require.Equal(t, first.body["uid"], later.body["uid"])
}

// TestManyTriggers: 1,000 triggers by 50 clients while one of two coordinators is
// killed make 1,000 points, one for each key, and no failure goes out without a
// word on when to try again.
func TestManyTriggers(t *testing.T) {
	const keys, clients = 1000, 50
	w := newWorld(t)
	replicas := w.start(2)
	var callers []caller
	for _, r := range replicas {
		callers = append(callers, w.as(r, "operator"))
	}
	work := make(chan int)
	var sent, repeated, answered atomic.Int64
	var bare sync.Map // answers that should have said when to try again
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			at := n % len(callers)
			for key := range work {
				for {
					sent.Add(1)
					got, err := callers[at].try("POST", "/namespaces/shop/backups", fmt.Sprintf(`{"vm":"vm-%d","target":"dir"}`, key), fmt.Sprintf("Idempotency-Key: load-%d", key))
					if err == nil && (got.status == http.StatusCreated || got.status == http.StatusOK) {
						answered.Add(1)
						break
					}
					if err == nil && got.status >= 500 && got.header.Get("Retry-After") == "" {
						bare.Store(got.String(), true)
					}
					if err == nil && got.status < 500 && got.status != http.StatusTooManyRequests {
						t.Errorf("key %d: %s", key, got)
						break
					}
					repeated.Add(1)
					at = (at + 1) % len(callers) // as a Service would send it elsewhere
				}
			}
		})
	}
	began := time.Now()
	for key := range keys {
		if key == keys/2 {
			replicas[0].Kill(t)
		}
		work <- key
	}
	close(work)
	wg.Wait()
	t.Logf("%d triggers in %.1f s, %d requests, %d sent again", keys, time.Since(began).Seconds(), sent.Load(), repeated.Load())
	require.EqualValues(t, keys, answered.Load())
	require.Positive(t, repeated.Load(), "nobody noticed that a coordinator was killed")
	bare.Range(func(said, _ any) bool { t.Errorf("no Retry-After: %s", said); return true })

	var list v1alpha1.VMBackupList
	require.NoError(t, w.admin.List(t.Context(), &list, client.InNamespace(shop)))
	vms := sets.New[string]()
	for _, b := range list.Items {
		if strings.HasPrefix(b.Spec.VM, "vm-") && strings.HasPrefix(b.Name, "api-") {
			require.False(t, vms.Has(b.Spec.VM), "%s was made twice", b.Spec.VM)
			vms.Insert(b.Spec.VM)
		}
	}
	require.Len(t, vms, keys)
}

// TestBadInput: what is wrong with a request is said with its field.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	r := w.start(1)[0]
	c := w.as(r, "operator")
	w.point(shop, "input")
	for name, q := range map[string]struct {
		method, path, body string
		status             int
		at, says           string
	}{
		"missing field":       {"POST", "/namespaces/shop/backups", `{"target":"dir"}`, 422, "body.vm", "vm"},
		"missing below":       {"POST", "/namespaces/shop/restores", `{"backup":"input","diskClaim":{"disk":"root"}}`, 422, "body.diskClaim.claim", "claim"},
		"unknown field":       {"POST", "/namespaces/shop/backups", `{"vm":"web","target":"dir","tarjet":"x"}`, 422, "body.tarjet", ""},
		"wrong type":          {"POST", "/namespaces/shop/backups", `{"vm":7,"target":"dir"}`, 422, "body.vm", ""},
		"wrong word":          {"POST", "/namespaces/shop/backups", `{"vm":"web","target":"dir","deletionPolicy":"Keep"}`, 422, "body.deletionPolicy", ""},
		"beyond bounds":       {"POST", "/namespaces/shop/backups", `{"vm":"web","target":"dir","quiesce":{"deadlineSeconds":99}}`, 422, "body.quiesce.deadlineSeconds", ""},
		"no JSON":             {"POST", "/namespaces/shop/backups", `{"vm":`, 400, "body", ""},
		"rule of the schema":  {"POST", "/namespaces/shop/backups", `{"vm":"web","target":"dir","includeDisks":["a"],"excludeDisks":["b"]}`, 422, "body.includeDisks", "spec.includeDisks and spec.excludeDisks exclude each other: set one of them"},
		"nothing to make":     {"POST", "/namespaces/shop/restores", `{"backup":"input"}`, 422, "body.newVM", "exactly one of spec.newVM, spec.replace and spec.diskClaim must be set"},
		"name taken":          {"POST", "/namespaces/shop/backups", `{"name":"input","vm":"web","target":"dir"}`, 409, "body.name", "input"},
		"neither nor":         {"POST", "/targets/dir/remember", `{}`, 422, "body.points", "exactly one of points and all"},
		"both":                {"POST", "/targets/dir/remember", `{"all":true,"points":["shop/a"]}`, 422, "body.points", "exactly one of points and all"},
		"no point's name":     {"POST", "/targets/dir/remember", `{"points":["shop/a all"]}`, 422, "body.points", "neither NAMESPACE/NAME nor a UID"},
		"bad namespace":       {"GET", "/namespaces/Shop/points", "", 422, "path.namespace", ""},
		"bad limit":           {"GET", "/namespaces/shop/points?limit=0", "", 422, "query.limit", ""},
		"bad continue":        {"GET", "/namespaces/shop/points?continue=x", "", 400, "", "continue"},
		"unknown parameter":   {"GET", "/namespaces/shop/points?sort=age", "", 422, "query.sort", ""},
		"no such point":       {"GET", "/namespaces/shop/points/none", "", 404, "path.name", "none"},
		"none to change":      {"POST", "/namespaces/shop/points/none/cancel", "", 404, "path.name", "none"},
		"no such point's end": {"GET", "/namespaces/shop/points/none/progress", "", 404, "path.name", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.do(q.method, q.path, q.body)
			assert.Equal(t, q.status, got.status, got)
			assert.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
			if q.at != "" {
				assert.True(t, slices.Contains(got.locations(), q.at), got.text)
			}
			assert.Contains(t, got.text, q.says)
		})
	}
	got := c.do("POST", "/namespaces/shop/backups", `{"vm":"web","target":"dir","note":"`+strings.Repeat("x", 70<<10)+`"}`)
	require.Equal(t, 413, got.status, got)
	got = c.do("POST", "/namespaces/shop/backups", `{"vm":"web","target":"dir"}`, "Content-Type: text/plain")
	require.Equal(t, 415, got.status, got)
	for _, key := range []string{"two words", strings.Repeat("k", 256)} {
		got = c.do("POST", "/namespaces/shop/backups", `{"vm":"web","target":"dir"}`, "Idempotency-Key: "+key)
		require.Equal(t, 422, got.status, got)
		require.Equal(t, []string{"header.Idempotency-Key"}, got.locations())
	}
}

// TestPages: a list comes in pages, each object once.
func TestPages(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.start(1)[0], "admin")
	want := sets.New[string]()
	for i := range 25 {
		want.Insert(w.point(lab, fmt.Sprintf("page-%02d", i)).Name)
	}
	seen := map[string]int{}
	for more := ""; ; {
		got := c.do("GET", "/namespaces/lab/points?limit=10&continue="+more, "")
		require.Equal(t, 200, got.status, got)
		items := got.body["items"].([]any)
		require.LessOrEqual(t, len(items), 10)
		for _, i := range items {
			seen[i.(map[string]any)["name"].(string)]++
		}
		if more, _ = got.body["continue"].(string); more == "" {
			break
		}
	}
	for name := range want {
		require.Equal(t, 1, seen[name], name)
	}
}

// TestLimits: a caller that asks too much is slowed down, others are not.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	r := w.start(1, "--api-rate", "0.001", "--api-burst", "3", "--api-streams-each", "1")[0]
	c := w.as(r, "operator")
	w.point(shop, "limited")
	for range 3 {
		require.Equal(t, 200, c.do("GET", "/namespaces/shop/points", "").status)
	}
	got := c.do("GET", "/namespaces/shop/points", "")
	require.Equal(t, 429, got.status, got)
	require.NotEmpty(t, got.header.Get("Retry-After"))
	require.Equal(t, 200, w.as(r, "viewer").do("GET", "/namespaces/shop/points", "").status)

	const route = `method="GET",route="/api/v1/namespaces/{namespace}/points"`
	for _, line := range []string{
		`hayloft_api_requests_total{code="200",` + route + `} 4`, `hayloft_api_requests_total{code="429",` + route + `} 1`,
		`hayloft_api_request_duration_seconds_count{` + route + `} 5`, `hayloft_api_limited_requests_total{limit="caller"} 1`,
		`hayloft_api_requests_in_flight 0`, `hayloft_api_streams 0`,
	} {
		// A request is counted after its answer has gone out.
		require.Eventually(t, func() bool { return strings.Contains(r.metrics(t), line+"\n") }, patience, 20*time.Millisecond, line)
	}
}
