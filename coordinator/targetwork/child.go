package targetwork

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"hayloft.dev/coordinator/targetio/protocol"
)

const (
	// maxAnswer bounds a child's stdout; a document has at most 8 MiB.
	maxAnswer = 16 << 20
	// maxTail is how much of a child's stderr is kept for a message, of its end and of its
	// beginning.
	maxTail = 2 << 10
	// ownEnd is how long before its deadline the child ends by itself, at
	// most: it can give the true cause then, and its locks back.
	ownEnd = 2 * time.Second
	// grace is how long a child that was told to end has until it is killed,
	// and how long a killed one is waited for: one that hangs in a system
	// call on a dead mount stays.
	grace = 2 * time.Second
)

// passed are the variables that a child gets of the coordinator's: how to find
// the API server, proxies, certificates and time zones, and how the race detector
// is to behave in a program that has it. No credential is among them.
var passed = []string{
	"PATH", "HOME", "TMPDIR", "TZ",
	"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
	"GORACE",
}

// call runs one child for one request.
func (c *Caller) call(ctx context.Context, at protocol.Target, r protocol.Request) (*protocol.Answer, error) {
	answer, _, err := c.measured(ctx, at, r)
	return answer, err
}

// measured runs one child for one request and tells what it cost, however it went.
func (c *Caller) measured(ctx context.Context, at protocol.Target, r protocol.Request) (*protocol.Answer, Cost, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	deadline, _ := ctx.Deadline()
	began := time.Now()
	left := deadline.Sub(began)
	r.Target = at
	r.TimeoutMilliseconds = max(1, (left - min(ownEnd, left/4)).Milliseconds())
	input, err := json.Marshal(&r)
	if err != nil {
		return nil, Cost{}, fmt.Errorf("preparing a request to the target worker: %w", err)
	}
	p := &process{cmd: c.command(input), ended: make(chan error, 1)}
	answer, err := p.run(ctx)
	cost := Cost{Reaped: p.reaped}
	if answer != nil {
		cost.Requests = answer.Requests
	}
	switch {
	case err != nil && ctx.Err() != nil:
		err = over(ctx, at, r.Operation, time.Since(began))
	case err == nil && answer.Error != nil && errors.Is(ctx.Err(), context.Canceled):
		err = fmt.Errorf("%w: %w", answer.Error, context.Cause(ctx))
	case err == nil && answer.Error != nil:
		err = answer.Error
	}
	cost.Wall = time.Since(began)
	if p.reaped {
		cost.CPU = p.cpu
	}
	if answer != nil {
		cost.CPU += time.Duration(answer.RemoteCPUMilliseconds) * time.Millisecond
	}
	if c.Observe != nil {
		c.Observe(string(r.Operation), cost.Wall, cost.CPU, err)
	}
	if err != nil {
		return nil, cost, err
	}
	return answer, cost, nil
}

func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}

func (c *Caller) command(input []byte) *exec.Cmd {
	args := []string{"--kubeconfig", c.Kubeconfig, "--namespace", c.Namespace}
	if c.Mounts != "" {
		args = append(args, "--mounts", c.Mounts)
	}
	if c.SharePods {
		args = append(args, "--share-pods")
	}
	cmd := exec.Command(c.Path, args...)
	for _, name := range passed {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	cmd.Stdin = bytes.NewReader(input)
	// A group of its own is killed as a whole; and a child does not outlive
	// a coordinator that was killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.WaitDelay = grace
	return cmd
}

// process is one child.
type process struct {
	cmd    *exec.Cmd
	stdout bounded
	stderr tail
	// ended gets the outcome of waiting for the child, once.
	ended chan error
	// reaped in time; cpu is what it and its children took then.
	reaped bool
	cpu    time.Duration
}

// run starts the child and returns its answer. When ctx ends first, the child
// is ended; it is always reaped, if need be later.
func (p *process) run(ctx context.Context) (*protocol.Answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	started := make(chan error, 1)
	go func() {
		// The kernel sends the death signal when the thread that started
		// the child ends, so that thread has to stay until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.ended <- p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, &Error{Reason: protocol.Internal, Message: fmt.Sprintf("starting the target worker: %v", err)}
	}
	select {
	case err := <-p.ended:
		return p.result(err)
	case <-ctx.Done():
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		// The child is not reaped yet, so its group is still its own.
		_ = syscall.Kill(-p.cmd.Process.Pid, signal)
		select {
		case err := <-p.ended:
			return p.result(err)
		case <-time.After(grace):
		}
	}
	return nil, ctx.Err()
}

// result reads the answer of a child that was reaped.
func (p *process) result(err error) (*protocol.Answer, error) {
	if s := p.cmd.ProcessState; s != nil {
		p.reaped, p.cpu = true, s.UserTime()+s.SystemTime()
	}
	if p.stdout.over {
		return nil, &Error{Reason: protocol.Internal, Message: fmt.Sprintf("the target worker's answer is larger than %d bytes", maxAnswer)}
	}
	if err != nil && bytes.Contains(p.stderr.head, []byte(outOfMemory)) {
		return nil, &Error{Reason: protocol.Internal, Transient: true, Message: "the target worker took more memory than it may, which ended it: is something on the target larger than it should be? Volumes of many TiB take more: give the coordinator more memory"}
	}
	if err != nil {
		return nil, &Error{Reason: protocol.Internal, Transient: true, Message: fmt.Sprintf("the target worker failed: %v: %s", err, p.stderr.String())}
	}
	answer := &protocol.Answer{}
	if err := json.Unmarshal(p.stdout.data, answer); err != nil {
		return nil, &Error{Reason: protocol.Internal, Message: fmt.Sprintf("reading the target worker's answer: %v: %s", err, p.stderr.String())}
	}
	return answer, nil
}

// over is the error of an operation whose context ended before its answer.
func over(ctx context.Context, at protocol.Target, op protocol.Operation, took time.Duration) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Error{Reason: protocol.Timeout, Transient: true, Message: fmt.Sprintf(
			"%s: %s got no answer within %s and was ended: is it hung or overloaded?", at, op, took.Round(time.Millisecond))}
	}
	e := &Error{Reason: protocol.Internal, Transient: true, Message: fmt.Sprintf("%s: %s was ended", at, op)}
	return fmt.Errorf("%w: %w", e, context.Cause(ctx))
}

// bounded keeps up to maxAnswer bytes and fails beyond.
type bounded struct {
	data []byte
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > maxAnswer {
		b.over = true
		return 0, errors.New("too much output")
	}
	b.data = append(b.data, p...)
	return len(p), nil
}

// ReadFrom is what exec copies output by.
func (b *bounded) ReadFrom(r io.Reader) (int64, error) { return copied(b, r) }

// copied is io.Copy without its buffer of 32 KiB: answers are short, and a coordinator
// runs thousands of children while many points are made at once.
func copied(to io.Writer, from io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, 2<<10))
}

// outOfMemory is among the first words of a Go program that gets no more memory.
const outOfMemory = "out of memory"

// tail keeps the first and the last maxTail bytes.
type tail struct{ head, data []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.head = append(t.head, p[:min(len(p), maxTail-len(t.head))]...)
	t.data = append(t.data, p...)
	if cut := len(t.data) - maxTail; cut > 0 {
		t.data = append([]byte(nil), t.data[cut:]...)
	}
	return len(p), nil
}

// ReadFrom is what exec copies output by.
func (t *tail) ReadFrom(r io.Reader) (int64, error) { return copied(t, r) }

func (t *tail) String() string { return strings.ToValidUTF8(strings.TrimSpace(string(t.data)), "?") }
