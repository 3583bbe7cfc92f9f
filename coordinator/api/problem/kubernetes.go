package problem

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/api/identity"
	"hayloft.dev/pkg/denial"
)

// pause is what callers are told to wait when nobody knows better.
const pause = 2 * time.Second

// FromCluster puts what the API server answered into a problem. An error that is
// one already stays as it is.
func FromCluster(err error) error {
	var known huma.StatusError
	var status apierrors.APIStatus
	var network net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.As(err, &status):
		return fromStatus(err, status.Status())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.As(err, &network):
		return Later(http.StatusServiceUnavailable, Unavailable, "the cluster's API server did not answer in time; what was asked for may or may not have been done: try again, with the same Idempotency-Key", pause)
	}
	return err
}

func fromStatus(err error, s metav1.Status) error {
	d := s.Details
	if d == nil {
		d = &metav1.StatusDetails{}
	}
	sentence, by := denial.Sentence(s.Message)
	switch {
	case by == denial.ByPolicy:
		return New(http.StatusForbidden, Forbidden, sentence, Locations(sentence)...)
	case by == denial.ByWebhook && s.Code >= http.StatusInternalServerError:
		return Later(http.StatusServiceUnavailable, Unavailable, sentence, pause)
	case by == denial.ByWebhook:
		return refused(sentence)
	case apierrors.IsInvalid(err):
		return invalid(d.Causes, sentence)
	case apierrors.IsAlreadyExists(err):
		return New(http.StatusConflict, Exists, fmt.Sprintf("there is already one of %s called %q: choose another name", d.Kind, d.Name), "body.name")
	case apierrors.IsNotFound(err) && d.Name != "":
		return New(http.StatusNotFound, NotFound, fmt.Sprintf("there is none of %s called %q", d.Kind, d.Name), "path.name")
	case apierrors.IsForbidden(err):
		if whom := identity.NotAllowed(err); whom != "" {
			return New(http.StatusForbidden, NotEnabled, fmt.Sprintf("the HTTP API may not act for %s: an administrator has to allow it the verb impersonate, as ClusterRole hayloft-api-callers has it, or ask the cluster's API server yourself", whom))
		}
		return New(http.StatusForbidden, Forbidden, strings.TrimSuffix(sentence, ".")+": ask for that right")
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		return New(http.StatusGone, ListChanged, "the list has changed too much since its first page: begin again without continue", "query.continue")
	case apierrors.IsConflict(err):
		return New(http.StatusConflict, Conflict, sentence+": read it again and repeat the request")
	case apierrors.IsBadRequest(err):
		return New(http.StatusBadRequest, Invalid, sentence)
	}
	return Later(http.StatusServiceUnavailable, Unavailable, "the cluster's API server could not do it now: "+sentence, max(pause, time.Duration(d.RetryAfterSeconds)*time.Second))
}

// refused is a rule's sentence. One that names a field is about the request, any
// other about what is there.
func refused(sentence string) error {
	if fields := Locations(sentence); len(fields) > 0 {
		return New(http.StatusUnprocessableEntity, Refused, sentence, fields...)
	}
	return New(http.StatusConflict, Refused, sentence)
}

func invalid(causes []metav1.StatusCause, sentence string) error {
	out := &Document{Type: URN(Invalid), Title: http.StatusText(http.StatusUnprocessableEntity), Status: http.StatusUnprocessableEntity}
	var said []string
	for _, f := range denial.Fields(causes) {
		at := Location(f.Path)
		if in := Locations(f.Message); at == "body" && len(in) > 0 {
			at = in[0]
		}
		out.Errors = append(out.Errors, &huma.ErrorDetail{Message: f.Message, Location: at})
		if f.Path != "" && !strings.Contains(f.Message, f.Path) {
			f.Message = f.Path + ": " + f.Message
		}
		said = append(said, f.Message)
	}
	if out.Detail = strings.Join(said, "; "); out.Detail == "" {
		out.Detail = sentence
	}
	return out
}
