// Package ask asks the coordinators for work on a BackupTarget: by an annotation
// with a value that they have not answered yet, which whoever may change the target
// may write. The answers are in the target's status. It does not wait for them.
package ask

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Request is what is asked for: annotation -> value.
type Request map[string]string

// Word makes a request another one than those before it.
func Word(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// Refresh has the target looked through for points.
func Refresh(word string) Request { return Request{v1alpha1.AnnotationRefresh: word} }

// Test has the target tried out.
func Test(word string) Request { return Request{v1alpha1.AnnotationTest: word} }

// Leftovers has the target looked through for what nobody needs any more, and
// removes what may be removed where that is asked for.
func Leftovers(remove bool, word string) Request {
	what := v1alpha1.LeftoversList
	if remove {
		what = v1alpha1.LeftoversRemove
	}
	return Request{v1alpha1.AnnotationLeftovers: what + " " + word}
}

// Remember has points found again that were deleted with their data kept, by UIDs
// and NAMESPACE/NAME, or v1alpha1.RememberAll; and the target looked through, which
// finds them.
func Remember(which []string, word string) Request {
	// Their names have neither commas nor spaces.
	return Request{v1alpha1.AnnotationRemember: strings.Join(which, ",") + " " + word, v1alpha1.AnnotationRefresh: word}
}

// Target asks. What it returns is the target as it was when the request was
// written; an error is the API server's.
func Target(ctx context.Context, c client.Writer, name string, r Request) (*v1alpha1.BackupTarget, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": r}})
	if err != nil {
		return nil, fmt.Errorf("preparing a request to target %s: %w", name, err)
	}
	t := &v1alpha1.BackupTarget{}
	t.Name = name
	return t, c.Patch(ctx, t, client.RawPatch(types.MergePatchType, patch))
}
