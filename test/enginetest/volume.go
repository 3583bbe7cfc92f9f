// Package enginetest runs real Longhorn engines (v1.8.0) for tests: a
// controller and replicas as separate processes on loopback, with the socket
// front end in place of iSCSI, and targets to back up to: an S3 server
// (versitygw) or a directory.
//
// It knows nothing of Kubernetes or Longhorn's manager. Everything lives in
// the test's temporary directory and ends with the test; the programs are
// taken from bin/local.
package enginetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	ctrlclient "github.com/longhorn/longhorn-engine/pkg/controller/client"
)

// readyLimit bounds the start of a process on a busy machine.
const readyLimit = 30 * time.Second

// replicaPorts is control, data, sync agent and the ten at which a sync agent
// receives files.
const replicaPorts = 3 + 10

// Options of a volume.
type Options struct {
	// SizeBytes of the volume; 0 is 64 MiB. Multiples of 2 MiB only.
	SizeBytes int64
	// Replicas is how many; 0 is 1.
	Replicas int
	// NoFrontend attaches the volume as Longhorn does with disableFrontend.
	NoFrontend bool
	// BackingFile is a raw image below every replica; must be absolute.
	BackingFile string
	// SnapshotMax is how many snapshots the volume may have; 0 is 250.
	SnapshotMax int
}

// Volume is one volume with its engine processes.
type Volume struct {
	// Name is unique on this machine.
	Name string
	// Instance and Addr ("ip:port") of the controller.
	Instance, Addr string
	SizeBytes      int64
	Controller     *Process
	Replicas       []*Replica

	tb      testing.TB
	options Options
	dir     string
	starts  int
}

// Replica is one replica of a volume.
type Replica struct {
	// Dir holds its files; Addr ("ip:port") is its control address, its sync
	// agent's is two ports on.
	Name, Dir, Addr string
	Process         *Process
}

// Start makes a volume and attaches it.
func Start(tb testing.TB, o Options) *Volume {
	tb.Helper()
	if o.SizeBytes == 0 {
		o.SizeBytes = 64 << 20
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	v := &Volume{
		Name: "t" + uuid.NewString()[:12], SizeBytes: o.SizeBytes,
		tb: tb, options: o, dir: tb.TempDir(),
	}
	v.Instance = v.Name + "-e-0"
	for i := range o.Replicas {
		r := &Replica{Name: fmt.Sprintf("%s-r-%d", v.Name, i)}
		r.Dir = filepath.Join(v.dir, r.Name)
		v.Replicas = append(v.Replicas, r)
	}
	tb.Cleanup(func() { _ = os.Remove(v.Socket()) }) // absent when never attached with it
	v.Attach(!o.NoFrontend)
	return v
}

// Socket is the path of the volume's socket front end; the engine fixes it.
func (v *Volume) Socket() string { return "/var/run/longhorn-" + v.Name + ".sock" }

// Attach starts the replicas and the controller of a detached volume, at new
// addresses.
func (v *Volume) Attach(frontend bool) {
	v.tb.Helper()
	v.TryAttach(frontend)
	client := v.Client()
	Eventually(v.tb, readyLimit, "the controller lists all replicas", func() bool {
		alive(v.tb, v.Controller)
		list, err := client.ReplicaList()
		return err == nil && len(list) == len(v.Replicas)
	})
	if frontend {
		v.waitSocket()
	}
}

// TryAttach starts what Attach starts and does not wait for the controller,
// which ends when it cannot open the replicas.
func (v *Volume) TryAttach(frontend bool) {
	v.tb.Helper()
	v.starts++
	engine := Program(v.tb, "longhorn")
	args := []string{
		"--volume-name", v.Name, "--engine-instance-name", v.Instance, "controller", v.Name,
		"--size", v.size(), "--current-size", v.size(),
	}
	args = append(args, v.snapshotMax()...)
	for i, r := range v.Replicas {
		r.Addr = FreeAddr(v.tb, i+2, replicaPorts)
		v.startReplica(engine, r)
		args = append(args, "--replica", "tcp://"+r.Addr)
	}
	v.Addr = FreeAddr(v.tb, 1, 1)
	args = append(args, "--listen", v.Addr)
	if frontend {
		_ = os.Remove(v.Socket()) // absent the first time
		args = append(args, "--frontend", "socket")
	}
	v.Controller = launch(v.tb, v.dir, fmt.Sprintf("controller-%d", v.starts), exec.Command(engine, args...))
}

func (v *Volume) startReplica(engine string, r *Replica) {
	v.tb.Helper()
	args := []string{
		"--volume-name", v.Name, "replica", r.Dir, "--size", v.size(),
		"--listen", r.Addr, "--replica-instance-name", r.Name,
	}
	if v.options.BackingFile != "" {
		args = append(args, "--backing-file", v.options.BackingFile)
	}
	args = append(args, v.snapshotMax()...)
	cmd := exec.Command(engine, args...)
	r.Process = launch(v.tb, v.dir, fmt.Sprintf("%s-%d", filepath.Base(r.Dir), v.starts), cmd)
	Eventually(v.tb, readyLimit, "replica "+r.Name+" listens", func() bool {
		alive(v.tb, r.Process)
		return listening(r.Addr, 0) && listening(r.Addr, 1) && listening(r.Addr, 2)
	})
}

// Detach ends the controller and the replicas in Longhorn's order: the
// controller shuts down its front end and lets go of the replicas first.
func (v *Volume) Detach() {
	v.tb.Helper()
	_ = v.Controller.cmd.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-v.Controller.Done():
	case <-time.After(readyLimit):
		v.tb.Fatalf("the controller of %s did not end on SIGINT", v.Name)
	}
	for _, r := range v.Replicas {
		r.Process.Kill()
	}
}

// Client is a controller client; it is closed with the test.
func (v *Volume) Client() *ctrlclient.ControllerClient {
	v.tb.Helper()
	c, err := ctrlclient.NewControllerClient(v.Addr, v.Name, v.Instance)
	if err != nil {
		v.tb.Fatalf("client of %s: %v", v.Name, err)
	}
	v.tb.Cleanup(func() { _ = c.Close() })
	return c
}

func (v *Volume) size() string { return strconv.FormatInt(v.SizeBytes, 10) }

// snapshotMax is the flag that controllers and replicas share.
func (v *Volume) snapshotMax() []string {
	if v.options.SnapshotMax == 0 {
		return nil
	}
	return []string{"--snapshot-max-count", strconv.Itoa(v.options.SnapshotMax)}
}

// PauseAgent stops the replica's sync agent, which moves data between
// replicas, with SIGSTOP; the replica itself goes on. The returned function
// continues it.
func (r *Replica) PauseAgent() (resume func()) {
	tb := r.Process.tb
	tb.Helper()
	agent := r.Process.Child()
	send := func(s syscall.Signal) {
		if err := syscall.Kill(agent, s); err != nil {
			tb.Errorf("sending %v to the sync agent of %s: %v", s, r.Name, err)
		}
	}
	send(syscall.SIGSTOP)
	return func() { send(syscall.SIGCONT) }
}

func alive(tb testing.TB, p *Process) {
	tb.Helper()
	select {
	case <-p.Done():
		tb.Fatalf("%s ended while it was waited for", p.name)
	default:
	}
}

// Crash ends the controller and the replicas as a power cut does.
func (v *Volume) Crash() {
	v.Controller.Kill()
	for _, r := range v.Replicas {
		r.Process.Kill()
	}
}
