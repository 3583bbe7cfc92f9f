// Package problem puts what went wrong into problem documents (RFC 9457): the
// sentence that Hayloft or the API server said of it, the field that it is about,
// and when to try again.
package problem

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Document is a problem document.
type Document = huma.ErrorModel

// Types of problems, the last part of the URN in a document.
const (
	Unauthenticated = "unauthenticated"
	Forbidden       = "forbidden"      // the caller may not
	NotEnabled      = "caller-unknown" // the coordinator may not act for the caller
	NotFound        = "not-found"
	Exists          = "already-exists"
	Invalid         = "invalid"
	Refused         = "refused" // a rule of Hayloft's, or of an admission webhook
	Conflict        = "conflict"
	KeyReused       = "idempotency-key-reused"
	ListChanged     = "list-changed"
	TooMany         = "too-many-requests"
	Unavailable     = "unavailable"
)

// URN is how a document names a type.
func URN(kind string) string { return "urn:hayloft:problem:" + kind }

// New is a problem; fields are where it is, such as "body.vm".
func New(status int, kind, detail string, fields ...string) error {
	d := &Document{Type: URN(kind), Title: http.StatusText(status), Status: status, Detail: detail}
	for _, f := range fields {
		d.Errors = append(d.Errors, &huma.ErrorDetail{Message: detail, Location: f})
	}
	return d
}

// Later is a problem that may be gone after a pause.
func Later(status int, kind, detail string, pause time.Duration) error {
	return huma.ErrorWithHeaders(New(status, kind, detail), http.Header{"Retry-After": {Seconds(pause)}})
}

// Seconds is a pause as Retry-After has it: whole, at least one.
func Seconds(pause time.Duration) string {
	return strconv.Itoa(max(1, int((pause+time.Second-1)/time.Second)))
}

// Of is the document in an error; any other is one that nobody thought of.
func Of(err error) *Document {
	var d *Document
	if errors.As(err, &d) {
		return d
	}
	return &Document{Type: URN(Unavailable), Title: http.StatusText(http.StatusInternalServerError), Status: http.StatusInternalServerError, Detail: "something went wrong here: see the coordinator's log"}
}

// Write answers a request that no operation answers.
func Write(w http.ResponseWriter, err error) {
	d := Of(err)
	var h huma.HeadersError
	if errors.As(err, &h) {
		for name, values := range h.GetHeaders() {
			w.Header()[name] = values
		}
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(d.Status)
	_ = json.NewEncoder(w).Encode(d) // a caller that went away needs no answer
}

// named finds the fields of an object in a sentence.
var named = regexp.MustCompile(`\b(?:spec(?:\.[a-zA-Z]+|\[[^\]]*\])+|metadata\.(?:namespace|name))`)

// Locations are the fields that a sentence names, as they are in a request: the
// body has an object's spec.
func Locations(sentence string) []string {
	var out []string
	for _, f := range named.FindAllString(sentence, -1) {
		f = Location(f)
		if len(out) == 0 || out[len(out)-1] != f {
			out = append(out, f)
		}
	}
	return out
}

// Location is where an object's field is in a request; "" for the whole object.
func Location(field string) string {
	switch {
	case field == "metadata.namespace":
		return "path.namespace"
	case field == "metadata.name":
		return "body.name"
	case field == "" || field == "spec":
		return "body"
	}
	return "body." + strings.TrimPrefix(field, "spec.")
}
