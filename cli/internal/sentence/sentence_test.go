package sentence_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"hayloft.dev/cli/internal/sentence"
)

func TestOf(t *testing.T) {
	backups := schema.GroupResource{Group: "hayloft.dev", Resource: "vmbackups"}
	refused := &url.Error{Op: "Get", URL: "https://10.0.0.1:6443/apis/x?y", Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connect: connection refused")}}
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"not found", apierrors.NewNotFound(backups, "web"), `there is no backup called "web"`},
		{"wrapped", fmt.Errorf("reading backup web: %w", apierrors.NewNotFound(backups, "web")), `there is no backup called "web"`},
		{"taken", apierrors.NewAlreadyExists(backups, "web"), `there is already a backup called "web": choose another name`},
		{
			"no such API", &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonNotFound, Code: 404, Message: "the server could not find the requested resource"}},
			"the cluster does not know Hayloft's objects (hayloft.dev/v1alpha1): install its CRDs first",
		},
		{
			"invalid, two fields", apierrors.NewInvalid(schema.GroupKind{Kind: "VMRestore"}, "r", field.ErrorList{
				field.Invalid(field.NewPath("spec", "newVM"), "A", "should be a DNS label"),
				field.Invalid(field.NewPath("spec"), map[string]any{"a": 1}, "spec is immutable:\n  create another"),
			}),
			`restore "r" is not accepted: spec.newVM: Invalid value: "A": should be a DNS label; spec is immutable: create another`,
		},
		{"unauthorized", apierrors.NewUnauthorized("no"), "the API server does not accept these credentials: log in again, or choose another --context"},
		{"forbidden", apierrors.NewForbidden(backups, "web", errors.New("not yours")), `vmbackups.hayloft.dev "web" is forbidden: not yours`},
		{
			"denied by the webhook", &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonForbidden, Code: 403, Message: `admission webhook "vmbackups.hayloft.dev" denied the request: there is no such VM (spec.vm): name another`}},
			"there is no such VM (spec.vm): name another",
		},
		{
			"denied by a policy", apierrors.NewForbidden(backups, "web", errors.New(`ValidatingAdmissionPolicy 'vmbackups.hayloft.dev' with binding 'vmbackups.hayloft.dev' denied request: spec.target: you may not use it`)),
			"spec.target: you may not use it",
		},
		{"refused", refused, "the API server at https://10.0.0.1:6443 cannot be reached: connect: connection refused"},
		{"silence", &url.Error{Op: "Get", URL: "https://h/x", Err: context.DeadlineExceeded}, "the API server at https://h did not answer in time"},
		{"anything else", errors.New("two\n lines"), "two lines"},
	} {
		t.Run(tc.name, func(t *testing.T) { assert.Equal(t, tc.want, sentence.Of(tc.err)) })
	}
}
