package condition_test

import (
	"testing"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"

	"hayloft.dev/deploy/local/longhorn/condition"
)

func TestSet(t *testing.T) {
	old := []lh.Condition{
		{Type: "A", Status: lh.ConditionStatusTrue, LastTransitionTime: "then"},
		{Type: "B", Status: lh.ConditionStatusTrue, LastTransitionTime: "then"},
	}
	same := condition.Set(old, "A", lh.ConditionStatusTrue, "Reason", "other words")
	require.Equal(t, "then", condition.Get(same, "A").LastTransitionTime, "the status is the same")
	require.Equal(t, "other words", condition.Get(same, "A").Message)

	other := condition.Set(old, "A", lh.ConditionStatusFalse, "", "")
	require.NotEqual(t, "then", condition.Get(other, "A").LastTransitionTime)
	require.Equal(t, lh.ConditionStatusTrue, condition.Get(old, "A").Status, "what was passed in stays")

	added := condition.Set(old, "C", lh.ConditionStatusTrue, "", "")
	require.Len(t, added, 3)
	require.NotEmpty(t, condition.Get(added, "C").LastTransitionTime)
	require.Zero(t, condition.Get(added, "D"))
}
