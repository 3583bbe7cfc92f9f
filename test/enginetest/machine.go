package enginetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Program is the path of a program in bin/local of this repository.
func Program(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module hayloft.dev\n") {
			break
		}
		if dir == "/" {
			tb.Fatal("not inside the repository")
		}
	}
	path := filepath.Join(dir, "bin", "local", name)
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("%s is missing: make builds it", path)
	}
	return path
}

// FreeAddr is an address "127.0.0.<host>:port" at which that port and the
// next ones, n in all, are free on every address, since a sync agent's receivers
// listen on all of them, and which no other test is given before this one has ended.
// The ports are below those that local stacks divide among them.
func FreeAddr(tb testing.TB, host, n int) string {
	tb.Helper()
	for range 100 {
		port := 9000 + rand.IntN(3000-n)
		release, ok := claim(port, n)
		if !ok {
			continue
		}
		tb.Cleanup(release)
		if free(port, n) {
			return fmt.Sprintf("127.0.0.%d:%d", host, port)
		}
	}
	tb.Fatalf("no %d free ports", n)
	return ""
}

// claim takes ports for this test: between the moment in which they are found free
// and that in which a program listens there, another test, of whichever test binary,
// could find the same. Who has a port listens on an abstract socket of its name,
// which the kernel takes back when the process ends.
func claim(port, n int) (release func(), ok bool) {
	var held []net.Listener
	release = func() {
		for _, l := range held {
			_ = l.Close()
		}
	}
	for i := range n {
		l, err := net.Listen("unix", fmt.Sprintf("@hayloft-engine-port-%d", port+i))
		if err != nil {
			release()
			return nil, false
		}
		held = append(held, l)
	}
	return release, true
}

func free(port, n int) bool {
	for i := range n {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port+i))
		if err != nil {
			return false
		}
		defer func() { _ = l.Close() }()
	}
	return true
}

func listening(addr string, off int) bool {
	c, err := net.DialTimeout("tcp", offset(addr, off), time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// offset is addr with its port raised by n.
func offset(addr string, n int) string {
	host, port, _ := net.SplitHostPort(addr)
	p, _ := strconv.Atoi(port)
	return net.JoinHostPort(host, strconv.Itoa(p+n))
}
