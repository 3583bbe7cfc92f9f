package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	apiServerTimeout = 90 * time.Second      // it takes 4 s on two idle cores, and tests of several packages run at once
	pollInterval     = 50 * time.Millisecond // how often a file or an answer is looked for
)

// APIServer is the admin's configuration for a real kube-apiserver, shared by all tests of one test binary, with
// Hayloft's, Longhorn's, KubeVirt's and the snapshot definitions. No controllers run behind it: a deleted namespace
// stays Terminating, owned objects are not collected. The client's own rate limit is off.
func APIServer(t testing.TB) *rest.Config {
	t.Helper()
	started, err := sharedAPIServer()
	if err != nil {
		t.Fatal(err)
	}
	return rest.CopyConfig(started.config)
}

// Kubeconfig is the path of a file with what APIServer returns, for programs under test.
func Kubeconfig(t testing.TB) string {
	t.Helper()
	started, err := sharedAPIServer()
	if err != nil {
		t.Fatal(err)
	}
	return started.kubeconfig
}

// Server is an API server: the admin's configuration, without the client's own rate limit, and a file with the same.
type Server struct {
	Config     *rest.Config
	Kubeconfig string
}

// OwnAPIServer is an APIServer that no other test of the binary uses before this one has ended: for programs that look
// at every namespace, and so would meet other tests' objects. It holds what the tests before have left in it. No more
// are started than tests run at once.
func OwnAPIServer(t testing.TB) Server {
	t.Helper()
	started, err := ownAPIServers.take()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ownAPIServers.giveBack(started) })
	return Server{Config: rest.CopyConfig(started.config), Kubeconfig: started.kubeconfig}
}

// ownAPIServers are those that no test has.
var ownAPIServers serverPool

type serverPool struct {
	mu   sync.Mutex
	free []*apiServer
}

func (p *serverPool) take() (*apiServer, error) {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		last := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return last, nil
	}
	p.mu.Unlock()
	return startAPIServer()
}

func (p *serverPool) giveBack(s *apiServer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, s)
}

// Namespace makes a namespace that no other test uses.
func Namespace(t testing.TB, config *rest.Config) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	namespace, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("making a namespace: %v", err)
	}
	return namespace.Name
}

type apiServer struct {
	config     *rest.Config
	kubeconfig string
}

// sharedAPIServer starts the server once per process.
var sharedAPIServer = sync.OnceValues(startAPIServer)

// startAPIServer starts a server that ends when this process does, however that happens: it reads the pipe whose other
// end only this process holds, and then removes its folder.
func startAPIServer() (*apiServer, error) {
	kube, err := findBinary("local/kube")
	if err != nil {
		return nil, err
	}
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "hayloft-apiserver-")
	if err != nil {
		return nil, err
	}
	output, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer output.Close() // the child has its own

	cmd := exec.Command(kube, "apiserver", "--dir", dir, "--ephemeral", "--with-parent",
		"--crds", filepath.Join(root, "bin", "local", "crds"), "--crds", filepath.Join(root, "deploy", "crds"))
	cmd.Stdout, cmd.Stderr = output, output
	if percent := os.Getenv("HAYLOFT_APISERVER_GOGC"); percent != "" {
		cmd.Env = append(os.Environ(), "GOGC="+percent) // its own, and of no program under test
	}
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the API server: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := waitForFile(kubeconfig, apiServerTimeout, ended); err != nil {
		_ = cmd.Process.Kill()
		return nil, errors.Join(fmt.Errorf("starting the API server: %w\n%s", err, tail(filepath.Join(dir, "log"))), os.RemoveAll(dir))
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("starting the API server: %w", err)
	}
	config.QPS = -1
	return &apiServer{config: config, kubeconfig: kubeconfig}, nil
}

// waitForFile waits for a file that a program writes when it is ready. ended gets the program's end.
func waitForFile(path string, timeout time.Duration, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			return errors.Join(errors.New("it ended before it was ready"), err)
		case <-ctx.Done():
			return fmt.Errorf("not ready after %s", timeout)
		case <-tick.C:
		}
	}
}

// tail is the end of a log, for the message of a test that cannot go on.
func tail(path string) []byte {
	const most = 4 << 10
	data, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	if len(data) > most {
		data = data[len(data)-most:]
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			data = data[i+1:]
		}
	}
	return data
}
