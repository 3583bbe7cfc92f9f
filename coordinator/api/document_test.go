package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"hayloft.dev/coordinator/api/identity"
	"hayloft.dev/coordinator/targetio/protocol"
)

type noProbes struct{}

func (noProbes) Probe(context.Context, protocol.Target) (protocol.ProbeResult, error) {
	return protocol.ProbeResult{}, nil
}

// handler is the API before a cluster that is away.
func handler(t *testing.T, log *strings.Builder) http.Handler {
	t.Helper()
	h, err := New(options(t, log, nil))
	require.NoError(t, err)
	return h
}

func options(t *testing.T, log *strings.Builder, recorder Recorder) Options {
	t.Helper()
	c, err := identity.NewClient(&rest.Config{Host: "http://127.0.0.1:1"}, runtime.NewScheme(), Mapper())
	require.NoError(t, err)
	return Options{
		Client: c, Authenticator: &identity.Authenticator{}, Namespace: "hayloft-system", Prober: noProbes{},
		Limits: Limits{Rate: 10, Burst: 10, Streams: 1, StreamsEach: 1}, Recorder: recorder, Log: slog.New(slog.NewTextHandler(log, nil)),
	}
}

// certified is a connection of somebody with a client certificate.
func certified(name string) *tls.ConnectionState {
	return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: name}}}}}
}

// TestDocument: the API says of itself, to anybody, what it takes.
func TestDocument(t *testing.T) {
	w := httptest.NewRecorder()
	handler(t, &strings.Builder{}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, Prefix+"/openapi.json", nil))
	require.Equal(t, http.StatusOK, w.Code)
	var d struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Responses   map[string]any
		}
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &d))
	require.Equal(t, "3.1.0", d.OpenAPI)
	var all []string
	for path, methods := range d.Paths {
		for method, o := range methods {
			require.NotEmpty(t, o.Summary, o.OperationID)
			require.Contains(t, o.Responses, "403", o.OperationID)
			all = append(all, fmt.Sprintf("%-6s %s %s", strings.ToUpper(method), strings.TrimPrefix(path, Prefix), o.OperationID))
		}
	}
	slices.Sort(all)
	require.Equal(t, strings.TrimSpace(operations), strings.Join(all, "\n"))
}

const operations = `
DELETE /namespaces/{namespace}/points/{name} delete-point
DELETE /namespaces/{namespace}/restores/{name} delete-restore
GET    /jobs list-jobs
GET    /jobs/{name} get-job
GET    /namespaces/{namespace}/points list-points
GET    /namespaces/{namespace}/points/{name} get-point
GET    /namespaces/{namespace}/points/{name}/progress watch-point
GET    /namespaces/{namespace}/restores list-restores
GET    /namespaces/{namespace}/restores/{name} get-restore
GET    /namespaces/{namespace}/restores/{name}/progress watch-restore
GET    /namespaces/{namespace}/schedules list-schedules
GET    /namespaces/{namespace}/schedules/{name} get-schedule
GET    /points list-all-points
GET    /restores list-all-restores
GET    /schedules list-all-schedules
GET    /targets list-targets
GET    /targets/{name} get-target
GET    /targets/{name}/forgotten list-forgotten
GET    /targets/{name}/leftovers get-leftovers
GET    /upgrade check-upgrade
POST   /namespaces/{namespace}/backups create-backup
POST   /namespaces/{namespace}/points/{name}/cancel cancel-point
POST   /namespaces/{namespace}/points/{name}/claim claim-point
POST   /namespaces/{namespace}/points/{name}/pin pin-point
POST   /namespaces/{namespace}/points/{name}/unpin unpin-point
POST   /namespaces/{namespace}/points/{name}/verify verify-point
POST   /namespaces/{namespace}/restores create-restore
POST   /namespaces/{namespace}/restores/{name}/cancel cancel-restore
POST   /namespaces/{namespace}/schedules/{name}/resume resume-schedule
POST   /namespaces/{namespace}/schedules/{name}/suspend suspend-schedule
POST   /namespaces/{namespace}/snapshots create-snapshot
POST   /targets/{name}/leftovers find-leftovers
POST   /targets/{name}/refresh refresh-target
POST   /targets/{name}/remember remember-points
POST   /targets/{name}/test test-target
POST   /upgrade/finish finish-upgrade
POST   /upgrade/prepare prepare-upgrade
`

// TestUnexpected: what nobody thought of is for the log, not for the caller.
func TestUnexpected(t *testing.T) {
	var log strings.Builder
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, Prefix+"/targets", nil)
	r.TLS = certified("bob")
	w := httptest.NewRecorder()
	handler(t, &log).ServeHTTP(w, r)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.NotContains(t, w.Body.String(), "no kind is registered")
	require.Contains(t, w.Body.String(), "see the coordinator's log")
	require.Contains(t, log.String(), "no kind is registered")
}
