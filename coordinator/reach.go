package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

const (
	reachFor   = time.Minute     // the kubelet ends a coordinator about then that serves no /healthz
	reachEvery = time.Second     // from one answer that did not come to the next try
	answerFor  = 5 * time.Second // the longest that one may take
)

// reach waits until the API server answers, whatever it says. A coordinator that ended because it does not, as on a node that is
// cut off, would be started again after longer and longer pauses, and the last of them goes on when the node is back.
func reach(ctx context.Context, config *rest.Config, log *slog.Logger) error {
	config = rest.CopyConfig(config)
	config.Timeout = answerFor
	c, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("reaching the API server: %w", err)
	}
	for end := time.Now().Add(reachFor); ; {
		err := c.RESTClient().Get().AbsPath("/api").Do(ctx).Error()
		var said apierrors.APIStatus
		if err == nil || errors.As(err, &said) {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return fmt.Errorf("reaching the API server: %w", err)
		}
		log.Warn("the API server does not answer; trying again", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(reachEvery):
		}
	}
}
