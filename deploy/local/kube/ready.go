package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

const (
	readyTimeout = 2 * time.Minute        // ready takes 3 s on two idle cores
	readyPoll    = 100 * time.Millisecond // how often it is asked
)

// waitReady returns when the server says it is ready.
func waitReady(ctx context.Context, config *rest.Config) error {
	transport, err := rest.TransportFor(config)
	if err != nil {
		return fmt.Errorf("asking for /readyz: %w", err)
	}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	deadline := time.Now().Add(readyTimeout)
	last := errors.New("never asked")
	for time.Now().Before(deadline) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/readyz", nil)
		if err != nil {
			return fmt.Errorf("asking for /readyz: %w", err)
		}
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(response.Status)
		}
		last = err
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(readyPoll):
		}
	}
	return fmt.Errorf("not ready after %s: %w", readyTimeout, last)
}
