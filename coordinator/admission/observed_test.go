package admission

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"hayloft.dev/coordinator/rules"
)

type answers struct{ err error }

func (a answers) ValidateCreate(context.Context, runtime.Object) (admission.Warnings, error) {
	return admission.Warnings{"slow"}, a.err
}

func (a answers) ValidateUpdate(context.Context, runtime.Object, runtime.Object) (admission.Warnings, error) {
	return nil, a.err
}

func (a answers) ValidateDelete(context.Context, runtime.Object) (admission.Warnings, error) {
	return nil, a.err
}

type told struct {
	kind, operation string
	reasons         []string
}

func (t *told) Answered(kind, operation string, reasons []string, _ time.Duration) {
	*t = told{kind, operation, reasons}
}

func TestEachAnswerIsTold(t *testing.T) {
	several := answer([]rules.Refusal{
		{Reason: rules.TargetNotFound, Sentence: "a"}, {Reason: rules.QuotaExceeded, Sentence: "b"}, {Reason: rules.QuotaExceeded, Sentence: "c"},
	})
	for name, tt := range map[string]struct {
		err  error
		want []string
	}{
		"let in":            {nil, nil},
		"nothing refused":   {answer(nil), nil},
		"refused":           {several, []string{rules.TargetNotFound, rules.QuotaExceeded}},
		"could not be told": {apierrors.NewServiceUnavailable("it could not be checked"), []string{cannotCheck}},
		"anything else":     {errors.New("boom"), []string{cannotCheck}},
	} {
		t.Run(name, func(t *testing.T) {
			var got told
			o := &observed{kind: "VMBackup", by: &got, next: answers{tt.err}}
			warnings, err := o.ValidateCreate(t.Context(), nil)
			require.Equal(t, tt.err, err)
			require.Equal(t, admission.Warnings{"slow"}, warnings)
			require.Equal(t, told{"VMBackup", "create", tt.want}, got)
			_, err = o.ValidateUpdate(t.Context(), nil, nil)
			require.Equal(t, tt.err, err)
			require.Equal(t, told{"VMBackup", "update", tt.want}, got)
			_, err = o.ValidateDelete(t.Context(), nil)
			require.Equal(t, tt.err, err)
			require.Equal(t, told{"VMBackup", "delete", tt.want}, got)
		})
	}
}
