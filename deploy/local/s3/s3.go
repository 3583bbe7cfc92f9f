// Package s3 runs a real S3 server (versitygw over a folder) as the local stack's backup target, with one bucket and
// keys of its own. It speaks no S3 itself.
package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"hayloft.dev/deploy/local/ports"
	"hayloft.dev/deploy/local/proc"
)

const (
	bucket = "backups"
	region = "us-east-1" // versitygw's default

	startTimeout = 30 * time.Second       // it answers in 0.2 s
	startPoll    = 50 * time.Millisecond  // how often it is asked
	attempts     = 5                      // of starting: a port that was free can be taken by another program
	answerLimit  = 500 * time.Millisecond // of one question
)

// Server is a running S3 server and the way in.
type Server struct {
	Endpoint  string `json:"endpoint"` // URL without a path
	Bucket    string `json:"bucket"`
	Region    string `json:"region"`
	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
}

// Start starts the server on a free port of an IP address. Its objects are plain files below dir/data/<bucket>. It ends
// with the table.
func Start(ctx context.Context, table *proc.Table, binary, dir, ip string) (*Server, error) {
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(filepath.Join(data, bucket), 0o755); err != nil { // a folder is a bucket
		return nil, fmt.Errorf("starting S3: %w", err)
	}
	server := &Server{Bucket: bucket, Region: region, AccessKey: "HL" + rand.Text(), SecretKey: rand.Text() + rand.Text()}
	metadata, err := metadataFlags(dir)
	if err != nil {
		return nil, fmt.Errorf("starting S3: %w", err)
	}
	var failures error
	for range attempts {
		address, err := ports.Free(ip)
		if err != nil {
			return nil, fmt.Errorf("starting S3: %w", err)
		}
		args := append([]string{"--port", address, "--region", region, "--keep-alive", "posix"}, metadata...)
		process, err := table.Start(proc.Spec{
			Kind: "s3", Name: "versitygw", Path: binary, Args: append(args, data),
			Env: []string{"ROOT_ACCESS_KEY=" + server.AccessKey, "ROOT_SECRET_KEY=" + server.SecretKey},
		})
		if err != nil {
			return nil, err
		}
		server.Endpoint = "http://" + address
		err = waitAnswer(ctx, server.Endpoint, process)
		if err == nil {
			return server, nil
		}
		process.Kill()
		failures = errors.Join(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("starting S3: %w", failures)
}

// metadataFlags says where the server keeps what S3 knows of an object besides its bytes: in extended attributes, or
// in files beside the data where the file system has none.
func metadataFlags(dir string) ([]string, error) {
	if err := unix.Setxattr(dir, "user.hayloft", []byte("probe"), 0); err == nil {
		return nil, nil
	}
	sidecar := filepath.Join(dir, "metadata")
	return []string{"--sidecar", sidecar}, os.MkdirAll(sidecar, 0o755)
}

// waitAnswer waits until the server answers at all: without keys it answers 403.
func waitAnswer(ctx context.Context, endpoint string, process *proc.Process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := &http.Client{Timeout: answerLimit}
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err == nil {
			return response.Body.Close()
		}
		select {
		case <-process.Done():
			return fmt.Errorf("it ended at once: %w", process.Err())
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", err)
		case <-tick.C:
		}
	}
}
