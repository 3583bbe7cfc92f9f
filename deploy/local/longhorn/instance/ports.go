package instance

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken below the range that the kernel gives to outgoing connections (32768 and up).
const (
	firstPort = 12000
	lastPort  = 31999
)

// ports gives out runs of ports on an address. Two programs on one machine that do this rarely meet, since each begins
// at a place of its own; a meeting is survived by starting the process again on other ports.
type ports struct {
	mu   sync.Mutex
	next int
	used map[string]map[int]bool // address -> port -> given out
}

func newPorts() *ports {
	return &ports{
		next: firstPort + rand.IntN(lastPort-firstPort),
		used: map[string]map[int]bool{},
	}
}

// take returns the first of count ports in a row that nobody listens on.
func (p *ports) take(ip string, count int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range (lastPort - firstPort) / count {
		if p.next+count > lastPort {
			p.next = firstPort
		}
		first := p.next
		p.next += count
		if p.free(ip, first, count) {
			for port := first; port < first+count; port++ {
				if p.used[ip] == nil {
					p.used[ip] = map[int]bool{}
				}
				p.used[ip][port] = true
			}
			return first, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row on %s", count, ip)
}

func (p *ports) free(ip string, first, count int) bool {
	for port := first; port < first+count; port++ {
		if p.used[ip][port] {
			return false
		}
		listener, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
		if err != nil {
			return false
		}
		_ = listener.Close() // it was never used
	}
	return true
}

func (p *ports) release(ip string, first, count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for port := first; port < first+count; port++ {
		delete(p.used[ip], port)
	}
}
