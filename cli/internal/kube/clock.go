package kube

import (
	"net/http"
	"sync"
	"time"
)

// Clock tells how far this machine's clock is ahead of the API server's, by the
// dates in its answers. These are in whole seconds, so it is known to about one.
type Clock struct {
	mu    sync.Mutex
	known bool
	ahead time.Duration
	took  time.Duration // of the answer that ahead is by
}

// Ahead is the difference; false while nothing was answered.
func (c *Clock) Ahead() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead, c.known
}

func (c *Clock) listen(next http.RoundTripper) http.RoundTripper { return listener{c, next} }

type listener struct {
	clock *Clock
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (l listener) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	response, err := l.next.RoundTrip(r)
	if err != nil {
		return response, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		l.clock.see(began, time.Now(), date)
	}
	return response, nil
}

// see keeps what the quickest answer says: it was given at about the middle of its
// request, half a second after its date.
func (c *Clock) see(began, ended, date time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if took := ended.Sub(began); !c.known || took < c.took {
		c.known, c.took = true, took
		c.ahead = began.Add(took / 2).Round(0).Sub(date.Add(time.Second / 2))
	}
}
