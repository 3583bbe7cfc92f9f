package denial

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSentence(t *testing.T) {
	for name, c := range map[string]struct {
		message, want string
		by            By
	}{
		"webhook": {`admission webhook "vmbackups.hayloft.dev" denied the request: there is no VM "x": name one`, `there is no VM "x": name one`, ByWebhook},
		"policy": {
			`vmbackups.hayloft.dev "b" is forbidden: ValidatingAdmissionPolicy 'vmbackups.hayloft.dev' with binding 'vmbackups.hayloft.dev' denied request: spec.vm: you may not`,
			"spec.vm: you may not", ByPolicy,
		},
		"RBAC":       {`vmbackups.hayloft.dev is forbidden: User "x" cannot create`, `vmbackups.hayloft.dev is forbidden: User "x" cannot create`, ByNobody},
		"many lines": {"a\n  b", "a b", ByNobody},
	} {
		t.Run(name, func(t *testing.T) {
			got, by := Sentence(c.message)
			require.Equal(t, c.want, got)
			require.Equal(t, c.by, by)
		})
	}
}

func TestFields(t *testing.T) {
	require.Equal(t, []Field{
		{"spec", "exactly one of spec.newVM, spec.replace and spec.diskClaim must be set"},
		{"", "metadata.name must be at most 63 characters"},
		{"spec.quiesce.deadlineSeconds", "Invalid value: 99: should be less than or equal to 60"},
	}, Fields([]metav1.StatusCause{
		{Field: "spec", Message: `Invalid value: "object": exactly one of spec.newVM, spec.replace and spec.diskClaim must be set`},
		{Field: "spec", Message: `Invalid value: {"backup":"b"}: exactly one of spec.newVM, spec.replace and spec.diskClaim must be set`},
		{Field: "<nil>", Message: "Invalid value: object: metadata.name must be at most 63 characters"},
		{Field: "spec.quiesce.deadlineSeconds", Message: "Invalid value: 99: should be less\nthan or equal to 60"},
		{Field: "<nil>", Message: "Invalid value: null: some validation rules were not checked because the object was invalid"},
	}))
}
