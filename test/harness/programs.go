package harness

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// ProgramOptions say how to start an agent or a coordinator.
type ProgramOptions struct {
	Kubeconfig string   // "" is the program's own account; a Proxy's, to watch or to interrupt it
	Args       []string // after the usual ones, such as --lease-duration=2s
	Env        []string // NAME=value, added to this process's
}

// StartAgent starts an agent for a node. It is killed at the end of the test, if it still runs.
func (s *Stack) StartAgent(t testing.TB, node string, o ProgramOptions) *Program {
	t.Helper()
	address := FreeAddress(t)
	return s.start(t, "agent", node, address, o, []string{"--node", node, "--metrics-address", address})
}

// StartAgents starts one for every node.
func (s *Stack) StartAgents(t testing.TB, o ProgramOptions) []*Program {
	t.Helper()
	var all []*Program
	for _, node := range s.Nodes {
		all = append(all, s.StartAgent(t, node.Name, o))
	}
	return all
}

// lateForLease is what a coordinator ends with that was late for its Lease, as it may be on a busy machine with the short
// Leases of tests.
const lateForLease = "leader election lost"

// StartCoordinator starts a coordinator, and again where it ends since it was late for its Lease. It is killed at the
// end of the test, if it still runs.
func (s *Stack) StartCoordinator(t testing.TB, identity string, o ProgramOptions) *Program {
	t.Helper()
	address := FreeAddress(t)
	args := []string{
		"--identity", identity, "--listen", address,
		"--targetio", TestedBinary(t, "targetio"), "--targetio-kubeconfig", s.Kubeconfigs["targetio"],
	}
	backend := ""
	if s.Webhook != nil {
		backend = s.freeBackend(t)
		args = append(args, "--webhook-listen", backend, "--webhook-names", "127.0.0.1")
	}
	p := s.start(t, "coordinator", identity, address, o, args)
	if backend != "" {
		s.backends[backend] = p
	}
	return p
}

// freeBackend is an address of the webhook's Service that no coordinator listens on, nor one that is starting.
func (s *Stack) freeBackend(t testing.TB) string {
	t.Helper()
	for _, address := range s.Webhook.Backends {
		if p := s.backends[address]; p == nil || !p.Running() {
			return address
		}
	}
	t.Fatal("more coordinators run than the webhook has addresses")
	return ""
}

func (s *Stack) start(t testing.TB, kind, name, address string, o ProgramOptions, args []string) *Program {
	t.Helper()
	kubeconfig := o.Kubeconfig
	if kubeconfig == "" {
		kubeconfig = s.Kubeconfigs[kind]
		if kind == "agent" {
			kubeconfig = s.Kubeconfigs["agent-"+name]
		}
	}
	args = append(args, "--kubeconfig", kubeconfig, "--log-level", s.logLevel,
		"--namespace", HayloftNamespace, "--longhorn-namespace", LonghornNamespace)
	log := filepath.Join(s.Logs, kind+"-"+name+".log")
	p, err := startProgram(kind, name, "http://"+address, log, TestedBinary(t, kind), append(args, o.Args...), o.Env, lateForLease)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}

// TestedBinary is a program of Hayloft's, with the race detector if this test has it or HAYLOFT_RACE is set.
func TestedBinary(t testing.TB, name string) string {
	t.Helper()
	if raceDetector {
		name = filepath.Join("race", name)
		endAtOnce()
	}
	path, err := findBinary(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// endAtOnce keeps programs with the race detector from sleeping for a second before they end, which is what they do for
// reports that are late: a target worker lives for less than that, and each point needs several.
var endAtOnce = sync.OnceFunc(func() {
	if os.Getenv(raceOptions) == "" {
		os.Setenv(raceOptions, "atexit_sleep_ms=0")
	}
})

// raceOptions is the variable that the race detector of a program reads when it starts.
const raceOptions = "GORACE"

// StartLoneCoordinator starts a coordinator on an API server without a stack around it, o.Kubeconfig's: no webhook, and
// one account for itself and its target worker. Its namespaces are given in o.Args.
func StartLoneCoordinator(t testing.TB, identity string, o ProgramOptions) *Program {
	t.Helper()
	address := FreeAddress(t)
	kubeconfig := o.Kubeconfig
	args := []string{
		"--identity", identity, "--listen", address, "--kubeconfig", kubeconfig,
		"--targetio", TestedBinary(t, "targetio"), "--targetio-kubeconfig", kubeconfig,
	}
	log := filepath.Join(t.TempDir(), identity+".log")
	p, err := startProgram("coordinator", identity, "http://"+address, log, TestedBinary(t, "coordinator"), append(args, o.Args...), o.Env, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}
