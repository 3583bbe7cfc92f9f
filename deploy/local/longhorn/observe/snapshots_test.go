package observe

import (
	"testing"

	"github.com/longhorn/types/pkg/generated/enginerpc"
	"github.com/stretchr/testify/require"
)

func TestSnapshots(t *testing.T) {
	got := snapshots(map[string]*enginerpc.DiskInfo{
		"volume-head-002.img": {Name: "volume-head-002.img", Parent: "volume-snap-b.img", Size: "4096"},
		"volume-snap-b.img": {
			Name: "volume-snap-b.img", Parent: "volume-snap-a.img", UserCreated: true, Size: "8192",
			Children: map[string]bool{"volume-head-002.img": true}, Labels: map[string]string{"k": "v"},
		},
		"volume-snap-a.img": {Name: "volume-snap-a.img", Parent: "backing", Removed: true, Children: map[string]bool{"volume-snap-b.img": true}},
		"backing":           {Name: "backing"},
	})
	require.Len(t, got, 3, "a backing file is no snapshot")
	require.Equal(t, "b", got[Head].Parent)
	require.Equal(t, "a", got["b"].Parent)
	require.Equal(t, map[string]bool{Head: true}, got["b"].Children)
	require.True(t, got["b"].UserCreated)
	require.Empty(t, got["a"].Parent)
	require.True(t, got["a"].Removed)
}

func TestOffset(t *testing.T) {
	got, err := offset("127.0.0.1:9600", syncAgentOffset)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:9602", got)
	_, err = offset("127.0.0.1", syncAgentOffset)
	require.Error(t, err)
}
