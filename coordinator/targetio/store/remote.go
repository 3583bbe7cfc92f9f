package store

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"hayloft.dev/coordinator/shares"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Remote is a Pod into which a share is mounted.
type Remote struct {
	// Pod is its name, for sentences; Address is where it serves the share.
	Pod, Address string
	TLS          *tls.Config
}

// remote is a share that a Pod serves. One connection is one process there, which
// ends with it.
type remote struct {
	pod, source string
	client      *http.Client
	requests    *atomic.Int64
	// cpu is what the other side told that it took; limit what it may, 0 for no limit,
	// both in milliseconds.
	cpu, limit *atomic.Int64
}

// dialTime is how long a Pod may take to accept and to greet.
const dialTime = 5 * time.Second

func newRemote(spec v1alpha1.BackupTargetSpec, r Remote, requests, cpu, limit *atomic.Int64) remote {
	return remote{
		pod: r.Pod, source: shares.Source(spec), requests: requests, cpu: cpu, limit: limit,
		client: &http.Client{Transport: &http.Transport{
			DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				d := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTime}, Config: r.TLS}
				ctx, cancel := context.WithTimeout(ctx, dialTime)
				defer cancel()
				return d.DialContext(ctx, network, r.Address)
			},
			MaxConnsPerHost: 2, DisableCompression: true, // the second one while a file is being read
		}},
	}
}

// do sends one request; the answer of a nil error has status 200.
func (r remote) do(ctx context.Context, method, what, path string, body io.Reader, size int64) (*http.Response, error) {
	r.requests.Add(1)
	action := what[len("/v1/"):] + " " + path
	u := url.URL{Scheme: "https", Host: "share", Path: what, RawQuery: url.Values{"path": {path}}.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("preparing a request to Pod %s: %w", r.pod, err)
	}
	if body != nil {
		req.ContentLength = size
	}
	if limit := r.limit.Load(); limit > 0 {
		req.Header.Set(headerLimit, strconv.FormatInt(limit, 10))
	}
	answer, err := r.client.Do(req)
	if err != nil {
		return nil, r.broken(ctx, action, err)
	}
	if took, err := strconv.ParseInt(answer.Header.Get(headerCPU), 10, 64); err == nil {
		r.cpu.Add(max(0, took))
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	var failure wireFailure
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxFailure)).Decode(&failure); err != nil || failure.Error == nil && !failure.Missing {
		return nil, &protocol.Error{Reason: protocol.Internal, Transient: true, Message: fmt.Sprintf(
			"Pod %s answered %s with %s, and without a cause: is it of this release?", r.pod, action, answer.Status)}
	}
	if failure.Missing {
		return nil, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	return nil, failure.Error
}

// maxFailure bounds what is read of an answer that is none.
const maxFailure = 64 << 10

// ask sends a request whose answer is small.
func (r remote) ask(ctx context.Context, method, what, path string, into any) error {
	answer, err := r.do(ctx, method, what, path, nil, 0)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		return r.broken(ctx, what[len("/v1/"):]+" "+path, err)
	}
	// What follows the value, so that the connection can be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxFailure))
	return nil
}

// broken is a connection that gave no answer, or not all of it.
func (r remote) broken(ctx context.Context, action string, err error) error {
	var network net.Error
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &protocol.Error{Reason: protocol.Timeout, Transient: true, Message: fmt.Sprintf(
			"%s: Pod %s got no answer from the share in the time allowed (%s): is its server away or overloaded?", r.source, r.pod, action)}
	}
	if errors.As(err, &network) && network.Timeout() {
		return &protocol.Error{Reason: protocol.Timeout, Transient: true, Message: fmt.Sprintf(
			"%s: Pod %s, into which the share is mounted, does not answer (%s): is its node away, or does a network policy keep coordinators from it?", r.source, r.pod, action)}
	}
	return &protocol.Error{Reason: protocol.Unreachable, Transient: true, Message: fmt.Sprintf(
		"%s: Pod %s, into which the share is mounted: %s: %v", r.source, r.pod, action, err)}
}

func (r remote) list(ctx context.Context, dir string) ([]string, error) {
	var found wireNames
	err := r.ask(ctx, http.MethodGet, wireList, dir, &found)
	return found.Names, err
}

func (r remote) walk(ctx context.Context, dir string, see func(File) error) error {
	answer, err := r.do(ctx, http.MethodGet, wireWalk, dir, nil, 0)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	for lines := json.NewDecoder(answer.Body); ; {
		var f wireFile
		if err := lines.Decode(&f); err != nil {
			return r.broken(ctx, "walk "+dir, err) // one that ends without an end is not whole
		}
		if f.End == nil {
			if err := see(File{Path: f.Path, Size: f.Size, Version: f.Version}); err != nil {
				return err
			}
			continue
		}
		r.cpu.Add(max(0, f.End.CPUMilliseconds))
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxFailure))
		if f.End.Error != nil {
			return f.End.Error
		}
		return nil
	}
}

func (r remote) stat(ctx context.Context, path string) (info, error) {
	var found wireInfo
	err := r.ask(ctx, http.MethodGet, wireStat, path, &found)
	return info{size: found.Size, modified: found.Modified}, err
}

func (r remote) read(ctx context.Context, path string) (io.ReadCloser, error) {
	answer, err := r.do(ctx, http.MethodGet, wireRead, path, nil, 0)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

func (r remote) write(ctx context.Context, path string, content io.ReadSeeker) error {
	size, err := content.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = content.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("reading what is to be written to %s: %w", path, err)
	}
	answer, err := r.do(ctx, http.MethodPut, wireWrite, path, io.NopCloser(content), size)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxFailure))
	return answer.Body.Close()
}

func (r remote) remove(ctx context.Context, path string) error {
	return r.ask(ctx, http.MethodDelete, wireRemove, path, &struct{}{})
}
