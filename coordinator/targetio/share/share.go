// Package share is the target worker in the Pod of a share. One process accepts
// connections by whoever has the client's key and gives each to a process of its own,
// which works on the files (store.Serve) and is killed when the connection ends: one
// that hangs on a dead server costs nothing but itself.
//
// It knows no Kubernetes; the keys lie in a folder, and are read for each connection.
package share

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"hayloft.dev/coordinator/shares"
)

// Options of a Server.
type Options struct {
	// Keys is the folder with the server's keys.
	Keys string
	// Command starts a process that calls Files and gets its connection as file 3.
	Command []string
	// AtOnce bounds the connections; others wait for a moment and are closed.
	AtOnce int
	Log    *slog.Logger
}

const (
	// greeting is how long the other side has to show its key.
	greeting = 10 * time.Second
	// patience is how long a connection waits for another one to end.
	patience = 5 * time.Second
	// longest is how long a connection may last, more than any operation takes.
	longest = 30 * time.Minute
	// lastWord is how long a process has to send what it has when the other side has
	// said all, and farewell how long connections have when the server is told to end.
	lastWord = time.Second
	farewell = 20 * time.Second
)

// Serve serves until ctx ends.
func Serve(ctx context.Context, l net.Listener, o Options) error {
	s := &server{Options: o, slots: make(chan struct{}, o.AtOnce)}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			break
		}
		var passing net.Error
		if errors.As(err, &passing) && passing.Timeout() || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ECONNABORTED) {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if err != nil {
			return fmt.Errorf("accepting connections: %w", err)
		}
		s.running.Go(func() {
			if err := s.serve(working, c); err != nil {
				s.Log.Warn("a connection was not served to its end", "from", c.RemoteAddr(), "error", err)
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(farewell):
		cancel()
		<-ended
	}
	return nil
}

type server struct {
	Options
	slots   chan struct{}
	running sync.WaitGroup
}

// serve greets and gives the connection to a process of its own.
func (s *server) serve(ctx context.Context, plain net.Conn) error {
	defer func() { _ = plain.Close() }()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	data := map[string][]byte{}
	for _, name := range []string{shares.KeyServerCert, shares.KeyServerKey, shares.KeyClientCert} {
		content, err := os.ReadFile(filepath.Join(s.Keys, name))
		if err != nil {
			return fmt.Errorf("reading the keys: %w", err)
		}
		data[name] = content
	}
	config, err := shares.ServerTLS(data)
	if err != nil {
		return err
	}
	c := tls.Server(plain, config)
	greeted, done := context.WithTimeout(ctx, greeting)
	err = c.HandshakeContext(greeted)
	done()
	if errors.Is(err, io.EOF) {
		return nil // the kubelet asks whether anybody listens
	}
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-time.After(patience):
		return fmt.Errorf("%d connections are served already", s.AtOnce)
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.hand(ctx, c)
}

// hand starts a process and copies between it and the connection. When either ends,
// the process is killed.
func (s *server) hand(ctx context.Context, c *tls.Conn) error {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making a pair of sockets: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "files")
	own := os.NewFile(uintptr(pair[0]), "connection")
	inner, err := net.FileConn(own)
	_ = own.Close()
	if err != nil {
		_ = theirs.Close()
		return fmt.Errorf("using a pair of sockets: %w", err)
	}
	defer func() { _ = inner.Close() }()
	cmd := exec.Command(s.Command[0], s.Command[1:]...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env, cmd.Stderr = []string{}, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	ended := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		// The kernel sends the death signal when the thread that started the process
		// ends, so that thread has to stay until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	err = <-started
	_ = theirs.Close()
	if err != nil {
		return fmt.Errorf("starting a process for a connection: %w", err)
	}
	over := make(chan struct{}, 2)
	copying := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from) // either end may go at any time
		over <- struct{}{}
	}
	go copying(inner, c)
	go copying(c, inner)
	select {
	case <-over:
	case <-ctx.Done():
	}
	// What one side has said last is still on its way to the other.
	_ = inner.(*net.UnixConn).CloseWrite()
	select {
	case <-over:
	case <-time.After(lastWord):
	case <-ctx.Done():
	}
	_ = c.Close()
	_ = inner.Close()
	// It is not reaped yet, or its number is not used again before it is.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	select {
	case <-ended:
		return nil
	case <-time.After(lastWord):
		// It hangs in a system call; the thread above reaps it when that ends.
		return errors.New("the process of a connection hangs: does the share's server answer?")
	}
}
