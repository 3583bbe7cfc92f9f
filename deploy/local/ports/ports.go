// Package ports finds free ports for programs that cannot be told to choose one and say which.
package ports

import (
	"fmt"
	"net"
)

// Free is an address with a port that was free a moment ago. Somebody else may take it before it is used: whoever
// starts a program on it looks whether the program stays, and takes another one if not.
func Free(ip string) (string, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return address, nil
}
