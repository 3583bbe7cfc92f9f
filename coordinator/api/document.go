package api

import (
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// describe adds to an operation of the OpenAPI document the answers that cannot be
// taken from the code: those that do not come from the operation itself, those with
// another status than the usual one, and when a request can be repeated.
func describe(_ *huma.OpenAPI, op *huma.Operation) {
	problems := op.Responses[strconv.Itoa(http.StatusBadRequest)].Content
	also := func(statuses ...int) {
		for _, status := range statuses {
			op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: problems}
		}
	}
	also(http.StatusUnprocessableEntity) // also of a parameter that none has
	if op.RequestBody != nil {
		also(http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	for _, p := range op.Parameters {
		switch {
		case p.In == "query" && p.Name == "continue":
			also(http.StatusGone)
		case p.In == "header" && p.Name == "Idempotency-Key":
			first := *op.Responses[strconv.Itoa(op.DefaultStatus)]
			first.Description = "As for the first request with this key, which was this one"
			op.Responses[strconv.Itoa(http.StatusOK)] = &first
		}
	}
	for status, r := range op.Responses {
		switch {
		case status == strconv.Itoa(http.StatusTooManyRequests), status[0] == '5':
			header(r, "Retry-After", "integer", "Seconds after which to repeat the request, with the same Idempotency-Key")
		case status == strconv.Itoa(http.StatusUnauthorized):
			header(r, "WWW-Authenticate", "string", "What kind of credentials to send")
		}
	}
}

// header says that an answer has one.
func header(r *huma.Response, name, kind, what string) {
	r.Headers = map[string]*huma.Param{name: {Description: what, Schema: &huma.Schema{Type: kind}}}
}
