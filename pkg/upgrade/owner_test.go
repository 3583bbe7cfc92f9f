package upgrade

import (
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestTakenOver(t *testing.T) {
	const (
		ours    = `{"f:metadata":{"f:annotations":{"f:hayloft.dev/suspend-reason":{},"f:hayloft.dev/suspended-by":{}}},"f:spec":{"f:suspend":{}}}`
		mark    = `{"f:metadata":{"f:annotations":{".":{},"f:hayloft.dev/suspended-by":{}}}}`
		suspend = `{"f:spec":{"f:suspend":{}}}`
		cron    = `{"f:metadata":{"f:labels":{"f:tier":{}}},"f:spec":{"f:cron":{},"f:vm":{}}}`
	)
	for name, c := range map[string]struct {
		owned []string
		want  bool
	}{
		"nobody knows":             {nil, false},
		"by the upgrade":           {[]string{ours}, false},
		"edited meanwhile":         {[]string{ours, cron}, false},
		"resumed and suspended":    {[]string{mark, suspend}, true},
		"applied by somebody else": {[]string{ours, suspend}, true},
		"unreadable":               {[]string{ours, `["f:suspend"]`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &v1alpha1.VMSchedule{}
			s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "without fields"}}
			for _, raw := range c.owned {
				s.ManagedFields = append(s.ManagedFields, metav1.ManagedFieldsEntry{FieldsV1: &metav1.FieldsV1{Raw: []byte(raw)}})
			}
			require.Equal(t, c.want, takenOver(s))
		})
	}
}
