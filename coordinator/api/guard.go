package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hayloft.dev/coordinator/api/identity"
	"hayloft.dev/coordinator/api/problem"
)

// guard is what every request passes: it is bounded, its caller known, its end
// written down when it was to change something.
func (s *service) guard(next *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &act{began: time.Now(), operation: r.Method + " " + r.URL.Path}
		out := &recorder{ResponseWriter: w}
		r = r.WithContext(context.WithValue(r.Context(), actKey{}, a))
		route, method := routeOf(next, r)
		stream := strings.HasSuffix(route, "/progress")
		over := s.Recorder.Began()
		defer func() {
			over()
			s.end(out, r, a, recover())
			took := time.Since(a.began)
			if stream && out.status == http.StatusOK {
				took = 0
			}
			s.Recorder.Answered(route, method, out.status, took)
		}()
		// Beyond the longest work on a request, and replaced by each event of a stream.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(requestTimeout + 10*time.Second))
		if strings.HasPrefix(r.URL.Path, Prefix+"/openapi") {
			next.ServeHTTP(out, r)
			return
		}
		caller, err := s.admit(r)
		if err != nil {
			problem.Write(out, err)
			return
		}
		a.caller = caller
		r = r.WithContext(identity.With(r.Context(), caller))
		if stream {
			next.ServeHTTP(out, r) // bounded by its own limits
			return
		}
		if !s.running.take() {
			s.Recorder.Limited(LimitRequests)
			problem.Write(out, problem.Later(http.StatusServiceUnavailable, problem.Unavailable, fmt.Sprintf("%d requests are being worked on already: try again", atOnce), time.Second))
			return
		}
		defer s.running.give()
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		next.ServeHTTP(out, r.WithContext(ctx))
	})
}

// end writes down how a request ended; panicked is what recover returned.
func (s *service) end(out *recorder, r *http.Request, a *act, panicked any) {
	if panicked != nil && panicked != http.ErrAbortHandler { //nolint:errorlint // a panic's value
		s.Log.Error("a request to the HTTP API failed in an unexpected way", "operation", a.operation, "panic", panicked, "stack", string(debug.Stack()))
		if out.status == 0 {
			problem.Write(out, errors.New("panic"))
		}
	}
	if a.cause != nil {
		s.Log.Error("a request to the HTTP API failed", "operation", a.operation, "error", a.cause)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.audit(r, a, out.status)
	}
}

// admit says who calls, if there is room for a request of that caller.
func (s *service) admit(r *http.Request) (identity.Caller, error) {
	// Each unknown token costs a question to the cluster, so those who show many
	// are slowed down by where they are.
	if !s.Authenticator.Known(r) {
		if wait := s.sources.take(source(r)); wait > 0 {
			s.Recorder.Limited(LimitAddress)
			return identity.Caller{}, problem.Later(http.StatusTooManyRequests, problem.TooMany, "too many requests with new credentials come from your address: try again later", wait)
		}
	}
	caller, err := s.Authenticator.Authenticate(r)
	switch {
	case errors.Is(err, identity.ErrNoCredentials), errors.Is(err, identity.ErrRejected):
		return caller, huma.ErrorWithHeaders(problem.New(http.StatusUnauthorized, problem.Unauthenticated, err.Error()+": send a token of the cluster as Authorization: Bearer"),
			http.Header{"WWW-Authenticate": {`Bearer realm="hayloft"`}})
	case err != nil:
		s.Log.Warn("a caller of the HTTP API could not be told", "error", err)
		return caller, problem.Later(http.StatusServiceUnavailable, problem.Unavailable, "the cluster could not say whose credentials these are: try again", 2*time.Second)
	}
	if wait := s.callers.take(caller.Name); wait > 0 {
		s.Recorder.Limited(LimitCaller)
		return caller, problem.Later(http.StatusTooManyRequests, problem.TooMany, fmt.Sprintf("%s sends more than %g requests a second: slow down", caller.Name, s.Limits.Rate), wait)
	}
	return caller, nil
}

// act is what an audit line tells of a request.
type act struct {
	began     time.Time
	caller    identity.Caller
	operation string
	namespace string
	name      string
	replayed  bool
	cause     error // of a failure that nobody thought of
}

type actKey struct{}

func actOf(ctx context.Context) *act {
	if a, ok := ctx.Value(actKey{}).(*act); ok {
		return a
	}
	return &act{}
}

// noteOperation has the audit line name operations as the OpenAPI document does.
func noteOperation(ctx huma.Context, next func(huma.Context)) {
	a := actOf(ctx.Context())
	a.operation, a.namespace, a.name = ctx.Operation().OperationID, ctx.Param("namespace"), ctx.Param("name")
	next(ctx)
}

// audit writes down who changed what, from where, and what came of it. A
// request's body is not in it, nor anything of its credentials.
func (s *service) audit(r *http.Request, a *act, status int) {
	s.Log.LogAttrs(r.Context(), slog.LevelInfo, "audit",
		slog.String("caller", a.caller.Name), slog.String("operation", a.operation),
		slog.String("namespace", a.namespace), slog.String("name", a.name),
		slog.String("from", r.RemoteAddr), slog.Int("status", status), slog.String("outcome", outcome(status)),
		slog.Bool("repeated", a.replayed), slog.Duration("took", time.Since(a.began)))
}

func outcome(status int) string {
	switch {
	case status == 0:
		return "no answer"
	case status < 400:
		return "done"
	case status < 500:
		return "refused"
	}
	return "failed"
}

// source is the address that a request came from. What a request says of that
// itself is not believed.
func source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// recorder notes an answer's status, and sees to it that no failure goes out
// without a word on when to try again.
type recorder struct {
	http.ResponseWriter
	status int
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		if status >= http.StatusInternalServerError && w.Header().Get("Retry-After") == "" {
			w.Header().Set("Retry-After", "2")
		}
		w.Header().Set("Cache-Control", "no-store")
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// notThere answers for paths and methods that no operation has.
func notThere(mux *http.ServeMux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			try := r.Clone(r.Context())
			try.Method = method
			if _, pattern := mux.Handler(try); pattern != "/" {
				allowed = append(allowed, method)
			}
		}
		if len(allowed) > 0 {
			problem.Write(w, huma.ErrorWithHeaders(problem.New(http.StatusMethodNotAllowed, problem.Invalid, fmt.Sprintf("%s takes %s", r.URL.Path, strings.Join(allowed, ", "))),
				http.Header{"Allow": {strings.Join(allowed, ", ")}}))
			return
		}
		problem.Write(w, problem.New(http.StatusNotFound, problem.NotFound, fmt.Sprintf("there is nothing at %s: see %s/openapi.json", r.URL.Path, Prefix)))
	}
}
