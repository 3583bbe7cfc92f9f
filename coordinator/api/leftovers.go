package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/identity"
	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
)

// Leftovers are what nobody needs any more on a target.
type Leftovers struct {
	Pending    bool       `json:"pending" doc:"A look was asked for and has not ended: what is told is of the one before"`
	LookedAt   *time.Time `json:"lookedAt,omitempty"`
	Message    string     `json:"message,omitempty" doc:"Why the look failed, or why nothing was removed"`
	InProgress int64      `json:"inProgress" doc:"Transfers that never ended; those of other clusters may be under way"`
	NoDocument int64      `json:"noDocument" doc:"Backups that no document names"`
	Drafts     int64      `json:"drafts" doc:"Drafts of points that are gone"`
	Removable  int64      `json:"removable" doc:"How many of these may be removed"`
	Removed    int64      `json:"removed" doc:"How many were"`
	Items      []Leftover `json:"items" doc:"The first of them"`
}

// Leftover is one of them.
type Leftover struct {
	Kind    string `json:"kind" enum:"InProgress,NoDocument,Draft"`
	Path    string `json:"path,omitempty" doc:"Of a draft"`
	Volume  string `json:"volume,omitempty"`
	Backup  string `json:"backup,omitempty"`
	Point   string `json:"point,omitempty" doc:"UID of the point that it was made for"`
	Keep    string `json:"keep,omitempty" doc:"Why it is not removed"`
	Removed bool   `json:"removed,omitempty"`
}

func leftoversOf(t *v1alpha1.BackupTarget) Leftovers {
	out := Leftovers{Items: []Leftover{}, Pending: t.Annotations[v1alpha1.AnnotationLeftovers] != ""}
	l := t.Status.Leftovers
	if l == nil {
		return out
	}
	if l.Requested != "" && l.Time != nil && strings.HasPrefix(t.Annotations[v1alpha1.AnnotationLeftovers], l.Requested) {
		out.Pending = false
	}
	out.LookedAt, out.Message = timeOf(l.Time), l.Message
	out.InProgress, out.NoDocument, out.Drafts, out.Removable, out.Removed = l.InProgress, l.NoDocument, l.Drafts, l.Removable, l.Removed
	for _, i := range l.Items {
		out.Items = append(out.Items, Leftover{Kind: i.Kind, Path: i.Path, Volume: i.Volume, Backup: i.Backup, Point: string(i.Point), Keep: i.Keep, Removed: i.Removed})
	}
	return out
}

type leftoversInput struct {
	Object
	IdempotencyKey string `header:"Idempotency-Key" minLength:"1" maxLength:"255" pattern:"^[\\x21-\\x7e]+$" doc:"Repeats of a request with the same key ask once. A key is the caller's own, and counts until somebody asks the same target again."`
	Body           struct {
		Remove bool `json:"remove,omitempty" doc:"Remove those that may be removed"`
	}
}

type leftoversAsked struct {
	Status   int
	Replayed string `header:"Idempotency-Replayed" doc:"true when an earlier request with this key has asked"`
	Body     Leftovers
}

func (s *service) addLeftovers(api huma.API) {
	const path = "/targets/{name}/leftovers"
	huma.Register(api, operation("get-leftovers", http.MethodGet, path, "What the last look for leftovers on a target found", "targets"), func(ctx context.Context, in *Object) (*one[Leftovers], error) {
		var t v1alpha1.BackupTarget
		if err := s.Client.Get(ctx, client.ObjectKey{Name: in.Name}, &t); err != nil {
			return nil, problem.FromCluster(err)
		}
		return &one[Leftovers]{leftoversOf(&t)}, nil
	})
	accepted(api, operation("find-leftovers", http.MethodPost, path, "Have a target looked through for leftovers, and remove them if asked to; needs the right to change it", "targets"), s.findLeftovers)
}

// findLeftovers asks for a look, once for each key.
func (s *service) findLeftovers(ctx context.Context, in *leftoversInput) (*leftoversAsked, error) {
	word := ask.Word(time.Now())
	if in.IdempotencyKey != "" {
		caller, _ := identity.From(ctx)
		word = keyName(caller.Name, in.IdempotencyKey)
		var t v1alpha1.BackupTarget
		if err := s.Client.Get(ctx, client.ObjectKey{Name: in.Name}, &t); err != nil {
			return nil, problem.FromCluster(err)
		}
		switch stands := t.Annotations[v1alpha1.AnnotationLeftovers]; {
		case stands == ask.Leftovers(in.Body.Remove, word)[v1alpha1.AnnotationLeftovers]:
			actOf(ctx).replayed = true
			return &leftoversAsked{Status: http.StatusOK, Replayed: "true", Body: leftoversOf(&t)}, nil
		case strings.HasSuffix(stands, " "+word):
			return nil, problem.New(http.StatusConflict, problem.KeyReused, fmt.Sprintf("this Idempotency-Key was used for another request to target %s: use a new key for a new request", in.Name), "header.Idempotency-Key")
		}
	}
	t, err := ask.Target(ctx, s.Client, in.Name, ask.Leftovers(in.Body.Remove, word))
	if err != nil {
		return nil, problem.FromCluster(err)
	}
	return &leftoversAsked{Status: http.StatusAccepted, Body: leftoversOf(t)}, nil
}
