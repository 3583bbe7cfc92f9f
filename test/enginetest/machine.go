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
// next ones, n in all, are free now. The ports are below those that local
// stacks divide among them.
func FreeAddr(tb testing.TB, host, n int) string {
	tb.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.%d:%d", host, 9000+rand.IntN(3000-n))
		if free(addr, n) {
			return addr
		}
	}
	tb.Fatalf("no %d free ports on 127.0.0.%d", n, host)
	return ""
}

func free(addr string, n int) bool {
	for i := range n {
		l, err := net.Listen("tcp", offset(addr, i))
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
