package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// notes are what a Recorder was told.
type notes struct {
	working int
	told    []string
}

func (n *notes) Began() func()      { n.working++; return func() { n.working-- } }
func (n *notes) Streaming() func()  { return func() {} }
func (n *notes) Limited(why string) { n.told = append(n.told, "limit "+why) }
func (n *notes) Answered(route, method string, status int, took time.Duration) {
	n.told = append(n.told, fmt.Sprintf("%s %s %d", method, route, status))
	if took <= 0 {
		n.told = append(n.told, "at once")
	}
}

// TestObserved: what strangers ask for becomes no label, and refused requests
// count where they were to go.
func TestObserved(t *testing.T) {
	for _, tt := range []struct{ method, path, want string }{
		{"GET", "/openapi.json", "GET /api/v1/openapi.json 200"},
		{"GET", "/namespaces/shop/points/progress", "GET /api/v1/namespaces/{namespace}/points/{name} 401"},
		{"GET", "/namespaces/shop/points/web/progress", "GET /api/v1/namespaces/{namespace}/points/{name}/progress 401"},
		{"POST", "/namespaces/shop/backups", "POST /api/v1/namespaces/{namespace}/backups 401"},
		{"PUT", "/targets", "other none 401"},
		{"BREW", "/../admin.php", "other none 401"},
		{"GET", "/x", "GET none 401"},
	} {
		n := &notes{}
		h, err := New(options(t, &strings.Builder{}, n))
		require.NoError(t, err)
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), tt.method, Prefix+tt.path, nil))
		require.Equal(t, []string{tt.want}, n.told, tt.path)
		require.Zero(t, n.working)
	}
}

// TestObservedLimit: a limit that turns a request away is named.
func TestObservedLimit(t *testing.T) {
	n := &notes{}
	o := options(t, &strings.Builder{}, n)
	o.Limits.Rate, o.Limits.Burst = 0.001, 1
	h, err := New(o)
	require.NoError(t, err)
	for range 2 {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, Prefix+"/x", nil)
		r.TLS = certified("bob")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	require.Equal(t, []string{"GET none 404", "limit caller", "GET none 429"}, n.told)
}
