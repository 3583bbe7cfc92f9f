package api

import (
	"errors"
	"net/http"
	"regexp"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"hayloft.dev/coordinator/api/problem"
)

// adaptErrors has huma put failures that nobody thought of into the log instead of
// the answer, since what is in them is not for callers, and name a field that is
// missing as it names others. It sets what huma keeps for the whole process.
var adaptErrors = sync.OnceFunc(func() {
	usual := huma.NewErrorWithContext
	huma.NewErrorWithContext = func(c huma.Context, status int, message string, errs ...error) huma.StatusError {
		if c == nil || status != http.StatusInternalServerError {
			return usual(c, status, message, nameMissing(errs)...)
		}
		err := errors.Join(errs...)
		actOf(c.Context()).cause = err
		return problem.Of(nil)
	}
})

// missing finds the field in what huma says of one that is not there; huma's
// location is then that of what it should be in.
var missing = regexp.MustCompile(`^expected (?:required )?property (\S+) to be present`)

func nameMissing(errs []error) []error {
	out := make([]error, 0, len(errs))
	for _, err := range errs {
		var d *huma.ErrorDetail
		if errors.As(err, &d) {
			if m := missing.FindStringSubmatch(d.Message); m != nil {
				// What it should be in is the request: no need to send it back.
				err = &huma.ErrorDetail{Message: d.Message, Location: d.Location + "." + m[1]}
			}
		}
		out = append(out, err)
	}
	return out
}
