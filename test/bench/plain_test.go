package bench

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/s3"

	"hayloft.dev/pkg/target"
	"hayloft.dev/test/harness"
	"hayloft.dev/test/points"
)

// plainWindow is how long the loop runs that does not pause.
const plainWindow = 30 * time.Second

// plainLoop does what Harvester v1.4.2 does with an interval of 0, and no more: it
// lists the documents, reads each of them, and begins again. It returns the cores
// that it uses and its requests in an hour.
func (w *world) plainLoop(m *manyPoints) (cores, requests float64) {
	w.b.Helper()
	ses, err := session.NewSession(&aws.Config{
		Region: &w.S3.Region, Endpoint: &w.S3.Endpoint, S3ForcePathStyle: aws.Bool(true),
		Credentials: credentials.NewStaticCredentials(w.S3.AccessKey, w.S3.SecretKey, ""),
	})
	check(w.b, err)
	api := s3.New(ses)
	began, before, n := time.Now(), ownCPU(), 0
	for time.Since(began) < plainWindow {
		err := api.ListObjectsV2Pages(&s3.ListObjectsV2Input{Bucket: &w.S3.Bucket, Prefix: aws.String("hayloft/points/")}, func(page *s3.ListObjectsV2Output, _ bool) bool {
			n++
			for _, o := range page.Contents {
				out, err := api.GetObject(&s3.GetObjectInput{Bucket: &w.S3.Bucket, Key: o.Key})
				check(w.b, err)
				_, err = io.Copy(io.Discard, out.Body)
				check(w.b, err)
				check(w.b, out.Body.Close())
				n++
				if time.Since(began) > plainWindow {
					return false
				}
			}
			return true
		})
		check(w.b, err)
	}
	took := time.Since(began)
	return (ownCPU() - before).Seconds() / took.Seconds(), float64(n) * time.Hour.Seconds() / took.Seconds()
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sample is how many of the backups are inspected, for all of them.
const sample = 200

// longhornPoll is what one poll of Longhorn's costs that lists all and inspects all:
// the engine's own command line, as its manager runs it, for a sample of the backups,
// scaled to all of them.
func (w *world) longhornPoll(m *manyPoints) (cpu, took time.Duration, requests int64) {
	w.b.Helper()
	env := append(w.bareEnv(m.endpoint), "PATH=/usr/bin:/bin")
	run := func(args ...string) (time.Duration, time.Duration) {
		cmd := exec.CommandContext(w.ctx, filepath.Join(harness.Root(w.b), "bin", "local", "longhorn"), append([]string{"backup"}, args...)...)
		cmd.Env = env
		began := time.Now()
		out, err := cmd.CombinedOutput()
		if err != nil {
			w.b.Fatalf("longhorn backup %v: %v: %s", args, err, out)
		}
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), time.Since(began)
	}
	url, err := target.URL(m.target.Spec)
	check(w.b, err)
	before := m.requests.Load()
	cpu, took = run("ls", url)
	requests = m.requests.Load() - before
	before = m.requests.Load()
	for i := range sample {
		d := points.Document("", "", i*m.n/sample).Disks[0]
		c, t := run("inspect", fmt.Sprintf("%s?backup=%s&volume=%s", url, d.Backup, d.Volume))
		cpu, took = cpu+c*time.Duration(m.n)/sample, took+t*time.Duration(m.n)/sample
	}
	return cpu, took, requests + (m.requests.Load()-before)*int64(m.n)/sample
}
