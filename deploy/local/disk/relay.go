package disk

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// Relay takes connections at sockets in a folder and hands each on to the engine of a volume: for who sees the folder,
// and neither the engine's socket nor its process. A connection that is lost on one side ends on the other.
type Relay struct {
	listeners []net.Listener
	running   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil: closed
}

// RelaySocket is where the relay in a folder listens for a volume.
func RelaySocket(dir, volume string) string { return filepath.Join(dir, volume) }

// NewRelay listens for volumes, over what a former relay may have left in the folder.
func NewRelay(dir string, volumes ...string) (*Relay, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a folder for engines' sockets: %w", err)
	}
	r := &Relay{conns: map[net.Conn]bool{}}
	for _, volume := range volumes {
		path := RelaySocket(dir, volume)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.Close()
			return nil, fmt.Errorf("removing a former socket: %w", err)
		}
		listener, err := net.Listen("unix", path)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("listening for volume %s: %w", volume, err)
		}
		r.listeners = append(r.listeners, listener)
		r.running.Go(func() { r.serve(listener, volume) })
	}
	return r, nil
}

// Close ends all connections and returns when that is done.
func (r *Relay) Close() {
	for _, listener := range r.listeners {
		_ = listener.Close()
	}
	r.mu.Lock()
	for conn := range r.conns {
		_ = conn.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.running.Wait()
}

func (r *Relay) serve(listener net.Listener, volume string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		r.running.Go(func() { r.forward(conn, volume) })
	}
}

// forward hands bytes on, both ways, until either side is gone.
func (r *Relay) forward(conn net.Conn, volume string) {
	defer conn.Close()
	socket, err := findSocket(volume, "/proc")
	if err != nil {
		return // who connects sees the end of the connection, as of an engine that has ended
	}
	engine, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer engine.Close()
	if !r.keep(conn, engine) {
		return
	}
	defer r.drop(conn, engine)
	var answers sync.WaitGroup
	answers.Go(func() {
		defer conn.Close()
		_, _ = io.Copy(conn, engine)
	})
	_, _ = io.Copy(engine, conn)
	_ = engine.Close()
	answers.Wait()
}

func (r *Relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		return false
	}
	for _, conn := range conns {
		r.conns[conn] = true
	}
	return true
}

func (r *Relay) drop(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		delete(r.conns, conn)
	}
}
