package harness

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFreeAddress: no address is given out twice in a row of many, nor one on which
// somebody listens.
func TestFreeAddress(t *testing.T) {
	first := FreeAddress(t)
	listener, err := net.Listen("tcp", first)
	require.NoError(t, err)
	defer listener.Close()
	seen := map[string]bool{}
	for range blockPorts - 1 {
		address := FreeAddress(t)
		require.NotEqual(t, first, address)
		require.False(t, seen[address], address)
		seen[address] = true
	}
	require.NotEqual(t, first, FreeAddress(t), "it is in use when its turn comes")
}
