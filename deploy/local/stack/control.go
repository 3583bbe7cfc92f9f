package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"hayloft.dev/deploy/local/proc"
)

// serveControl answers GET /processes on loopback until ctx ends, and returns its URL.
func serveControl(ctx context.Context, tables ...*proc.Table) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("serving the process list: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /processes", func(w http.ResponseWriter, _ *http.Request) {
		all := []proc.Info{}
		for _, table := range tables {
			all = slices.Concat(all, table.List())
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(all) // a client that went away is no error of ours
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }() // ends with Close, above
	return "http://" + listener.Addr().String(), nil
}
