// Package denial takes apart what the API server says when it does not take an
// object: the sentence of a webhook or of a policy out of what is put before it,
// and the fields of a schema. How it is told to whom is for the programs. It is
// pure.
package denial

import (
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// By is who denied a request.
type By int

// Those who deny requests with sentences of their own.
const (
	ByNobody  By = iota // the API server itself
	ByWebhook           // an admission webhook
	ByPolicy            // a ValidatingAdmissionPolicy
)

var (
	webhook = regexp.MustCompile(`(?s)^.*?admission webhook "[^"]*" denied the request: `)
	policy  = regexp.MustCompile(`(?s)^.*?ValidatingAdmissionPolicy '[^']*' with binding '[^']*' denied request: `)
)

// Sentence is an error's message without what the API server puts before the
// sentence of a webhook or of a policy, on one line, and who said it.
func Sentence(message string) (string, By) {
	for by, prefix := range map[By]*regexp.Regexp{ByWebhook: webhook, ByPolicy: policy} {
		if place := prefix.FindStringIndex(message); place != nil {
			return OneLine(message[place[1]:]), by
		}
	}
	return OneLine(message), ByNobody
}

// Field is what is wrong with one field of an object.
type Field struct {
	// Path is such as "spec.quiesce.deadlineSeconds"; "" for a rule about the
	// whole object.
	Path string
	// Message names the field where Path does not.
	Message string
}

// Fields are the causes of an error of reason Invalid, each once. Rules about a
// whole object come with the object's value in front, which helps nobody.
func Fields(causes []metav1.StatusCause) []Field {
	var out []Field
	seen := map[Field]bool{}
	for _, c := range causes {
		f := Field{Path: c.Field, Message: OneLine(objectValue.ReplaceAllString(c.Message, ""))}
		if f.Path == "<nil>" {
			f.Path = ""
		}
		// The API server repeats a field's other rules as "checks were not run".
		if strings.Contains(f.Message, "some validation rules were not checked") || seen[f] {
			continue
		}
		seen[f] = true
		out = append(out, f)
	}
	return out
}

// objectValue is the value that the API server quotes when it is an object.
var objectValue = regexp.MustCompile(`^Invalid value: "?(object|\{[^\n]*\})"?: `)

// OneLine is a text with its lines joined.
func OneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
