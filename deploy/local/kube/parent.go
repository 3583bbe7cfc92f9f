package main

import (
	"context"
	"io"
	"os"
)

// untilStdinCloses returns a context that ends when standard input ends. Whoever starts kube keeps the other end of
// that pipe open, so kube goes with its parent even when the parent is killed with SIGKILL, whatever thread forked it.
func untilStdinCloses(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // an unreadable stdin means the same as a closed one
	}()
	return ctx
}
