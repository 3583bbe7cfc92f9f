package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"hayloft.dev/deploy/cluster/machine"
)

const dialTimeout = 10 * time.Second

// forward takes connections on loopback until ctx ends and passes them to an address in a machine's network. It returns
// where.
func forward(ctx context.Context, to *machine.Machine, address string) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("forwarding to %s: %w", address, err)
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed, above
			}
			go pass(ctx, client, to, address)
		}
	}()
	return listener.Addr().String(), nil
}

// pass passes bytes on, both ways, until both sides have ended.
func pass(ctx context.Context, client net.Conn, to *machine.Machine, address string) {
	defer client.Close()
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	server, err := to.Dial(dialing, address)
	if err != nil {
		return // the client sees that its connection is over, as it would from a server that is away
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })()
	ended := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].(*net.TCPConn).CloseWrite() // the other side may still have something to say
			ended <- struct{}{}
		}()
	}
	<-ended
	<-ended
}
