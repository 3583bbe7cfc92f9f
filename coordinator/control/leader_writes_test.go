package control_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

// oneWrite lets one change of an object through, and then no request any more: as if
// the process were killed at it. What comes by the clock does not count, and the
// leader's Lease is given back as it is when a process is asked to end.
type oneWrite struct {
	next  http.RoundTripper
	spent atomic.Bool
}

var errKilled = errors.New("killed")

func (o *oneWrite) RoundTrip(r *http.Request) (*http.Response, error) {
	for _, part := range []string{"/leases/", "/events", "/backuptargets/"} {
		if strings.Contains(r.URL.Path, part) {
			return o.next.RoundTrip(r)
		}
	}
	if r.Method == http.MethodGet {
		if o.spent.Load() {
			return nil, errKilled
		}
		return o.next.RoundTrip(r)
	}
	if o.spent.Swap(true) {
		return nil, errKilled
	}
	answer, err := o.next.RoundTrip(r)
	if err == nil {
		answer.Body.Close()
	}
	return nil, errKilled
}

// Each leader gets to one write. A restore goes on all the same: none of them begins
// with a write that brings it no further.
func TestRestoreGoesOnThoughEachLeaderWritesOnce(t *testing.T) {
	t.Parallel()
	const most = 20 // a finalizer, two volumes, two jobs, their statuses, and some room
	w := newWorld(t)
	_, stop := w.start("first")
	_, b := w.point()
	stop()
	w.opts.StatusEvery = time.Hour // what only informs waits for longer than anything takes
	direct := w.config
	var leader *oneWrite
	leaders := 0
	w.meanwhile = func() bool {
		if leader != nil && !leader.spent.Load() {
			return false
		}
		stop()
		leaders++
		require.LessOrEqual(t, leaders, most, "they write, and come no further")
		next := &oneWrite{}
		w.config = rest.CopyConfig(direct)
		w.config.Wrap(func(rt http.RoundTripper) http.RoundTripper { next.next = rt; return next })
		leader = next
		_, stop = w.start(fmt.Sprint("leader-", leaders))
		return true
	}
	s := w.restore("r1", b.Name, "web2")
	w.awaitJob("restore", s.UID, "root", 1)
	w.awaitJob("restore", s.UID, "data", 1)
	t.Logf("%d leaders began it", leaders)
}
