package control_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"hayloft.dev/pkg/api/v1alpha1"
)

// counter counts a coordinator's requests to the API server, by verb and kind;
// watches and leader election are not counted.
type counter struct {
	mu    sync.Mutex
	count map[string]int
	next  http.RoundTripper
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("watch") == "" && !strings.HasSuffix(r.URL.Path, "/leases/coordinator") {
		parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		kind := parts[len(parts)-1]
		for _, known := range []string{"vmbackups", "nodejobs", "events", "virtualmachines", "virtualmachineinstances", "backuptargets"} {
			if strings.Contains(r.URL.Path, "/"+known) {
				kind = known
			}
		}
		if strings.HasSuffix(r.URL.Path, "/status") {
			kind += "/status"
		}
		c.mu.Lock()
		c.count[r.Method+" "+kind]++
		c.mu.Unlock()
	}
	return c.next.RoundTrip(r)
}

func (c *counter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.count
	c.count = map[string]int{}
	return out
}

func TestRequestsOfABackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.opts.StatusEvery = time.Hour // what only informs goes by the clock, and is not counted
	count := &counter{count: map[string]int{}}
	w.config = rest.CopyConfig(w.config)
	w.config.Wrap(func(next http.RoundTripper) http.RoundTripper { count.next = next; return count })
	w.start("one")
	session, _ := w.session("n1")
	w.vm("web")
	target := w.target("s3")
	w.ready("warm", target.Name, session)
	w.eventually("its jobs are gone", func() bool { return len(w.jobs()) == 0 })
	count.take()

	b := w.backup("p1", "web", target.Name)
	w.cut(b, session)
	w.upload(b, "root", 1, session)
	w.upload(b, "data", 1, session)
	w.awaitBackup(b, v1alpha1.BackupReady)
	w.eventually("the point's own jobs are gone", func() bool {
		for _, j := range w.jobs() {
			if j.Spec.Owner.UID == b.UID {
				return false
			}
		}
		return true
	})
	all := 0
	got := count.take()
	for _, n := range got {
		all += n
	}
	t.Logf("requests for a backup of two disks: %d: %v", all, got)
	require.LessOrEqual(t, all, 18, "%v", got)
	require.Equal(t, 1, got["PATCH vmbackups"], "finalizer and label together")
	require.LessOrEqual(t, got["PUT vmbackups/status"], 5)
}
