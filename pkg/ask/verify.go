package ask

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Verify asks whether a point is whole on its target.
func Verify(allBlocks bool, word string) Request {
	what := v1alpha1.VerifyBackups
	if allBlocks {
		what = v1alpha1.VerifyBlocks
	}
	return Request{v1alpha1.AnnotationVerify: what + " " + word}
}

// Point puts a request on a VMBackup.
func Point(ctx context.Context, c client.Writer, namespace, name string, r Request) (*v1alpha1.VMBackup, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": r}})
	if err != nil {
		return nil, fmt.Errorf("preparing a request to VMBackup %s/%s: %w", namespace, name, err)
	}
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = namespace, name
	return b, c.Patch(ctx, b, client.RawPatch(types.MergePatchType, patch))
}

// Asked is a verification that was asked for.
type Asked struct {
	// Word is the whole request, which the answer repeats; "": there is none.
	Word      string
	AllBlocks bool
	// Open: it has no answer yet.
	Open bool
	// Wrong says what is wrong with the request, "" for nothing.
	Wrong string
}

// maxWord is how long a request may be.
const maxWord = 128

// Verification is what was asked of a point.
func Verification(b *v1alpha1.VMBackup) Asked {
	word := b.Annotations[v1alpha1.AnnotationVerify]
	if word == "" {
		return Asked{}
	}
	out := Asked{}
	what, _, _ := strings.Cut(word, " ")
	switch {
	case len(word) > maxWord:
		out.Wrong = fmt.Sprintf("annotation %s is longer than %d bytes", v1alpha1.AnnotationVerify, maxWord)
		word = strings.ToValidUTF8(word[:maxWord], "")
	case what != v1alpha1.VerifyBackups && what != v1alpha1.VerifyBlocks:
		out.Wrong = fmt.Sprintf("annotation %s must begin with %s or %s", v1alpha1.AnnotationVerify, v1alpha1.VerifyBackups, v1alpha1.VerifyBlocks)
	}
	out.Word, out.AllBlocks = word, what == v1alpha1.VerifyBlocks
	v := b.Status.Verification
	out.Open = v == nil || v.Requested != word || v.EndedAt == nil
	return out
}
