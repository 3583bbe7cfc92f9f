package api

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/cache"
)

// Requests with credentials that are not known yet, by address.
const (
	sourceRate  = 10
	sourceBurst = 50
)

// Callers that are remembered, and for how long after their last request.
const (
	callersKept = 4096
	callerIdle  = 10 * time.Minute
)

// limiter lets so many requests a second through for each of many keys.
type limiter struct {
	rate  rate.Limit
	burst int

	mu    sync.Mutex
	known *cache.LRUExpireCache
}

func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{rate: rate.Limit(perSecond), burst: burst, known: cache.NewLRUExpireCache(callersKept)}
}

// take returns 0 for a request that may go on, else how long to wait.
func (l *limiter) take(key string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	one, ok := l.known.Get(key)
	if !ok {
		one = rate.NewLimiter(l.rate, l.burst)
	}
	l.known.Add(key, one, callerIdle)
	r := one.(*rate.Limiter).Reserve()
	if wait := r.Delay(); wait > 0 || !r.OK() {
		r.Cancel()
		return max(wait, time.Millisecond)
	}
	return 0
}

// slots bound what is done at once, without waiting.
type slots chan struct{}

func (s slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) give() { <-s }

// streams bound event streams, in all and for each caller.
type streams struct {
	most, each int

	mu  sync.Mutex
	all int
	by  map[string]int // caller -> streams
}

func newStreams(most, each int) *streams {
	return &streams{most: most, each: each, by: map[string]int{}}
}

// open returns what to call at the stream's end, or false when there is no room.
func (s *streams) open(caller string) (done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.most || s.by[caller] >= s.each {
		return nil, false
	}
	s.all++
	s.by[caller]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.by[caller]--; s.by[caller] == 0 {
			delete(s.by, caller)
		}
	}, true
}
