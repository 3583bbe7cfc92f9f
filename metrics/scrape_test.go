package metrics

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
)

// fleet is a world of VMs with a schedule and eight points each.
func fleet(vms int) *world {
	w := someWorld()
	for i := range vms {
		name := fmt.Sprintf("vm-%05d", i)
		w.vm(name, nil)
		nightly := w.schedule(name+"-nightly", name, fmt.Sprintf("%d %d * * *", i%60, i%24))
		for p := range 8 {
			of(nightly, w.point(name, v1alpha1.TypeBackup, v1alpha1.BackupReady, time.Duration(p)*time.Hour))
		}
	}
	return w
}

// BenchmarkScrape is what one scrape of 10,000 VMs costs the leader, from reading
// the objects to the last byte of the answer. CPU time counts the garbage
// collector's, too.
func BenchmarkScrape(b *testing.B) {
	handler := coordinator(fleet(10000), true).Handler()
	request := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	request.Header.Set("Accept-Encoding", "gzip")
	sink := &discard{header: http.Header{}}
	handler.ServeHTTP(sink, request) // the heap grows once
	sink.bytes = 0
	before := cpuTime(b)
	for b.Loop() {
		handler.ServeHTTP(sink, request)
	}
	spent := cpuTime(b) - before
	b.ReportMetric(float64(spent.Milliseconds())/float64(b.N), "cpu-ms/scrape")
	b.ReportMetric(float64(sink.bytes)/float64(b.N), "bytes/scrape")
}

func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	require.NoError(tb, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// discard is an answer that nobody reads.
type discard struct {
	header http.Header
	bytes  int64
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	n, err := io.Discard.Write(p)
	d.bytes += int64(n)
	return n, err
}
