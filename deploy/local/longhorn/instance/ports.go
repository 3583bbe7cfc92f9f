package instance

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports are taken below the range that the kernel gives to outgoing connections (32768 and up), and above that of the
// tests that run engines alone (test/enginetest).
const (
	firstPort  = 12000
	blockPorts = 500
	blocks     = 40
)

// ports gives out runs of ports. A replica's sync agent listens on some of its ports only while it receives files, and
// on every address then, so a port that is free now, or taken on another address, may be needed all the same. Programs
// on one machine therefore divide the ports among them by blocks: who has a block listens on an abstract socket of its
// name, which the kernel takes back when the process ends.
type ports struct {
	mu    sync.Mutex
	mine  []*block
	tried map[int]bool // blocks that were claimed, or found claimed
	used  map[int]bool // port -> given out
}

// block is a run of ports that no other program takes from.
type block struct {
	first, next int
	claim       net.Listener
}

func newPorts() *ports { return &ports{tried: map[int]bool{}, used: map[int]bool{}} }

// take returns the first of count ports in a row, of which nobody listens on any.
func (p *ports) take(count int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for _, b := range p.mine {
			if first := p.within(b, count); first != 0 {
				return first, nil
			}
		}
		if !p.claim() {
			return 0, fmt.Errorf("no %d free ports in a row: every block of ports is used up, or another program's", count)
		}
	}
}

// within takes ports of one block, those that were given back last of all; 0: it has none.
func (p *ports) within(b *block, count int) int {
	for range blockPorts / count {
		if b.next+count > b.first+blockPorts {
			b.next = b.first
		}
		first := b.next
		b.next += count
		if p.free(first, count) {
			for port := first; port < first+count; port++ {
				p.used[port] = true
			}
			return first
		}
	}
	return 0
}

// claim takes a block that no program has; false: there is none.
func (p *ports) claim() bool {
	offset := rand.IntN(blocks)
	for i := range blocks {
		first := firstPort + (offset+i)%blocks*blockPorts
		if p.tried[first] {
			continue
		}
		p.tried[first] = true
		claim, err := net.Listen("unix", fmt.Sprintf("@hayloft-local-ports-%d", first))
		if err == nil {
			p.mine = append(p.mine, &block{first: first, next: first, claim: claim})
			return true
		}
	}
	clear(p.tried) // whoever had one may be gone when it is asked for again
	for _, b := range p.mine {
		p.tried[b.first] = true
	}
	return false
}

// free: none of the ports is given out, and nobody listens on one of them on any address.
func (p *ports) free(first, count int) bool {
	for port := first; port < first+count; port++ {
		if p.used[port] {
			return false
		}
		listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return false
		}
		_ = listener.Close() // it was never used
	}
	return true
}

func (p *ports) release(first, count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for port := first; port < first+count; port++ {
		delete(p.used, port)
	}
}

// close gives the blocks back.
func (p *ports) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.mine {
		_ = b.claim.Close() // nobody ever connects
	}
	p.mine = nil
}
