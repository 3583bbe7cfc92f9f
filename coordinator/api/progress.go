package api

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/identity"
	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/rate"
	"hayloft.dev/pkg/status"
)

// Progress is an event of a stream.
type Progress struct {
	State
	BytesPerSecond float64  `json:"bytesPerSecond,omitempty" doc:"Over the last half minute"`
	SecondsLeft    *float64 `json:"secondsLeft,omitempty" doc:"Left out when it is not known"`
}

// End is the last event of a stream.
type End struct {
	Phase   string            `json:"phase" doc:"Ready, Failed and the like; Deleted when the object is gone"`
	Problem *problem.Document `json:"problem,omitempty"`
}

// Kinds of events.
const (
	eventProgress = "progress"
	eventEnd      = "end"
)

func (s *service) addProgress(api huma.API) {
	add := func(id, path, summary, tag string, o followed) {
		op := operation(id, http.MethodGet, "/namespaces/{namespace}/"+path+"/{name}/progress", summary, tag)
		op.Description = "A stream of server-sent events, with data as JSON: progress whenever something changed, end when the object has ended or is gone. Lines that begin with a colon show that the connection lives."
		op.Responses = map[string]*huma.Response{"200": {Description: "The stream", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: eventSchema(api)}}}}
		huma.Register(api, op, func(ctx context.Context, in *Named) (*huma.StreamResponse, error) {
			return s.progress(ctx, in.key(), o)
		})
	}
	add("watch-point", "points", "Follow a point until it has ended", "points", followed{
		empty: func() client.Object { return &v1alpha1.VMBackup{} }, list: func() client.ObjectList { return &v1alpha1.VMBackupList{} },
		state: func(o client.Object) State {
			b := o.(*v1alpha1.VMBackup)
			return stateOf(status.OfBackup(b), b.Status.Conditions)
		},
	})
	add("watch-restore", "restores", "Follow a restore until it has ended", "restores", followed{
		empty: func() client.Object { return &v1alpha1.VMRestore{} }, list: func() client.ObjectList { return &v1alpha1.VMRestoreList{} },
		state: func(o client.Object) State {
			r := o.(*v1alpha1.VMRestore)
			return stateOf(status.OfRestore(r), r.Status.Conditions)
		},
	})
}

// eventSchema are the events' data.
func eventSchema(api huma.API) *huma.Schema {
	schemas := api.OpenAPI().Components.Schemas
	return &huma.Schema{OneOf: []*huma.Schema{
		schemas.Schema(reflect.TypeFor[Progress](), true, "Progress"), schemas.Schema(reflect.TypeFor[End](), true, "End"),
	}}
}

// progress opens a stream, or says why it does not.
func (s *service) progress(ctx context.Context, key client.ObjectKey, k followed) (*huma.StreamResponse, error) {
	caller, _ := identity.From(ctx)
	done, ok := s.streams.open(caller.Name)
	if !ok {
		s.Recorder.Limited(LimitStreams)
		return nil, problem.Later(http.StatusTooManyRequests, problem.TooMany, "too many progress streams are open: end one, or ask for the object now and then", 10*time.Second)
	}
	first, err := s.look(ctx, key, k)
	if err != nil {
		done()
		return nil, problem.FromCluster(err)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer done()
		defer s.Recorder.Streaming()()
		s.follow(c, key, first, k)
	}}, nil
}

// look reads the object of a stream, which has no deadline of its own.
func (s *service) look(ctx context.Context, key client.ObjectKey, k followed) (client.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	o := k.empty()
	return o, s.Client.Get(ctx, key, o)
}

// estimator adds to states how fast they change.
type estimator struct{ samples []rate.Sample }

func (e *estimator) see(st State, now time.Time) Progress {
	e.samples = rate.Keep(e.samples, rate.Sample{At: now, Done: st.BytesDone})
	out := Progress{State: st}
	if st.Ended {
		return out
	}
	guess := rate.Of(e.samples, st.BytesTotal, now)
	out.BytesPerSecond = guess.PerSecond
	if guess.Known {
		left := guess.Left.Seconds()
		out.SecondsLeft = &left
	}
	return out
}
