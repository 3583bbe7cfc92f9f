package stack_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/deploy/local/proc"
	"hayloft.dev/deploy/local/stack"
)

func options(t *testing.T, dir string) stack.Options {
	path := bin(t)
	return stack.Options{
		Dir: dir, Bin: path, Manifests: filepath.Join(filepath.Dir(path), "deploy"), WithoutHayloft: true, Out: io.Discard,
	}
}

// bring brings a stack up in the background and waits until it is described.
func bring(t *testing.T, o stack.Options) (stack.Description, <-chan error, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	gone := make(chan struct{})
	go func() {
		ended <- stack.Up(ctx, o)
		close(gone)
	}()
	t.Cleanup(func() {
		cancel()
		<-gone
	})
	path := filepath.Join(o.Dir, "stack.json")
	var about stack.Description
	require.Eventually(t, func() bool {
		select {
		case err := <-ended:
			t.Errorf("it ended: %v", err)
			return true
		default:
		}
		data, err := os.ReadFile(path)
		return err == nil && json.Unmarshal(data, &about) == nil
	}, patience, 50*time.Millisecond)
	if t.Failed() {
		t.FailNow()
	}
	return about, ended, cancel
}

func processes(t *testing.T, about stack.Description) map[string]int { // kind/name -> pid
	response, err := http.Get(about.Control + "/processes")
	require.NoError(t, err)
	defer response.Body.Close()
	var infos []proc.Info
	require.NoError(t, json.NewDecoder(response.Body).Decode(&infos))
	pids := map[string]int{}
	for _, info := range infos {
		pids[info.Kind+"/"+info.Name] = info.PID
	}
	return pids
}

func requireGone(t *testing.T, pids map[string]int) {
	for name, pid := range pids {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "%s is still there", name)
	}
}

func TestTwoStacksAtOnce(t *testing.T) {
	standIn := stack.StandIn{Name: "worker", Run: func(ctx context.Context, env stack.Env, ready func()) error {
		if _, err := env.Procs.Start(proc.Spec{Kind: "worker", Name: "a", Path: "/bin/sleep", Args: []string{"600"}}); err != nil {
			return err
		}
		ready()
		<-ctx.Done()
		return ctx.Err()
	}}
	first, second := options(t, t.TempDir()), options(t, t.TempDir())
	first.StandIns = []stack.StandIn{standIn}
	a, aEnded, endFirst := bring(t, first)
	b, _, _ := bring(t, second)
	require.NotEqual(t, a.S3.Endpoint, b.S3.Endpoint)

	// What Hayloft finds in a cluster.
	c := client(t, adminConfig(t, first.Dir))
	nodes, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, nodes.Items, 3)
	require.Equal(t, "127.0.0.11", nodes.Items[0].Status.Addresses[0].Address)
	secret, err := c.CoreV1().Secrets(stack.HayloftNamespace).Get(t.Context(), "s3-credentials", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, a.S3.SecretKey, string(secret.Data["AWS_SECRET_ACCESS_KEY"]))
	target, err := c.Discovery().RESTClient().Get().AbsPath("/apis/hayloft.dev/v1alpha1/backuptargets/" + a.Target).DoRaw(t.Context())
	require.NoError(t, err)
	require.Contains(t, string(target), a.S3.Endpoint)
	require.NotContains(t, string(target), a.S3.SecretKey)
	for program, path := range a.Kubeconfigs {
		require.FileExists(t, path, program)
	}

	pids := processes(t, a)
	require.Contains(t, pids, "worker/a")
	require.Contains(t, pids, "kube/controller-manager")

	err = stack.Up(t.Context(), first)
	require.ErrorContains(t, err, "a stack is running in")
	require.Equal(t, pids, processes(t, a), "the running one is left alone")

	endFirst()
	require.NoError(t, <-aEnded)
	requireGone(t, pids)
	require.NoFileExists(t, filepath.Join(first.Dir, "stack.json"))
	require.DirExists(t, filepath.Join(first.Dir, "logs"))
	require.NoFileExists(t, filepath.Join(first.Dir, "kubeconfig"))
	_, err = client(t, adminConfig(t, second.Dir)).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err, "the other one goes on")
}

func TestAStackEndsWithAPartThatEverythingNeeds(t *testing.T) {
	about, ended, _ := bring(t, options(t, t.TempDir()))
	pids := processes(t, about)
	require.NoError(t, syscall.Kill(pids["kube/apiserver"], syscall.SIGKILL))
	select {
	case err := <-ended:
		require.ErrorContains(t, err, "kube apiserver ended")
	case <-time.After(patience):
		t.Fatal("it goes on without an API server")
	}
	requireGone(t, pids)
}

func TestAStackEndsWithAFailingStandIn(t *testing.T) {
	o := options(t, t.TempDir())
	broken := errors.New("broken")
	o.StandIns = []stack.StandIn{{Name: "broken", Run: func(context.Context, stack.Env, func()) error { return broken }}}
	require.ErrorIs(t, stack.Up(t.Context(), o), broken)
	require.NoFileExists(t, filepath.Join(o.Dir, "stack.json"))
}

func TestDownWhereNoStackIs(t *testing.T) {
	for name, prepare := range map[string]func(dir string){
		"empty folder": func(string) {},
		"a lock of a process that is no more": func(dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "lock"), []byte("1\n"), 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			prepare(dir)
			ended, err := stack.Down(t.Context(), dir)
			require.NoError(t, err)
			require.False(t, ended)
		})
	}
}
