// Program probe is two programs that Longhorn's instance manager calls by name: grpc_health_probe asks a gRPC server
// whether it serves, and nc -z asks a port whether somebody listens. Neither does more than the instance manager wants.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const timeout = time.Second // as the real health probe

func main() {
	if err := run(filepath.Base(os.Args[0]), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(name string, args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	switch {
	case name == "grpc_health_probe" && len(args) == 2 && args[0] == "-addr":
		return isServing(ctx, args[1])
	case name == "nc" && len(args) == 3 && args[0] == "-zv":
		return isOpen(ctx, net.JoinHostPort(args[1], args[2]))
	}
	return errors.New("usage: grpc_health_probe -addr ADDRESS, or nc -zv HOST PORT")
}

func isServing(ctx context.Context, address string) error {
	// The address is taken as it is: in a cluster without DNS the resolver would wait for one.
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", address, err)
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("asking %s for its health: %w", address, err)
	}
	if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("%s is %s", address, answer.Status)
	}
	return nil
}

func isOpen(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
