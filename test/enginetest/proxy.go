package enginetest

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
)

// Behind puts a proxy in front of the S3 server and returns the target as
// seen through it. The proxy refuses, as a server that has lost a permission
// does, every request for which refuse is true.
func (s *S3) Behind(refuse func(*http.Request) bool) *Target {
	s.tb.Helper()
	return s.through(refuse, nil)
}

// Unanswered is the target as seen through a proxy that keeps back the answers for
// which keep is true, until the caller goes away: what was asked for is done by then.
func (s *S3) Unanswered(keep func(*http.Request) bool) *Target {
	s.tb.Helper()
	over := make(chan struct{})
	target := s.through(func(*http.Request) bool { return false }, func(answer *http.Response) error {
		if keep(answer.Request) {
			select {
			case <-over:
			case <-answer.Request.Context().Done():
			}
		}
		return nil
	})
	s.tb.Cleanup(func() { close(over) }) // the proxy waits for its requests when it is closed
	return target
}

func (s *S3) through(refuse func(*http.Request) bool, answered func(*http.Response) error) *Target {
	s.tb.Helper()
	server, err := url.Parse(s.Endpoint)
	if err != nil {
		s.tb.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(server)
	forward.ModifyResponse = answered
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

// Standing is the target as seen through a proxy that answers the first n requests
// of a method for blocks of data, and no more: what is moved stands still there,
// however fast the machine is. held tells how many requests stand.
func (s *S3) Standing(method string, n int64) (target *Target, held func() int64) {
	s.tb.Helper()
	var seen atomic.Int64
	over := make(chan struct{})
	target = s.Behind(func(r *http.Request) bool {
		if r.Method != method || !strings.Contains(r.URL.Path, "/blocks/") || seen.Add(1) <= n {
			return false
		}
		select {
		case <-over:
		case <-r.Context().Done():
		}
		return true
	})
	s.tb.Cleanup(func() { close(over) }) // the proxy waits for its requests when it is closed
	return target, func() int64 { return max(0, seen.Load()-n) }
}
