package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// stack is the running local stack and the commands that work with it.
type stack struct {
	bin, dir   string
	kubeconfig string
	client     client.Client
	process    *exec.Cmd
	ended      chan error
}

// startTime bounds the start of the stack, which takes a few seconds.
const startTime = 3 * time.Minute

func startStack(ctx context.Context, bin, dir string) (*stack, error) {
	s := &stack{bin: bin, dir: filepath.Join(dir, "stack"), ended: make(chan error, 1)}
	// Not CommandContext: the stack is asked to end, so that it can clean up.
	s.process = exec.Command(filepath.Join(bin, "local", "hayloft-local"), "up", "--dir", s.dir, "--bin", bin)
	s.process.Stdout, s.process.Stderr = os.Stdout, os.Stderr
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.process.Start(); err != nil {
		return nil, fmt.Errorf("starting the stack: %w", err)
	}
	go func() { s.ended <- s.process.Wait() }()
	if err := s.awaitReady(ctx); err != nil {
		_ = s.stop()
		return nil, err
	}
	return s, nil
}

func (s *stack) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		raw, err := os.ReadFile(filepath.Join(s.dir, "stack.json"))
		if err == nil {
			return s.connect(raw)
		}
		select {
		case err := <-s.ended:
			s.ended <- err
			return fmt.Errorf("the stack ended while it started: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("waiting for the stack: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *stack) connect(stackJSON []byte) error {
	var facts struct {
		Kubeconfig string `json:"kubeconfig"`
	}
	if err := json.Unmarshal(stackJSON, &facts); err != nil {
		return fmt.Errorf("reading stack.json: %w", err)
	}
	s.kubeconfig = facts.Kubeconfig
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, kubevirt.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("registering API types: %w", err)
		}
	}
	if s.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return nil
}

func (s *stack) stop() error {
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return nil // it has ended
	}
	select {
	case <-s.ended:
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("the stack did not end within a minute: killing it: %w", s.process.Process.Kill())
	}
}

// hayloft runs the command line as a user would, showing what it prints.
func (s *stack) hayloft(ctx context.Context, args ...string) error {
	fmt.Println("$ hayloft", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "hayloft"), append(args, "--kubeconfig", s.kubeconfig)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("hayloft %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// local runs the stack's own tool and returns what it prints.
func (s *stack) local(ctx context.Context, args ...string) (string, error) {
	return output(ctx, filepath.Join(s.bin, "local", "hayloft-local"), args...)
}

// vm talks to the guest of a running VM.
func (s *stack) vm(ctx context.Context, op, name string, args ...string) (string, error) {
	return s.local(ctx, append([]string{"vm", op, namespace + "/" + name, "--dir", s.dir}, args...)...)
}

// disk works on the disk of a claim that no VM uses.
func (s *stack) disk(ctx context.Context, op, claim string, args ...string) (string, error) {
	return s.local(ctx, append([]string{"disk", op, "--kubeconfig", s.kubeconfig, "--namespace", namespace, "--claim", claim}, args...)...)
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}
