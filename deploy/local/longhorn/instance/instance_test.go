package instance_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/deploy/local/longhorn/instance"
)

// fake is a process that listens on as many ports as it is told to, from the one that its arguments name.
type fake struct {
	command instance.Command
	once    sync.Once
	done    chan struct{}
	err     error
	ports   []net.Listener
}

func (f *fake) PID() int              { return 1 }
func (f *fake) Done() <-chan struct{} { return f.done }
func (f *fake) Stop(time.Duration)    { f.end(nil) }
func (f *fake) Kill()                 { f.end(errors.New("killed")) }

func (f *fake) Err() error {
	<-f.done
	return f.err
}

func (f *fake) end(err error) {
	f.once.Do(func() {
		f.err = err
		for _, l := range f.ports {
			_ = l.Close()
		}
		close(f.done)
	})
}

// fakes starts them. The first failing ones end at once.
type fakes struct {
	t       *testing.T
	listen  int
	failing int
	started []*fake
}

func (f *fakes) start(c instance.Command) (instance.Process, error) {
	process := &fake{command: c, done: make(chan struct{})}
	f.started = append(f.started, process)
	if len(f.started) <= f.failing {
		process.end(errors.New("exit status 1"))
		return process, nil
	}
	ip, port := address(f.t, c)
	for i := range f.listen {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port+i)))
		require.NoError(f.t, err)
		process.ports = append(process.ports, l)
	}
	return process, nil
}

func address(t *testing.T, c instance.Command) (string, int) {
	i := slices.Index(c.Args, "--listen")
	require.Positive(t, i)
	ip, port, err := net.SplitHostPort(c.Args[i+1])
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	return ip, number
}

func replica(t *testing.T, name string) instance.Replica {
	return instance.Replica{
		Name: name, Volume: "v", IP: "127.0.0.61", Dir: filepath.Join(t.TempDir(), name), Size: 1 << 20, SnapshotMaxCount: 250,
	}
}

func TestReplicaIsAbsentRunningEnded(t *testing.T) {
	exits := make(chan string, 1)
	f := &fakes{t: t, listen: 3}
	set := instance.NewSet(f.start, func(volume, name string) { exits <- volume + "/" + name })
	require.Equal(t, instance.Absent, set.Get("r").State)

	info, err := set.StartReplica(t.Context(), replica(t, "r"))
	require.NoError(t, err)
	require.Equal(t, info, set.Get("r"))
	require.Equal(t, instance.Running, info.State)
	require.Equal(t, []string{"r"}, set.Of("v"))
	_, err = set.StartReplica(t.Context(), replica(t, "r"))
	require.ErrorContains(t, err, "running")
	line := strings.Join(f.started[0].command.Args, " ")
	require.Contains(t, line, "--volume-name v replica ")
	require.Contains(t, line, "--replica-instance-name r")
	require.NotContains(t, line, "--backing-file")

	f.started[0].end(errors.New("signal: killed"))
	require.Equal(t, "v/r", <-exits)
	require.Equal(t, instance.Ended, set.Get("r").State)

	set.Stop("r")
	require.Equal(t, instance.Absent, set.Get("r").State)
	require.Empty(t, set.Of("v"))
}

func TestStopIsNoExit(t *testing.T) {
	f := &fakes{t: t, listen: 3}
	set := instance.NewSet(f.start, func(_, name string) { t.Errorf("%s was stopped and did not end by itself", name) })
	_, err := set.StartReplica(t.Context(), replica(t, "r"))
	require.NoError(t, err)
	set.Stop("r")
	_, err = set.StartReplica(t.Context(), replica(t, "r"))
	require.NoError(t, err, "its name and ports are free again")
	set.StopAll()
	require.Equal(t, instance.Absent, set.Get("r").State)
}

func TestStartIsTriedOnOtherPorts(t *testing.T) {
	f := &fakes{t: t, listen: 1, failing: 2}
	set := instance.NewSet(f.start, func(string, string) {})
	info, err := set.StartEngine(t.Context(), instance.Engine{Name: "e", Volume: "v", IP: "127.0.0.61", Size: 1, Replicas: []string{"127.0.0.62:1"}})
	require.NoError(t, err)
	defer set.Stop("e")
	_, first := address(t, f.started[0].command)
	require.NotEqual(t, first, info.Port)
	line := strings.Join(f.started[2].command.Args, " ")
	require.Contains(t, line, "--engine-instance-name e controller v --frontend  --size 1")
	require.Contains(t, line, "--replica tcp://127.0.0.62:1")
}

func TestStartThatNeverSucceedsEnds(t *testing.T) {
	f := &fakes{t: t, failing: 9}
	set := instance.NewSet(f.start, func(string, string) {})
	_, err := set.StartEngine(t.Context(), instance.Engine{Name: "e", Volume: "v", IP: "127.0.0.61"})
	require.ErrorContains(t, err, "exit status 1")
	require.Len(t, f.started, 3)
	require.Equal(t, instance.Absent, set.Get("e").State)
}

func TestPortsInUseAreLeftAlone(t *testing.T) {
	f := &fakes{t: t, listen: 3}
	set := instance.NewSet(f.start, func(string, string) {})
	defer set.StopAll()
	taken := map[int]bool{}
	for i := range 20 {
		info, err := set.StartReplica(t.Context(), replica(t, "r"+strconv.Itoa(i)))
		require.NoError(t, err)
		for port := info.Port; port < info.Port+10; port++ {
			require.False(t, taken[port])
			taken[port] = true
		}
	}
}

func TestRemoveSocket(t *testing.T) {
	volume := "instance-test-" + strconv.Itoa(os.Getpid())
	require.NoError(t, instance.RemoveSocket(volume), "there is none")
	require.NoError(t, os.WriteFile(instance.SocketPath(volume), nil, 0o600))
	require.NoError(t, instance.RemoveSocket(volume))
	require.NoFileExists(t, instance.SocketPath(volume))
}
