package problem

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func status(code int32, reason metav1.StatusReason, message string, causes ...metav1.StatusCause) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message, Details: &metav1.StatusDetails{Causes: causes},
	}}
}

func TestFromCluster(t *testing.T) {
	points := schema.GroupResource{Group: "hayloft.dev", Resource: "vmbackups"}
	for name, c := range map[string]struct {
		err    error
		status int
		kind   string
		detail string
		at     []string
		later  bool
	}{
		"webhook, about a field": {
			status(403, metav1.StatusReasonForbidden, `admission webhook "vmbackups.hayloft.dev" denied the request: there is no VirtualMachine "x" in namespace shop (spec.vm): name one that exists`),
			422, Refused, `there is no VirtualMachine "x" in namespace shop (spec.vm): name one that exists`,
			[]string{"body.vm"},
			false,
		},
		"webhook, about what is there": {
			status(403, metav1.StatusReasonForbidden, `admission webhook "vmbackups.hayloft.dev" denied the request: VMBackup p is being read by VMRestore r: wait`),
			409, Refused, "VMBackup p is being read by VMRestore r: wait", nil, false,
		},
		"webhook that could not tell": {
			status(503, metav1.StatusReasonServiceUnavailable, `admission webhook "vmbackups.hayloft.dev" denied the request: it could not be checked: try again`),
			503, Unavailable, "it could not be checked: try again", nil, true,
		},
		"no webhook": {
			status(500, metav1.StatusReasonInternalError, `Internal error occurred: failed calling webhook "vmbackups.hayloft.dev"`),
			503, Unavailable, "failed calling webhook", nil, true,
		},
		"policy": {
			status(403, metav1.StatusReasonForbidden, `vmrestores.hayloft.dev "r" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: spec.replace.vm: you may not update VirtualMachine web`),
			403, Forbidden, "spec.replace.vm: you may not update VirtualMachine web",
			[]string{"body.replace.vm"},
			false,
		},
		"role": {
			apierrors.NewForbidden(points, "", errors.New(`User "u" cannot create resource`)), 403, Forbidden, "cannot create resource: ask for that right", nil, false,
		},
		"nobody to act for": {
			status(403, metav1.StatusReasonForbidden, `serviceaccounts "ci" is forbidden: User "c" cannot impersonate resource "serviceaccounts" in API group ""`),
			403, NotEnabled, "may not act for serviceaccounts ci", nil, false,
		},
		"schema": {
			status(422, metav1.StatusReasonInvalid, "invalid", metav1.StatusCause{Field: "spec.quiesce.deadlineSeconds", Message: "Invalid value: 99: should be less than or equal to 60"},
				metav1.StatusCause{Field: "spec", Message: `Invalid value: "object": spec.includeDisks and spec.excludeDisks exclude each other`}),
			422, Invalid, "spec.quiesce.deadlineSeconds: Invalid value: 99: should be less than or equal to 60; spec.includeDisks and spec.excludeDisks exclude each other",
			[]string{"body.quiesce.deadlineSeconds", "body.includeDisks"},
			false,
		},
		"taken":      {apierrors.NewAlreadyExists(points, "p"), 409, Exists, `"p"`, []string{"body.name"}, false},
		"not there":  {apierrors.NewNotFound(points, "p"), 404, NotFound, `"p"`, []string{"path.name"}, false},
		"old page":   {apierrors.NewResourceExpired("too old"), 410, ListChanged, "begin again", []string{"query.continue"}, false},
		"throttled":  {apierrors.NewTooManyRequests("slow", 7), 503, Unavailable, "slow", nil, true},
		"own token":  {apierrors.NewUnauthorized("no"), 503, Unavailable, "no", nil, true},
		"no answer":  {fmt.Errorf("creating: %w", context.DeadlineExceeded), 503, Unavailable, "same Idempotency-Key", nil, true},
		"a problem":  {New(409, KeyReused, "d", "header.Idempotency-Key"), 409, KeyReused, "d", []string{"header.Idempotency-Key"}, false},
		"unexpected": {errors.New("secret"), 500, Unavailable, "see the coordinator's log", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := FromCluster(c.err)
			d := Of(err)
			require.Equal(t, c.status, d.Status)
			require.Equal(t, URN(c.kind), d.Type)
			require.Contains(t, d.Detail, c.detail)
			require.NotContains(t, d.Detail, "secret")
			var at []string
			for _, e := range d.Errors {
				at = append(at, e.Location)
			}
			require.Equal(t, c.at, at)
			var h huma.HeadersError
			require.Equal(t, c.later, errors.As(err, &h) && h.GetHeaders().Get("Retry-After") != "")
		})
	}
	require.NoError(t, FromCluster(nil))
	var h huma.HeadersError
	require.ErrorAs(t, FromCluster(apierrors.NewTooManyRequests("slow", 7)), &h)
	require.Equal(t, "7", h.GetHeaders().Get("Retry-After"))
}

func TestLocations(t *testing.T) {
	require.Equal(t, []string{"body.replace.volumes", "body.replace.deleteSnapshots"}, Locations("spec.replace.volumes is Delete: name them in spec.replace.deleteSnapshots, or use Retain"))
	require.Equal(t, []string{"body.storageClasses[fast]"}, Locations("spec.storageClasses[fast]: there is no StorageClass x"))
	require.Equal(t, []string{"path.namespace"}, Locations("metadata.namespace: you may not"))
	require.Empty(t, Locations("disk root is on NFS"))
}

func TestSeconds(t *testing.T) {
	for want, d := range map[string]time.Duration{"1": time.Millisecond, "2": 1500 * time.Millisecond, "30": 30 * time.Second} {
		require.Equal(t, want, Seconds(d))
	}
}
