package harness

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	stackTimeout    = 3 * time.Minute  // it takes 10 s on two idle cores
	stackEndTimeout = 60 * time.Second // it takes 3 s
)

// Names of things in every stack.
const (
	HayloftNamespace  = "hayloft-system"
	LonghornNamespace = "longhorn-system"
)

// StackOptions say what differs from the usual stack.
type StackOptions struct {
	WithHayloft bool   // also start the agents and coordinators of `make up`; a test that kills them starts its own
	WithWebhook bool   // the coordinators serve the admission webhook; always so with WithHayloft
	LogLevel    string // of the agents and coordinators; "" is debug
	RealTiming  bool   // volumes attach and detach as slowly as the real Longhorn's, which takes seconds
}

// Stack is a running local stack: a real API server with controllers, real engines and S3, the stand-ins.
type Stack struct {
	Dir          string
	Config       *rest.Config      // the admin's, without the client's rate limit
	Kubeconfig   string            // the admin's
	Kubeconfigs  map[string]string // program, for agents agent-NODE -> path
	Logs         string            // folder
	S3           S3
	Target       string // name of the BackupTarget of the S3 server
	Nodes        []Node
	Control      string
	Webhook      *Service // nil without one
	API          *API     // nil without Hayloft
	Agents       []string // URLs, with WithHayloft
	Coordinators []string // URLs, with WithHayloft

	logLevel string
	backends map[string]*Program // address of the webhook's Service -> coordinator
}

// Service is one address before several programs.
type Service struct {
	Address  string
	Backends []string
}

// API is how the coordinators' HTTP API is called: Authority and Token are paths.
type API struct{ URL, Authority, Token string }

// S3 is a stack's S3 server.
type S3 struct {
	Endpoint, Bucket, Region string
	AccessKey, SecretKey     string
}

// Node is a simulated node.
type Node struct{ Name, IP string }

// Process is one of the stack's own processes, such as an engine.
type Process struct {
	Kind, Name string
	PID        int
	Labels     map[string]string
}

// NewStack starts a stack of its own for the test and ends it with the test. When the test failed its logs are kept,
// and the test says where.
func NewStack(t testing.TB, o StackOptions) *Stack {
	t.Helper()
	program, err := findBinary("local/hayloft-local")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "hayloft-stack-")
	if err != nil {
		t.Fatal(err)
	}
	s := &Stack{Dir: dir, logLevel: o.LogLevel, backends: map[string]*Program{}}
	if s.logLevel == "" {
		s.logLevel = "debug"
	}
	args := []string{"up", "--dir", dir, "--with-parent", "--log-level", s.logLevel}
	if !o.WithHayloft {
		args = append(args, "--without-hayloft")
	}
	if o.RealTiming {
		args = append(args, "--real-timing")
	}
	if o.WithWebhook {
		args = append(args, "--with-webhook")
	}
	if audit := os.Getenv("HAYLOFT_AUDIT"); audit != "" { // test/rights compares it with the roles
		name, _, _ := strings.Cut(t.Name(), "/")
		args = append(args, "--audit-log", filepath.Join(audit, name+"."+filepath.Base(dir)+".log"))
	}
	output := filepath.Join(dir, "output")
	ended := s.run(t, program, args, output)
	if err := waitForFile(filepath.Join(dir, "stack.json"), stackTimeout, ended); err != nil {
		t.Fatalf("starting a stack: %v\n%s", err, tail(output))
	}
	s.read(t)
	return s
}

// run starts the stack's program and has it ended, and its folder removed, at the end of the test.
func (s *Stack) run(t testing.TB, program string, args []string, output string) <-chan error {
	t.Helper()
	log, err := os.Create(output)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting a stack: %v", err)
	}
	ended, gone := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- cmd.Wait()
		close(gone)
	}()
	t.Cleanup(func() {
		s.end(t, cmd, input, gone)
		if t.Failed() {
			t.Logf("the logs of the stack are kept in %s", s.Dir)
			return
		}
		if err := os.RemoveAll(s.Dir); err != nil {
			t.Errorf("removing the stack's folder: %v", err)
		}
	})
	return ended
}

func (s *Stack) end(t testing.TB, cmd *exec.Cmd, input io.Closer, gone <-chan struct{}) {
	t.Helper()
	_ = input.Close() // it ends when its input does
	timer := time.NewTimer(stackEndTimeout)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
		_ = cmd.Process.Kill()
		<-gone
		t.Errorf("the stack was still there after %s and was killed", stackEndTimeout)
	}
}

func (s *Stack) read(t testing.TB) {
	t.Helper()
	dir := s.Dir
	data, err := os.ReadFile(filepath.Join(dir, "stack.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, s); err != nil {
		t.Fatalf("reading stack.json: %v", err)
	}
	s.Dir = dir
	if s.Config, err = clientcmd.BuildConfigFromFlags("", s.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	s.Config.QPS = -1
}

// Processes are the stack's own processes: kube, s3, and what the stand-ins run. Those that the test started with
// StartAgent and StartCoordinator are not among them.
func (s *Stack) Processes(t testing.TB) []Process {
	t.Helper()
	response, err := http.Get(s.Control + "/processes")
	if err != nil {
		t.Fatalf("asking for the processes: %v", err)
	}
	defer response.Body.Close()
	var all []Process
	if err := json.NewDecoder(response.Body).Decode(&all); err != nil {
		t.Fatalf("asking for the processes: %v", err)
	}
	return all
}

// ProcessesOf are the processes of a kind that have all the given labels, as "key=value".
func (s *Stack) ProcessesOf(t testing.TB, kind string, labels ...string) []Process {
	t.Helper()
	var found []Process
next:
	for _, p := range s.Processes(t) {
		if p.Kind != kind {
			continue
		}
		for _, label := range labels {
			key, value, _ := strings.Cut(label, "=")
			if p.Labels[key] != value {
				continue next
			}
		}
		found = append(found, p)
	}
	return found
}
