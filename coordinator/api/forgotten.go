package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
	"hayloft.dev/pkg/forgotten"
)

// Forgotten is a point that was deleted in this cluster with its data kept.
type Forgotten struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	UID       string     `json:"uid" doc:"That it had where it was taken"`
	Reason    string     `json:"reason,omitempty"`
	DeletedAt *time.Time `json:"deletedAt,omitempty"`
}

type rememberInput struct {
	Object
	Body struct {
		Points []string `json:"points,omitempty" minItems:"1" maxItems:"100" doc:"NAMESPACE/NAME, or the UIDs that they had where they were taken"`
		All    bool     `json:"all,omitempty" doc:"Every point that is forgotten, in place of points"`
	}
}

// Resolve checks what no schema can.
func (in *rememberInput) Resolve(huma.Context) []error {
	var errs []error
	if in.Body.All == (len(in.Body.Points) > 0) {
		errs = append(errs, &huma.ErrorDetail{Message: "exactly one of points and all must be set", Location: "body.points"})
	}
	for _, p := range in.Body.Points {
		if !forgotten.IsName(p) {
			errs = append(errs, &huma.ErrorDetail{Message: "it is neither NAMESPACE/NAME nor a UID", Location: "body.points", Value: p})
		}
	}
	return errs
}

func (s *service) addForgotten(api huma.API) {
	huma.Register(api, operation("list-forgotten", http.MethodGet, "/targets/{name}/forgotten", "List the points on a target that were deleted here with their data kept", "targets"), func(ctx context.Context, in *Object) (*listed[Forgotten], error) {
		points, err := forgotten.List(ctx, s.Client, s.Namespace, in.Name)
		if err != nil {
			return nil, problem.FromCluster(err)
		}
		return of(points, "", func(p *forgotten.Point) Forgotten {
			out := Forgotten{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Reason: p.Reason}
			if !p.At.IsZero() {
				out.DeletedAt = &p.At
			}
			return out
		}), nil
	})
	accepted(api, operation("remember-points", http.MethodPost, "/targets/{name}/remember", "Have such points found again; needs the right to change the target", "targets"), func(ctx context.Context, in *rememberInput) (*one[Target], error) {
		which := in.Body.Points
		if in.Body.All {
			which = []string{v1alpha1.RememberAll}
		}
		return s.askTarget(ctx, in.Name, ask.Remember(which, ask.Word(time.Now())))
	})
}
