package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

const (
	answerTimeout = 30 * time.Second     // a replica answers in 0.1 s on an idle machine
	answerPoll    = 5 * time.Millisecond // how often it is tried
)

// errEnded: the process ended before it answered.
var errEnded = errors.New("the process ended before it answered")

func address(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

// waitAnswer waits until something listens on each of the offsets from port.
func waitAnswer(ctx context.Context, process Process, ip string, port int, offsets []int) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	tick := time.NewTicker(answerPoll)
	defer tick.Stop()
	for _, offset := range offsets {
		for !listens(ctx, address(ip, port+offset)) {
			select {
			case <-process.Done():
				return errors.Join(errEnded, process.Err())
			case <-ctx.Done():
				return fmt.Errorf("waiting for port %d of %s: %w", port+offset, ip, ctx.Err())
			case <-tick.C:
			}
		}
	}
	select {
	case <-process.Done(): // somebody else answered
		return errors.Join(errEnded, process.Err())
	default:
		return nil
	}
}

// waitFile waits until a file is there.
func waitFile(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	tick := time.NewTicker(answerPoll)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}

func listens(ctx context.Context, address string) bool {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = connection.Close() // nothing was sent
	return true
}
