package cluster

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// interrupted is the exit code of a program that was ended by ctrl-c.
const interrupted = 130

// noClusterVar names the variable that says why no cluster is to be started.
const noClusterVar = "HAYLOFT_NO_CLUSTER"

// needsCluster has the test's summary say that it was not run, and why.
func needsCluster(t *testing.T) {
	t.Helper()
	if why := os.Getenv(noClusterVar); why != "" {
		t.Skipf("NOT RUN: %s. Nothing has shown here that Hayloft works in a cluster.", why)
	}
}

// started is what runs outside this process.
var started endings

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // else the client complains that there is none
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		started.end()
		os.Exit(interrupted)
	}()
	code := m.Run()
	if started.isInterrupted.Load() {
		select {} // tests that fail of the interrupt may be through before what it ends is
	}
	os.Exit(code)
}

// endings are what has to be done at the end of a test, which an interrupt would leave out.
type endings struct {
	isInterrupted atomic.Bool

	mu  sync.Mutex // held while anything is ended: a test that fails of the interrupt waits, and this process ends
	all []func()   // oldest first; each may be called twice
}

// add has something done at the end of the test, and when the tests are interrupted.
func (e *endings) add(t *testing.T, end func()) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, end)
	t.Cleanup(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		end()
	})
}

func (e *endings) end() {
	e.isInterrupted.Store(true)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, end := range slices.Backward(e.all) {
		end()
	}
}
