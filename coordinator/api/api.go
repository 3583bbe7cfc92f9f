// Package api is the HTTP API of the coordinator, /api/v1: requests become
// Hayloft's objects, and what these say becomes answers. It is for what cannot
// speak Kubernetes; whoever can loses nothing without it.
//
// Every coordinator serves it, leading or not: all state is in the objects, an
// Idempotency-Key included, which becomes an object's name. It decides nothing.
// The cluster says who calls and, since each request to the API server is made in
// the caller's name, what the caller may do (see identity); rules and webhooks
// refuse here as they do there, with the same sentences (see problem).
package api

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/identity"
	"hayloft.dev/pkg/version"
)

// Prefix of every path.
const Prefix = "/api/v1"

// Bounds of one request.
const (
	maxBody        = 64 << 10
	requestTimeout = 30 * time.Second
	atOnce         = 256 // requests that are worked on, streams apart
)

// Limits bound what callers may ask for, each coordinator by itself.
type Limits struct {
	// Rate is in requests a second and caller, Burst how many at once.
	Rate  float64
	Burst int
	// Streams bounds those of all callers, StreamsEach those of one.
	Streams, StreamsEach int
}

// Options are what the API needs.
type Options struct {
	// Client acts for the caller in a request's context, see identity.NewClient.
	Client client.WithWatch
	// Authenticator says who calls.
	Authenticator *identity.Authenticator
	// Namespace is Hayloft's own, where NodeJobs are.
	Namespace string
	// Prober tries targets out.
	Prober Prober
	Limits Limits
	// Recorder is told how the API is used; nil: nobody is.
	Recorder Recorder
	Log      *slog.Logger
}

type service struct {
	Options
	callers *limiter // by caller
	sources *limiter // by address, of those who are not known yet
	running slots
	tests   slots
	streams *streams
}

// New is the handler of all paths under Prefix.
func New(o Options) (http.Handler, error) {
	h, _, err := build(o)
	return h, err
}

func build(o Options) (http.Handler, huma.API, error) {
	if o.Client == nil || o.Authenticator == nil || o.Prober == nil || o.Log == nil {
		return nil, nil, errors.New("the HTTP API needs a client, an authenticator, a prober and a logger")
	}
	if o.Recorder == nil {
		o.Recorder = unobserved{}
	}
	s := &service{
		Options: o, callers: newLimiter(o.Limits.Rate, o.Limits.Burst), sources: newLimiter(sourceRate, sourceBurst),
		running: make(slots, atOnce), tests: make(slots, testsAtOnce), streams: newStreams(o.Limits.Streams, o.Limits.StreamsEach),
	}
	adaptErrors()
	mux := http.NewServeMux()
	api := humago.New(mux, config())
	api.UseMiddleware(noteOperation)
	for _, add := range []func(huma.API){s.addTriggers, s.addPoints, s.addRestores, s.addSchedules, s.addTargets, s.addLeftovers, s.addForgotten, s.addJobs, s.addProgress, s.addUpgrade} {
		add(api)
	}
	mux.HandleFunc("/", notThere(mux))
	return s.guard(mux), api, nil
}

func config() huma.Config {
	c := huma.DefaultConfig("Hayloft", version.Version)
	c.Info.Description = "Backup, snapshot and restore of KubeVirt virtual machines on Longhorn."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = Prefix+"/openapi", "", ""
	c.CreateHooks = nil // no links to schemas in answers
	c.OnAddOperation = append(c.OnAddOperation, describe)
	c.RejectUnknownQueryParameters = true
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":       {Type: "http", Scheme: "bearer", Description: "A token that the cluster knows, such as a service account's."},
		"certificate": {Type: "mutualTLS", Description: "A client certificate, where the administrator named an authority."},
	}
	c.Security = []map[string][]string{{"token": {}}, {"certificate": {}}}
	return c
}

// operation is what all have in common.
func operation(id, method, path, summary string, tag string) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: Prefix + path, Summary: summary, Tags: []string{tag},
		MaxBodyBytes: maxBody, BodyReadTimeout: requestTimeout,
		Errors: []int{
			http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict,
			http.StatusTooManyRequests, http.StatusServiceUnavailable,
		},
	}
}

// Namespaced is where an object is.
type Namespaced struct {
	Namespace string `path:"namespace" minLength:"1" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" doc:"Namespace of the VM"`
}

// named is which object of a namespace.
type Named struct {
	Namespaced
	Object
}

// Object is which one.
type Object struct {
	Name string `path:"name" minLength:"1" maxLength:"253" pattern:"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" doc:"Name of the object"`
}

func (n Named) key() client.ObjectKey { return client.ObjectKey{Namespace: n.Namespace, Name: n.Name} }

// Page is which part of a list.
type Page struct {
	Limit    int64  `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"Most objects in one answer"`
	Continue string `query:"continue" maxLength:"4096" doc:"What the page before gave"`
}

// list is one page of objects.
type list[T any] struct {
	Items    []T    `json:"items"`
	Continue string `json:"continue,omitempty" doc:"Set while there is more: give it with the next request"`
}

type listed[T any] struct{ Body list[T] }

type one[T any] struct{ Body T }

// of is a page of what the API server listed.
func of[O, T any](items []O, more string, view func(*O) T) *listed[T] {
	out := &listed[T]{Body: list[T]{Items: []T{}, Continue: more}}
	for i := range items {
		out.Body.Items = append(out.Body.Items, view(&items[i]))
	}
	return out
}

func (p Page) options(namespace string, labels client.MatchingLabels) []client.ListOption {
	options := []client.ListOption{client.InNamespace(namespace), client.Limit(p.Limit), client.Continue(p.Continue)}
	if len(labels) > 0 {
		options = append(options, labels)
	}
	return options
}
