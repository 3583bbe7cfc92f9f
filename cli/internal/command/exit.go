package command

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"hayloft.dev/cli/internal/sentence"
)

// Exit codes. They are documented in the help text of the root command and in
// docs/cli.md.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitTimeout     = 3
	exitUnchecked   = 4
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// errTimeout is the cause of a context whose --timeout passed.
var errTimeout = errors.New("--timeout passed")

// exit prints err, unless that was done, and chooses the code.
func (a *app) exit(ctx context.Context, err error) int {
	var wrong usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errFailed):
		return exitFailed
	case errors.Is(err, errUnchecked):
		return exitUnchecked
	case errors.As(err, &wrong):
		a.complain(wrong.sentence)
		return exitUsage
	case errors.Is(err, errTimeout):
		a.complain(err.Error())
		return exitTimeout
	case ctx.Err() != nil:
		a.complain("interrupted; what was begun goes on")
		return exitInterrupted
	}
	a.complain(sentence.Of(err))
	if apierrors.IsInvalid(err) {
		return exitUsage
	}
	return exitFailed
}

func (a *app) complain(s string) {
	fmt.Fprintf(a.Err, "Error: %s\n", s)
}
