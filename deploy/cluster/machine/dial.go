package machine

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects to an address, which must be an IP address with a port, in the machine's network.
func (m *Machine) Dial(ctx context.Context, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// The thread is of the machine's network from here on. It is not given back, so it ends with the goroutine.
		runtime.LockOSThread()
		conn, err := dialHere(ctx, m.PID(), address)
		done <- result{conn, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, fmt.Errorf("connecting to %s in machine %s: %w", address, m.Name, r.err)
	}
	return r.conn, nil
}

func dialHere(ctx context.Context, pid int, address string) (net.Conn, error) {
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("entering its network: %w", err)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", address) // with one address it is connected by this thread
}
