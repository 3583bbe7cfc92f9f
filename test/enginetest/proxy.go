package enginetest

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
)

// Behind puts a proxy in front of the S3 server and returns the target as
// seen through it. The proxy refuses, as a server that has lost a permission
// does, every request for which refuse is true.
func (s *S3) Behind(refuse func(*http.Request) bool) *Target {
	s.tb.Helper()
	server, err := url.Parse(s.Endpoint)
	if err != nil {
		s.tb.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(server)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse(r) {
			http.Error(w, "refused", http.StatusForbidden)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	s.tb.Cleanup(proxy.Close)
	t := *s.Target
	t.Credential = maps.Clone(t.Credential)
	t.Credential["AWS_ENDPOINTS"] = proxy.URL
	return &t
}
