package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/identity"
	"hayloft.dev/coordinator/api/problem"
)

// Times of a stream.
const (
	heartbeat = 15 * time.Second
	// streamLife ends a stream whose object does not end; a client opens another.
	streamLife = 6 * time.Hour
	// watchLife ends a watch, after which the caller's credentials and rights are
	// asked for again: a stream must not outlive them by more.
	watchLife = 2 * time.Minute
	// roundFloor keeps watches that end at once from becoming a loop of requests.
	roundFloor = time.Second
	// eventTimeout is how long a client may take to take an event.
	eventTimeout = 10 * time.Second
	troubleLimit = 5 // rounds in a row that failed
)

// followed is a kind of object that can be followed.
type followed struct {
	empty func() client.Object
	list  func() client.ObjectList
	state func(client.Object) State
}

// events writes a stream.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	guess   estimator
	last    string // the state that was sent last
}

func (e *events) write(text string) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(eventTimeout)); err != nil {
		return fmt.Errorf("bounding the write of an event: %w", err)
	}
	if _, err := e.w.Write([]byte(text)); err != nil {
		return fmt.Errorf("writing an event: %w", err)
	}
	if err := e.control.Flush(); err != nil {
		return fmt.Errorf("writing an event: %w", err)
	}
	// HTTP/2 ends a stream whose deadline passes, whether anything is written or not.
	return e.control.SetWriteDeadline(time.Time{})
}

func (e *events) send(kind string, data any) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encoding an event: %w", err)
	}
	return e.write("event: " + kind + "\ndata: " + string(encoded) + "\n\n")
}

// see sends a state that is new, and the end. It returns true after that.
func (e *events) see(st State) (ended bool, err error) {
	encoded, err := json.Marshal(st)
	if err != nil {
		return false, fmt.Errorf("encoding a state: %w", err)
	}
	if string(encoded) != e.last {
		e.last = string(encoded)
		if err := e.send(eventProgress, e.guess.see(st, time.Now())); err != nil {
			return false, err
		}
	}
	if !st.Ended {
		return false, nil
	}
	return true, e.send(eventEnd, End{Phase: st.Phase, Problem: st.Problem})
}

// follow sends what becomes of an object until it has ended, the caller goes, or
// the caller's right to see it does.
func (s *service) follow(c huma.Context, key client.ObjectKey, first client.Object, k followed) {
	r, w := humago.Unwrap(c)
	ctx, cancel := context.WithTimeout(r.Context(), streamLife)
	defer cancel()
	if ending, ok := r.Context().Value(endingKey{}).(context.Context); ok {
		defer context.AfterFunc(ending, cancel)()
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	out := &events{w: w, control: http.NewResponseController(w)}
	// The time in which a request must have come would end the stream, too.
	_ = out.control.SetReadDeadline(time.Time{})
	o, trouble := first, 0
	for {
		began := time.Now()
		ended, err := s.round(ctx, out, o, k)
		if ended || err != nil || ctx.Err() != nil {
			return // an error is the client's connection's
		}
		if !pauseUntil(ctx, began.Add(roundFloor)) {
			return
		}
		// Whether the credentials still hold, and the right to read.
		if _, err = s.Authenticator.Authenticate(r); err == nil {
			o, err = s.look(ctx, key, k)
		}
		switch {
		case client.IgnoreNotFound(err) == nil && (err != nil || o.GetUID() != first.GetUID()):
			_ = out.send(eventEnd, End{Phase: "Deleted"})
			return
		case err == nil:
			trouble = 0
			continue
		}
		if trouble++; final(err) || trouble > troubleLimit {
			return
		}
		o = nil
	}
}

// final: asking again will not help.
func final(err error) bool {
	if errors.Is(err, identity.ErrRejected) || errors.Is(err, identity.ErrNoCredentials) {
		return true
	}
	return problem.Of(problem.FromCluster(err)).Status < http.StatusInternalServerError
}

// round sends the state of o, then what a watch from there tells, until that
// ends. Without o it only waits.
func (s *service) round(ctx context.Context, out *events, o client.Object, k followed) (ended bool, err error) {
	if o == nil {
		return false, out.write(": waiting for the cluster\n\n")
	}
	if ended, err = out.see(k.state(o)); ended || err != nil {
		return ended, err
	}
	life := int64(watchLife / time.Second)
	w, err := s.Client.Watch(ctx, k.list(), &client.ListOptions{
		Namespace: o.GetNamespace(), FieldSelector: fields.OneTermEqualSelector("metadata.name", o.GetName()),
		Raw: &metav1.ListOptions{ResourceVersion: o.GetResourceVersion(), TimeoutSeconds: &life},
	})
	if err != nil {
		return false, nil // the next round tells whether that passes
	}
	defer w.Stop()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case <-beat.C:
			if err := out.write(": heartbeat\n\n"); err != nil {
				return false, err
			}
		case e, open := <-w.ResultChan():
			now, is := e.Object.(client.Object)
			switch {
			case !open || e.Type == watch.Error || !is:
				return false, nil
			case e.Type == watch.Deleted:
				return true, out.send(eventEnd, End{Phase: "Deleted"})
			case e.Type == watch.Bookmark:
			default:
				if ended, err := out.see(k.state(now)); ended || err != nil {
					return ended, err
				}
			}
		}
	}
}

// pauseUntil is false when ctx ended first.
func pauseUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
