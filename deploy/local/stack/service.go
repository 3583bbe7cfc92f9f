package stack

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"hayloft.dev/deploy/local/ports"
)

// dialTimeout is long for loopback: a program that was stopped (SIGSTOP) still accepts.
const dialTimeout = time.Second

// Service is one address before several programs, as a Kubernetes Service is: a connection goes to the first of them
// that takes it.
type Service struct {
	Address  string   `json:"address"`
	Backends []string `json:"backends"` // addresses that programs may listen on
}

// serveService takes connections until ctx ends.
func serveService(ctx context.Context, backends int) (*Service, error) {
	s := &Service{}
	for range backends {
		address, err := ports.Free("127.0.0.1")
		if err != nil {
			return nil, err
		}
		s.Backends = append(s.Backends, address)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serving in the place of a Service: %w", err)
	}
	s.Address = listener.Addr().String()
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed, above
			}
			go s.forward(ctx, conn)
		}
	}()
	return s, nil
}

// forward passes bytes on, both ways, until one side ends.
func (s *Service) forward(ctx context.Context, client net.Conn) {
	defer client.Close()
	server := s.dial(ctx)
	if server == nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })()
	ended := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1]) // whatever ended it, the connection is over
			ended <- struct{}{}
		}()
	}
	<-ended
}

func (s *Service) dial(ctx context.Context) net.Conn {
	dialer := net.Dialer{Timeout: dialTimeout}
	for _, address := range s.Backends {
		if conn, err := dialer.DialContext(ctx, "tcp", address); err == nil {
			return conn
		}
	}
	return nil
}
