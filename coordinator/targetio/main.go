// Program targetio is the target worker: it does one operation on one backup
// target, or on the document of one point that is kept in the cluster, and ends.
// It is the only program that reads or writes targets, the only one that reads
// the Secrets of targets, of VMs and of points, and the only one that links
// backupstore.
//
// It reads one protocol.Request as JSON on stdin and writes one
// protocol.Answer on stdout; logs go to stderr. It reads the target's Secret by
// name from Kubernetes, so that neither its arguments nor its input hold one.
//
// As `targetio share` it is what runs in the Pod of a share instead, and serves the
// files there to target workers: without a right in Kubernetes, and for as long as
// the Pod is there.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"hayloft.dev/coordinator/targetio/cluster"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/version"
	"hayloft.dev/pkg/words"
)

const (
	// maxRequest bounds what is read from stdin; the largest request is that of a
	// refresh, at about 150 bytes for each document that is known.
	maxRequest = 64 << 20
	// maxMessage bounds what is said of a failure; a service's own words are in it.
	maxMessage = 4096
	// lastWord is how long an operation may take to end after its time: to unwind and to
	// give a lock back, and less than until the caller kills the worker.
	lastWord = 1750 * time.Millisecond
)

func main() {
	// backupstore logs with logrus.
	logrus.SetOutput(os.Stderr)
	logrus.SetLevel(logrus.WarnLevel)
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))

	if len(os.Args) > 1 && (os.Args[1] == "share" || os.Args[1] == "files") {
		if err := inPod(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "targetio:", err)
			os.Exit(1)
		}
		return
	}
	flags := flag.NewFlagSet("targetio", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "file that tells how to reach the Kubernetes API; empty: as the Pod it runs in")
	namespace := flags.String("namespace", "", "Hayloft's own namespace, where the Secrets of targets are")
	mounts := flags.String("mounts", "", "folder in which NFS and CIFS targets are mounted, each under its target's name")
	pods := flags.Bool("share-pods", false, "work on NFS and CIFS targets through the Pods that the coordinators make for them")
	asked := version.Flag(flags)
	_ = flags.Parse(os.Args[1:])
	if err := asked(); errors.Is(err, flag.ErrHelp) {
		return
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "targetio:", err)
		os.Exit(1)
	}
	if *namespace == "" || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "targetio: --namespace is required, and there are no arguments besides flags; the request comes on stdin")
		os.Exit(2)
	}

	if err := limitMemory(memory()); err != nil {
		fmt.Fprintln(os.Stderr, "targetio:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	answer := run(ctx, os.Stdin, worker{namespace: *namespace, mounts: *mounts, pods: *pods}, *kubeconfig)
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fmt.Fprintln(os.Stderr, "targetio: writing the answer:", err)
		os.Exit(1)
	}
}

// run reads a request and does it within its time.
func run(ctx context.Context, in io.Reader, w worker, kubeconfig string) *protocol.Answer {
	var request protocol.Request
	dec := json.NewDecoder(io.LimitReader(in, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&request); err != nil {
		return &protocol.Answer{Error: refuse("reading the request: %v", err)}
	}
	if request.TimeoutMilliseconds <= 0 {
		return &protocol.Answer{Error: refuse("the request allows no time")}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(request.TimeoutMilliseconds)*time.Millisecond)
	defer cancel()

	done := make(chan *protocol.Answer, 1)
	go func() { done <- perform(ctx, &request, w, kubeconfig) }()
	select {
	case a := <-done:
		return a
	case <-ctx.Done():
	}
	// A system call on a hung mount does not end with the context.
	select {
	case a := <-done:
		return a
	case <-time.After(lastWord):
		return &protocol.Answer{Error: explain(ctx, &request, ctx.Err(), nil)}
	}
}

func perform(ctx context.Context, request *protocol.Request, w worker, kubeconfig string) *protocol.Answer {
	api, err := cluster.New(kubeconfig)
	if err != nil {
		return &protocol.Answer{Error: explain(ctx, request, err, nil)}
	}
	w.cluster = api
	answer := &protocol.Answer{}
	if err := w.do(ctx, request, answer); err != nil {
		answer = &protocol.Answer{Error: explain(ctx, request, err, w.secrets)}
	}
	if w.store != nil {
		answer.Requests, answer.RemoteCPUMilliseconds = w.store.Requests(), w.store.RemoteCPU().Milliseconds()
	}
	return answer
}

// explain turns any error into one with a reason and without secrets.
func explain(ctx context.Context, request *protocol.Request, err error, secrets []string) *protocol.Error {
	e := asError(err)
	if ctx.Err() != nil && e.Reason == protocol.Internal {
		// Whatever it was, it failed because the time was over.
		e = protocol.Error{Reason: protocol.Internal, Transient: true, Message: fmt.Sprintf("the target worker was told to end: %v", err)}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			e.Reason = protocol.Timeout
			e.Message = fmt.Sprintf("%s: %s was not done within %s: %v", request.Target, request.Operation,
				time.Duration(request.TimeoutMilliseconds)*time.Millisecond, err)
		}
	}
	for _, s := range secrets {
		e.Message = strings.ReplaceAll(e.Message, s, "[redacted]")
	}
	e.Message = words.Clean(e.Message, maxMessage)
	return &e
}
