package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports for programs that are told where to listen: below those that engines get (test/enginetest, deploy/local) and
// far below the range that the kernel gives to outgoing connections (32768 and up), of which one could otherwise take
// a port between the moment it was found free and that in which the program listens.
const (
	firstPort  = 3000
	blockPorts = 100
	portBlocks = 60
)

// addresses gives out the ports of one block, which no other test binary takes from: who has a block listens on an
// abstract socket of its name, which the kernel takes back when the process ends.
var addresses struct {
	mu    sync.Mutex
	claim net.Listener
	first int
	next  int
}

// FreeAddress is an address on loopback on which nobody listens. It is given out again only after a hundred others.
func FreeAddress(t testing.TB) string {
	t.Helper()
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func freeAddress() (string, error) {
	a := &addresses
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.claim == nil {
		offset := rand.IntN(portBlocks)
		for i := 0; i < portBlocks && a.claim == nil; i++ {
			a.first = firstPort + (offset+i)%portBlocks*blockPorts
			a.claim, _ = net.Listen("unix", fmt.Sprintf("@hayloft-test-ports-%d", a.first)) // an error: it is another's
		}
		if a.claim == nil {
			return "", errors.New("finding a free port: every block of ports is another program's")
		}
	}
	for range blockPorts {
		address := fmt.Sprintf("127.0.0.1:%d", a.first+a.next)
		a.next = (a.next + 1) % blockPorts
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue // somebody who does not know of blocks listens there
		}
		return address, listener.Close()
	}
	return "", fmt.Errorf("finding a free port: all from %d to %d are in use", a.first, a.first+blockPorts-1)
}
