package api

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
)

// TestPointHooks: a caller sees which command failed, as whoever reads the object.
func TestPointHooks(t *testing.T) {
	b := &v1alpha1.VMBackup{}
	require.Nil(t, pointOf(b).Hooks)
	b.Status.Hooks = []v1alpha1.HookStatus{{Hook: "pre", Message: "ended well after 1s"}, {Hook: "post", Failed: true, Message: "/bin/go-on ended with exit code 3 (after 20ms)"}}
	require.Equal(t, []Hook{{"pre", false, "ended well after 1s"}, {"post", true, "/bin/go-on ended with exit code 3 (after 20ms)"}}, pointOf(b).Hooks)
}
