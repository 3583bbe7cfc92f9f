package targetwork_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/s3"
	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/target"
	"hayloft.dev/test/enginetest"
	"hayloft.dev/test/points"
)

func ask(known ...string) targetwork.RefreshRequest {
	return targetwork.RefreshRequest{Known: known, MaxDocuments: 10_000, MaxRead: 1000, CPUMilliseconds: 20_000}
}

func versions(r targetwork.RefreshResult) []string {
	var out []string
	for _, d := range r.Read {
		out = append(out, protocol.Known(d.Path, d.Version))
	}
	for _, d := range r.Faults {
		if d.Version != "" {
			out = append(out, protocol.Known(d.Path, d.Version))
		}
	}
	return out
}

// clientOf is a client of an S3 server. It does not use http.DefaultClient: the session changes what it is given, where the
// environment names a bundle of authorities, and others use that one at the same time.
func clientOf(endpoint, key, secret string) *s3.S3 {
	return s3.New(session.Must(session.NewSession(&aws.Config{
		Region: aws.String("us-east-1"), Endpoint: &endpoint, S3ForcePathStyle: aws.Bool(true), HTTPClient: &http.Client{},
		Credentials: credentials.NewStaticCredentials(key, secret, ""),
	})))
}

// put writes objects to the bucket as a client of S3 does.
func put(t *testing.T, to *enginetest.Target) func(path string, data []byte) {
	t.Helper()
	client := clientOf(to.Credential[target.Endpoints], to.Credential[target.AccessKeyID], to.Credential[target.SecretAccessKey])
	return func(path string, data []byte) {
		_, err := client.PutObject(&s3.PutObjectInput{Bucket: aws.String("backups"), Key: &path, Body: bytes.NewReader(data)})
		require.NoError(t, err)
	}
}

// Only what is new or changed is read, on either kind of target.
func TestRefreshReadsByDifference(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	bucket := enginetest.StartS3(t)
	putS3 := put(t, bucket.Target)
	for name, c := range map[string]struct {
		at     targetwork.Target
		put    func(path string, data []byte)
		remove func(path string)
	}{
		"directory": {
			directory(dir), func(path string, data []byte) { points.Write(t, dir, path, data) },
			func(path string) { require.NoError(t, os.Remove(filepath.Join(dir, path))) },
		},
		"s3": {w.s3(t, bucket.Target), putS3, func(path string) { require.NoError(t, os.Remove(filepath.Join(bucket.Dir, path))) }},
	} {
		t.Run(name, func(t *testing.T) {
			r, cost, err := w.Refresh(within(t, limit), c.at, ask())
			require.NoError(t, err)
			require.Zero(t, r.Listed)
			require.True(t, cost.Reaped)
			require.Positive(t, cost.CPU)

			for i := range 5 {
				d := points.Document("prod", fmt.Sprintf("p%d", i), i)
				c.put(points.Path(t, d), points.Encode(t, d))
			}
			r, cost, err = w.Refresh(within(t, limit), c.at, ask())
			require.NoError(t, err)
			require.Len(t, r.Read, 5)
			require.Equal(t, 5, r.Listed)
			first := r.Read[0]
			want := points.Document("prod", "p0", 0)
			require.Equal(t, want.Origin, first.Origin)
			require.Equal(t, want.Point, first.Point)
			require.Equal(t, want.Disks, first.Disks)
			reading := cost.Requests

			known := versions(r)
			r, cost, err = w.Refresh(within(t, limit), c.at, ask(known...))
			require.NoError(t, err)
			require.Equal(t, targetwork.RefreshResult{Listed: 5, Unchanged: 5}, r)
			require.Equal(t, reading-5, cost.Requests, "nothing was read")

			changed := points.Document("prod", "p1", 1)
			changed.Notes = []string{"changed"}
			c.put(points.Path(t, changed), points.Encode(t, changed))
			gone := points.Path(t, points.Document("prod", "p2", 2))
			c.remove(gone)
			r, _, err = w.Refresh(within(t, limit), c.at, func() targetwork.RefreshRequest {
				r := ask(known...)
				r.Confirm = []string{gone, points.Path(t, changed)}
				return r
			}())
			require.NoError(t, err)
			require.Equal(t, 3, r.Unchanged)
			require.Len(t, r.Read, 1)
			require.True(t, r.Read[0].Changed)
			require.Equal(t, []string{gone}, r.Gone)
			require.Equal(t, []string{gone}, r.Absent, "what is there is not absent")

			anyhow := protocol.Known(points.Path(t, changed), protocol.AnyVersion)
			r, _, err = w.Refresh(within(t, limit), c.at, ask(append(versions(r)[:0:0], anyhow, known[0], known[3], known[4])...))
			require.NoError(t, err)
			require.Equal(t, 4, r.Unchanged)
			require.Len(t, r.Seen, 1)
			path, version := protocol.ParseKnown(r.Seen[0])
			require.Equal(t, points.Path(t, changed), path)
			require.Len(t, version, 16)
		})
	}
}

// Whatever lies among the documents is told by name, and hinders none.
func TestRefreshOfStrangeFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	good := points.Document("prod", "good", 1)
	points.WriteAll(t, dir, good)
	other := points.Document("prod", "other", 2)
	data := points.Encode(t, other)
	at := func(name string, n int) string { return points.Path(t, points.Document("prod", name, n)) }
	points.Write(t, dir, at("truncated", 3), data[:len(data)/2])
	points.Write(t, dir, at("another", 4), data)
	points.Write(t, dir, at("empty", 5), nil)
	points.Write(t, dir, at("huge", 6), bytes.Repeat([]byte(" "), document.MaxBytes+1))
	points.Write(t, dir, at("deep", 7), []byte(strings.Repeat(`{"a":`, 100_000)))
	points.Write(t, dir, at("future", 8), bytes.Replace(data, []byte(`"formatVersion":1`), []byte(`"formatVersion":9`), 1))
	points.Write(t, dir, "hayloft/points/README", []byte("hello"))
	points.Write(t, dir, "hayloft/points/Prod/x-"+string(points.UID(9))+".json", data)
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, at("link", 10))))
	for i := range 50 {
		points.Write(t, dir, fmt.Sprintf("hayloft/points/a/%03d", i), nil)
	}

	r, _, err := w.Refresh(within(t, limit), directory(dir), ask())
	require.NoError(t, err)
	require.Len(t, r.Read, 1)
	require.Equal(t, good.Point, r.Read[0].Point)
	require.Equal(t, 52, r.Strange)
	said := map[string]string{}
	for _, f := range r.Faults {
		require.LessOrEqual(t, len(f.Message), 320)
		said[f.Path] = string(f.Reason) + ": " + f.Message
	}
	require.Len(t, said, 20+6)
	require.Contains(t, said[at("truncated", 3)], "Damaged")
	require.Contains(t, said[at("another", 4)], "Mismatch: ")
	require.Contains(t, said[at("empty", 5)], "Damaged")
	require.Contains(t, said[at("huge", 6)], "more than the")
	require.Contains(t, said[at("deep", 7)], "Damaged")
	require.Contains(t, said[at("future", 8)], "Invalid: ")

	again, _, err := w.Refresh(within(t, limit), directory(dir), ask(versions(r)...))
	require.NoError(t, err)
	require.Empty(t, again.Read)
	require.Equal(t, 7, again.Unchanged, "faulty documents are not read again either")
}

// What a refresh may read is bounded; the rest is left for the next one. What a
// target may hold is bounded too: then there is no result.
func TestRefreshIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	for i := range 30 {
		points.WriteAll(t, dir, points.Document("prod", fmt.Sprintf("p%02d", i), i))
	}
	request := ask()
	request.MaxRead = 10
	var known []string
	for _, left := range []int{20, 10, 0} {
		request.Known = known
		r, _, err := w.Refresh(within(t, limit), directory(dir), request)
		require.NoError(t, err)
		require.Len(t, r.Read, 10)
		require.Equal(t, left, r.Unread)
		require.Empty(t, r.Gone)
		known = append(known, versions(r)...)
	}
	request.MaxDocuments = 29
	_, cost, err := w.Refresh(within(t, limit), directory(dir), request)
	failed(t, err, protocol.Invalid, "more than 29 documents")
	require.Positive(t, cost.CPU, "a failure costs too")
	request.MaxDocuments, request.CPUMilliseconds, request.Known = 100, 1, nil
	r, _, err := w.Refresh(within(t, limit), directory(dir), request)
	require.NoError(t, err)
	require.Equal(t, 30, r.Unread, "the time was over before anything was read")
	_, _, err = w.Refresh(within(t, limit), directory(filepath.Join(dir, "absent")), ask(known...))
	failed(t, err, protocol.NotFound, "does not exist")
}

// A listing that breaks off, goes round in circles or is something else has no
// result at all, so that nothing follows from what it lacks.
func TestAListingThatIsNotWholeHasNoResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	entry := func(n int) string {
		return fmt.Sprintf("<Contents><Key>%s</Key><ETag>&quot;%d&quot;</ETag><Size>10</Size></Contents>", points.Path(t, points.Document("prod", "p", n)), n)
	}
	const head, foot = `<?xml version="1.0"?><ListBucketResult xmlns="x">`, `</ListBucketResult>`
	for name, answers := range map[string][]string{
		"cut off in an entry":   {head + entry(1) + entry(2)[:40]},
		"cut off at its end":    {head + entry(1)},
		"more, without where":   {head + "<IsTruncated>true</IsTruncated>" + entry(1) + foot},
		"in circles":            {head + "<IsTruncated>true</IsTruncated><NextContinuationToken>a</NextContinuationToken>" + entry(1) + foot},
		"a web page":            {"<html><body>Welcome</body></html>"},
		"nothing":               {""},
		"an entry of elsewhere": {head + "<Contents><Key>other/x</Key><Size>1</Size></Contents>" + foot},
		"no size":               {head + "<Contents><Key>hayloft/points/x</Key><Size>many</Size></Contents>" + foot},
		"the second page fails": {
			head + "<IsTruncated>true</IsTruncated><NextContinuationToken>a</NextContinuationToken>" + entry(1) + foot, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprint(rw, answers[min(int(calls.Add(1)), len(answers))-1])
			}))
			defer server.Close()
			at := targetwork.Target{Name: "s3", Spec: v1alpha1.BackupTargetSpec{
				S3:               &v1alpha1.S3Target{Endpoint: server.URL, Insecure: true, Bucket: "backups", Region: "us-east-1"},
				CredentialSecret: w.credential(t, "k", canary),
			}}
			known := protocol.Known(points.Path(t, points.Document("prod", "p", 7)), "0123456789abcdef")
			began := time.Now()
			_, cost, err := w.Refresh(within(t, limit), at, ask(known))
			require.Error(t, err)
			require.NotEqual(t, protocol.Timeout, targetwork.ReasonOf(err), "%v after %s", err, time.Since(began))
			require.Positive(t, cost.Requests)
		})
	}
}
