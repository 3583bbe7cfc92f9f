package share

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
)

// connection is the file that a process of Options.Command gets.
const connection = 3

// Files serves the one connection that the process was started for.
func Files(h http.Handler) error {
	file := os.NewFile(connection, "connection")
	c, err := net.FileConn(file)
	if err != nil {
		return fmt.Errorf("taking the connection that the process is for: %w", err)
	}
	_ = file.Close()
	l := &one{conn: &closing{Conn: c, closed: make(chan struct{})}}
	if err := (&http.Server{Handler: h}).Serve(l); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serving a connection: %w", err)
	}
	return nil
}

// one is a listener with one connection: when that is closed there is no other.
type one struct {
	conn  *closing
	given bool
}

func (l *one) Accept() (net.Conn, error) {
	if !l.given {
		l.given = true
		return l.conn, nil
	}
	<-l.conn.closed
	return nil, net.ErrClosed
}

func (l *one) Close() error   { return nil }
func (l *one) Addr() net.Addr { return l.conn.LocalAddr() }

type closing struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
