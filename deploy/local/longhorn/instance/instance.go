// Package instance runs the processes of volumes, which are the real ones: `longhorn replica` with its sync agent, and
// `longhorn controller`. It stands where Longhorn's instance manager is, without its gRPC interface: its caller is in the
// same program. It knows no Kubernetes objects and decides nothing.
package instance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// stopGrace is what a process has between SIGTERM and SIGKILL. An engine waits for its requests in flight.
	stopGrace = 10 * time.Second
	// startAttempts bounds the tries to start a process whose ports somebody else was quicker to take.
	startAttempts = 3
)

// Process is one that was started. Stop sends SIGTERM, and SIGKILL after the grace; both it and Kill return at the end.
type Process interface {
	PID() int
	Done() <-chan struct{}
	Err() error
	Stop(grace time.Duration)
	Kill()
}

// Command is a process to start with the engine's binary.
type Command struct {
	Kind   string // engine, replica, or what a client of a running engine does
	Name   string
	Args   []string
	Labels map[string]string
}

// Starter starts processes.
type Starter func(Command) (Process, error)

// State of an instance that was started.
type State int

const (
	Absent  State = iota // never started, or stopped as asked
	Running              // as started
	Ended                // it ended without having been asked to
)

// Info is where an instance is.
type Info struct {
	Name, Volume string
	IP           string
	Port         int
	State        State
}

// Address is ip:port of the instance's first port.
func (i Info) Address() string { return address(i.IP, i.Port) }

// Set is the instances of all volumes.
type Set struct {
	start  Starter
	ports  *ports
	onExit func(volume, name string) // called once for each instance that ends by itself

	mu   sync.Mutex
	byID map[string]*entry // instance name -> its process
}

type entry struct {
	info      Info
	portCount int
	process   Process
	stopping  bool
}

// NewSet makes an empty set. onExit must not block.
func NewSet(start Starter, onExit func(volume, name string)) *Set {
	return &Set{start: start, ports: newPorts(), onExit: onExit, byID: map[string]*entry{}}
}

// Get tells about an instance. One that is not known is Absent.
func (s *Set) Get(name string) Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[name]; e != nil {
		return e.info
	}
	return Info{Name: name}
}

// Of are the names of a volume's instances, sorted.
func (s *Set) Of(volume string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name, e := range s.byID {
		if e.info.Volume == volume {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Stop ends an instance and forgets it. It returns when the process is gone.
func (s *Set) Stop(name string) {
	s.mu.Lock()
	e := s.byID[name]
	if e != nil {
		e.stopping = true
	}
	s.mu.Unlock()
	if e == nil {
		return
	}
	e.process.Stop(stopGrace)
	s.forget(name, e)
}

func (s *Set) forget(name string, e *entry) {
	s.mu.Lock()
	if s.byID[name] == e {
		delete(s.byID, name)
	}
	s.mu.Unlock()
	s.ports.release(e.info.Port, e.portCount)
}

// StopAll ends everything: engines first, since a replica that goes under a running engine is a broken replica.
func (s *Set) StopAll() {
	s.mu.Lock()
	entries := maps.Clone(s.byID)
	s.mu.Unlock()
	for _, engines := range []bool{true, false} {
		var group sync.WaitGroup
		for name, e := range entries {
			if (e.portCount == enginePorts) == engines {
				group.Go(func() { s.Stop(name) })
			}
		}
		group.Wait()
	}
	s.ports.close()
}

// launch starts a process on free ports of ip and waits until it answers on the ports that answering says are needed.
func (s *Set) launch(ctx context.Context, volume, name, ip string, portCount int, answering []int, command func(port int) Command) (Info, error) {
	if state := s.Get(name).State; state == Running {
		return Info{}, fmt.Errorf("starting %s: it is running", name)
	}
	s.Stop(name) // one that ended is only forgotten
	var last error
	for range startAttempts {
		port, err := s.ports.take(portCount)
		if err != nil {
			return Info{}, fmt.Errorf("starting %s: %w", name, err)
		}
		info := Info{Name: name, Volume: volume, IP: ip, Port: port, State: Running}
		process, err := s.start(command(port))
		if err != nil {
			s.ports.release(port, portCount)
			return Info{}, fmt.Errorf("starting %s: %w", name, err)
		}
		last = waitAnswer(ctx, process, ip, port, answering)
		if last == nil {
			s.register(info, portCount, process)
			return info, nil
		}
		process.Kill()
		s.ports.release(port, portCount)
		if !errors.Is(last, errEnded) {
			break
		}
	}
	return Info{}, fmt.Errorf("starting %s: %w", name, last)
}

func (s *Set) register(info Info, portCount int, process Process) {
	e := &entry{info: info, portCount: portCount, process: process}
	s.mu.Lock()
	s.byID[info.Name] = e
	s.mu.Unlock()
	go func() {
		<-process.Done()
		s.mu.Lock()
		byItself := !e.stopping && s.byID[info.Name] == e
		if byItself {
			e.info.State = Ended
		}
		s.mu.Unlock()
		if byItself {
			s.onExit(info.Volume, info.Name)
		}
	}()
}
