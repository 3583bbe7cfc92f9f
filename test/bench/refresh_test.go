package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/s3"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
	"hayloft.dev/test/points"
)

// fill puts documents of another cluster's points onto the stack's S3 server, as
// many as HAYLOFT_BENCH_DOCUMENTS says (10,000).
func (w *world) fill(namespace string) (n int) {
	w.b.Helper()
	n = 10_000
	if text := os.Getenv("HAYLOFT_BENCH_DOCUMENTS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		check(w.b, err)
	}
	ses, err := session.NewSession(&aws.Config{
		Region: &w.S3.Region, Endpoint: &w.S3.Endpoint, S3ForcePathStyle: aws.Bool(true),
		Credentials: credentials.NewStaticCredentials(w.S3.AccessKey, w.S3.SecretKey, ""),
	})
	check(w.b, err)
	api := s3.New(ses)
	var all sync.WaitGroup
	next := make(chan int)
	failed := make(chan error, 1)
	for range 8 {
		all.Go(func() {
			for i := range next {
				d := points.Document(namespace, fmt.Sprintf("point-%d", i), i)
				path := points.Path(w.b, d)
				_, err := api.PutObject(&s3.PutObjectInput{Bucket: &w.S3.Bucket, Key: &path, Body: bytes.NewReader(points.Encode(w.b, d))})
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
	select {
	case err := <-failed:
		w.b.Fatal(err)
	default:
	}
	return n
}

// BenchmarkRefreshUnchanged: CPU time and requests of the target worker for one
// look through a target on which nothing has changed, beside what a plain loop
// takes that lists and reads everything each time.
func BenchmarkRefreshUnchanged(b *testing.B) {
	w := newWorld(b)
	n := w.fill("elsewhere")
	t := &v1alpha1.BackupTarget{}
	check(b, w.c.Get(w.ctx, client.ObjectKey{Name: w.Target}, t))
	worker := &targetwork.Caller{
		Path: harness.TestedBinary(b, "targetio"), Kubeconfig: w.Kubeconfigs["targetio"], Namespace: harness.HayloftNamespace,
	}
	request := protocol.RefreshRequest{MaxDocuments: 2 * n, MaxRead: n, CPUMilliseconds: time.Hour.Milliseconds()}
	look := func(known []string) (protocol.RefreshResult, protocol.Cost) {
		b.Helper()
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		defer cancel()
		request.Known = known
		r, cost, err := worker.Refresh(ctx, protocol.OnTarget(t), request)
		check(b, err)
		return r, cost
	}
	var known []string
	var plain protocol.Cost
	for len(known) < n { // what is told at once is bounded
		r, cost := look(known)
		plain.CPU, plain.Wall, plain.Requests = plain.CPU+cost.CPU, plain.Wall+cost.Wall, plain.Requests+cost.Requests
		for _, d := range r.Read {
			known = append(known, protocol.Known(d.Path, d.Version))
		}
	}
	b.Logf("reading all %d: %s of CPU, %s, %d requests", n, plain.CPU, plain.Wall, plain.Requests)
	var best protocol.Cost
	for i := range 3 {
		r, cost := look(known)
		if r.Unchanged != n {
			b.Fatalf("of %d documents %d are unchanged", n, r.Unchanged)
		}
		b.Logf("unchanged: %s of CPU, %s, %d requests", cost.CPU, cost.Wall, cost.Requests)
		if i == 0 || cost.CPU < best.CPU {
			best = cost
		}
	}
	b.Log(load())
	b.ReportMetric(best.CPU.Seconds(), "unchanged-CPU-s")
	b.ReportMetric(float64(best.Requests), "unchanged-requests")
	b.ReportMetric(plain.CPU.Seconds(), "plain-CPU-s")
	b.ReportMetric(float64(plain.Requests), "plain-requests")
}

// BenchmarkRefreshIntervals: what a coordinator and its workers use, and ask of the
// target, whatever interval is set on a target with many points, each for a window
// (HAYLOFT_BENCH_REFRESH, 5m) after the points are known.
func BenchmarkRefreshIntervals(b *testing.B) {
	w := newWorld(b)
	namespace := harness.Namespace(b, w.Config)
	n := w.fill(namespace)
	window := 5 * time.Minute
	if text := os.Getenv("HAYLOFT_BENCH_REFRESH"); text != "" {
		var err error
		window, err = time.ParseDuration(text)
		check(b, err)
	}
	set := func(interval, cpu string) {
		b.Helper()
		t := &v1alpha1.BackupTarget{}
		check(b, w.c.Get(w.ctx, client.ObjectKey{Name: w.Target}, t))
		limit := resource.MustParse(cpu)
		t.Spec.Refresh = &v1alpha1.TargetRefresh{Interval: interval, MaxCPU: &limit}
		check(b, w.c.Update(w.ctx, t))
		t.Status.Refresh = nil // what was spent before counts against no hour
		check(b, w.c.Status().Update(w.ctx, t))
	}
	set("1s", "1") // to learn all of them in a short time
	coordinator := w.StartCoordinator(b, "coordinator-1", harness.ProgramOptions{Args: []string{"--refresh-floor=1s"}})
	t := w.targetReady(w.Target)
	await(w, t, "to have all its points known", func() bool {
		s := t.Status.Refresh
		return s != nil && s.Documents != nil && s.Documents.Points == int64(n) && s.Documents.Unchanged == int64(n)
	})
	coordinator.Kill(b)
	for _, interval := range []string{"", "0", "1s", "300s"} {
		set(interval, "10m")
		p := w.StartCoordinator(b, "coordinator"+interval, harness.ProgramOptions{})
		w.pass(warmUp)
		from := w.usage(p)
		w.pass(window)
		to := w.usage(p)
		check(b, w.c.Get(w.ctx, client.ObjectKey{Name: w.Target}, t))
		s := t.Status.Refresh
		own, children := millicores(to.cpu-from.cpu, window), millicores(to.children-from.children, window)
		b.Logf("interval %q: every %s (%s); coordinator %.1f millicores, workers %.1f; the last refresh took %d ms of CPU and %d requests: %.0f requests an hour; %s",
			interval, s.EffectiveInterval.Duration, s.IntervalFrom, own, children, s.Cost.CPUMilliseconds, s.Cost.Requests,
			float64(s.Cost.Requests)*time.Hour.Seconds()/s.EffectiveInterval.Seconds(), load())
		name := interval
		if name == "" {
			name = "unset"
		}
		b.ReportMetric(own, name+"-millicores")
		b.ReportMetric(children, name+"-targetio-millicores")
		p.Kill(b)
	}
}
