package instance

import (
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// Two programs never get the same port, whether anybody listens on it or not.
func TestProgramsDivideThePorts(t *testing.T) {
	one, two := newPorts(), newPorts()
	t.Cleanup(one.close)
	t.Cleanup(two.close)
	taken := map[int]bool{}
	for range 70 { // more than a block has
		for _, p := range []*ports{one, two} {
			first, err := p.take(10)
			require.NoError(t, err)
			for port := first; port < first+10; port++ {
				require.False(t, taken[port], "port %d", port)
				taken[port] = true
			}
		}
	}
	require.GreaterOrEqual(t, len(one.mine), 2)
}

func TestAPortThatIsTakenOnAnyAddressIsNotGiven(t *testing.T) {
	p := newPorts()
	t.Cleanup(p.close)
	first, err := p.take(1)
	require.NoError(t, err)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.13:%d", first+1))
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	second, err := p.take(1)
	require.NoError(t, err)
	require.NotEqual(t, first+1, second)
}

func TestPortsComeBack(t *testing.T) {
	p := newPorts()
	first, err := p.take(10)
	require.NoError(t, err)
	require.Len(t, p.used, 10)
	p.release(first, 10)
	require.Empty(t, p.used)
	block := p.mine[0].first
	p.close()
	claim, err := net.Listen("unix", fmt.Sprintf("@hayloft-local-ports-%d", block))
	require.NoError(t, err, "another program can have the block now")
	require.NoError(t, claim.Close())
}
