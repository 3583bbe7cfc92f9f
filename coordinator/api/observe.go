package api

import (
	"net/http"
	"strings"
	"time"
)

// Recorder is told how the API is used. It must not block.
type Recorder interface {
	// Began counts a request that is worked on until over is called.
	Began() (over func())
	// Answered tells of a request that got its answer. route is an operation's path
	// as the OpenAPI document has it, or RouteNone.
	Answered(route, method string, status int, took time.Duration)
	// Limited tells of a request that one of the limits turned away.
	Limited(limit string)
	// Streaming counts a client of an event stream until over is called.
	Streaming() (over func())
}

// RouteNone stands for all paths that no operation has, MethodNone for methods
// that none takes: what strangers make up must not become labels.
const (
	RouteNone  = "none"
	MethodNone = "other"
)

// Limits that turn requests away, as Recorder.Limited is told of them.
const (
	LimitCaller   = "caller"   // requests a second of one caller
	LimitAddress  = "address"  // requests a second with new credentials from one address
	LimitRequests = "requests" // requests at once
	LimitStreams  = "streams"  // streams in all, or of one caller
	LimitTests    = "tests"    // tests of targets at once
)

// routeOf is the route of a request, found before anything is known of its caller.
func routeOf(mux *http.ServeMux, r *http.Request) (route, method string) {
	method = MethodNone
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete:
		method = r.Method
	}
	_, pattern := mux.Handler(r)
	if _, path, found := strings.Cut(pattern, " "); found {
		return path, method
	}
	return RouteNone, method
}

// unobserved is the Recorder where nobody wants to know.
type unobserved struct{}

func (unobserved) Began() func()                               { return func() {} }
func (unobserved) Answered(string, string, int, time.Duration) {}
func (unobserved) Limited(string)                              {}
func (unobserved) Streaming() func()                           { return func() {} }
