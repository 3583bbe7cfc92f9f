// Package sentence turns errors of the API server and of the way there into
// one sentence that says what is wrong and, where that is known, what to do.
package sentence

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/pkg/denial"
)

// Of is err in words, on one line.
func Of(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return ofStatus(err, status.Status())
	}
	var u *url.Error
	if errors.As(err, &u) {
		return ofConnection(u)
	}
	return denial.OneLine(err.Error())
}

func ofStatus(err error, s metav1.Status) string {
	d := s.Details
	if d == nil {
		d = &metav1.StatusDetails{}
	}
	switch {
	case apierrors.IsInvalid(err) && len(d.Causes) > 0:
		return fmt.Sprintf("%s %q is not accepted: %s", word(d.Kind), d.Name, causes(d.Causes))
	case apierrors.IsAlreadyExists(err):
		return fmt.Sprintf("there is already a %s called %q: choose another name", word(d.Kind), d.Name)
	case apierrors.IsNotFound(err) && d.Name != "":
		return fmt.Sprintf("there is no %s called %q", word(d.Kind), d.Name)
	case apierrors.IsNotFound(err):
		return "the cluster does not know Hayloft's objects (hayloft.dev/v1alpha1): install its CRDs first"
	case apierrors.IsUnauthorized(err):
		return "the API server does not accept these credentials: log in again, or choose another --context"
	}
	said, _ := denial.Sentence(s.Message)
	return said
}

// word is what people call a kind; the API server says the resource or, for
// what it finds invalid, the kind.
func word(kind string) string {
	kind, _, _ = strings.Cut(kind, ".")
	if k, ok := kinds.Find(kind); ok {
		return k.Word
	}
	return strings.TrimSuffix(strings.ToLower(kind), "s")
}

// causes joins what is wrong with each field.
func causes(list []metav1.StatusCause) string {
	var out []string
	for _, f := range denial.Fields(list) {
		message := f.Message
		if f.Path != "" && !strings.Contains(message, f.Path) {
			message = f.Path + ": " + message
		}
		if !slices.Contains(out, message) {
			out = append(out, message)
		}
	}
	return strings.Join(out, "; ")
}

func ofConnection(u *url.Error) string {
	server := u.URL
	if parsed, err := url.Parse(u.URL); err == nil {
		server = parsed.Scheme + "://" + parsed.Host
	}
	why := u.Err
	var op *net.OpError
	switch {
	case errors.Is(u, context.DeadlineExceeded) || u.Timeout():
		return fmt.Sprintf("the API server at %s did not answer in time", server)
	case errors.As(u.Err, &op):
		why = op.Err
	}
	return fmt.Sprintf("the API server at %s cannot be reached: %s", server, denial.OneLine(why.Error()))
}
