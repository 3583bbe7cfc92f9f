// Package sentence turns errors of the API server and of the way there into
// one sentence that says what is wrong and, where that is known, what to do.
package sentence

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/cli/internal/kinds"
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
	return oneLine(err.Error())
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
	return oneLine(admission.ReplaceAllString(s.Message, ""))
}

// admission is what the API server puts before the sentence of a webhook or of a
// policy.
var admission = regexp.MustCompile(`(?s)^.*?(admission webhook "[^"]*" denied the request|ValidatingAdmissionPolicy '[^']*' with binding '[^']*' denied request): `)

// word is what people call a kind; the API server says the resource or, for
// what it finds invalid, the kind.
func word(kind string) string {
	kind, _, _ = strings.Cut(kind, ".")
	if k, ok := kinds.Find(kind); ok {
		return k.Word
	}
	return strings.TrimSuffix(strings.ToLower(kind), "s")
}

// causes joins what is wrong with each field. Rules about a whole object come
// with the object's value in front, which helps nobody.
func causes(list []metav1.StatusCause) string {
	var out []string
	seen := map[string]bool{}
	for _, c := range list {
		message := objectValue.ReplaceAllString(c.Message, "")
		if c.Field != "" && c.Field != "<nil>" && !strings.Contains(message, c.Field) {
			message = c.Field + ": " + message
		}
		// The API server repeats a field's other rules as "checks were not run".
		if strings.Contains(message, "some validation rules were not checked") || seen[message] {
			continue
		}
		seen[message] = true
		out = append(out, oneLine(message))
	}
	return strings.Join(out, "; ")
}

// objectValue is the value that the API server quotes when it is an object.
var objectValue = regexp.MustCompile(`^Invalid value: "?(object|\{[^\n]*\})"?: `)

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
	return fmt.Sprintf("the API server at %s cannot be reached: %s", server, oneLine(why.Error()))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
