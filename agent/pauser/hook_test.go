package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/pauser/wire"
	"hayloft.dev/test/containertest"
)

// hooksOf asks for the hooks of a pod.
func (p *pauser) hooksOf(pod containertest.Pod) (*holding, wire.Ran) {
	p.t.Helper()
	h, reply := p.asks(wire.Request{Hooks: true, Pods: []wire.Pod{{Namespace: pod.Namespace, UID: pod.UID}}})
	var r wire.Ran
	require.NoError(p.t, json.Unmarshal(reply, &r))
	return h, r
}

func (h *holding) afterwards() wire.Ran {
	h.t.Helper()
	require.NoError(h.t, json.NewEncoder(h.conn).Encode(wire.Release{}))
	var r wire.Ran
	require.NoError(h.t, h.in.Decode(&r))
	return r
}

// TestHooks runs what pods declare in containers of a real containerd.
func TestHooks(t *testing.T) {
	t.Parallel()
	c := containertest.Start(t)
	writer := containertest.Writer(t)
	p := newPauser(t, c, "--hooks", "--limit", "1m")
	note := func(what string) string { return `["/writer", "note", "/data/notes", "` + what + `"]` }
	start := func(t *testing.T, name string, annotations map[string]string) (*containertest.Container, func() string) {
		vm := c.Start(t, writer, name, pod(name))
		c.Sandbox(t, name+"-sandbox", pod(name), annotations)
		return vm, func() string {
			data, _ := os.ReadFile(filepath.Join(vm.Dir, "notes"))
			return strings.Join(strings.Fields(string(data)), " ")
		}
	}
	both := map[string]string{"pre.hook.hayloft.dev/command": note("before"), "post.hook.hayloft.dev/command": note("after")}

	t.Run("around a cut", func(t *testing.T) {
		p := p.on(t)
		vm, notes := start(t, "around", both)
		h, before := p.hooksOf(pod("around"))
		require.Equal(t, wire.Ran{Declared: true, Took: before.Took}, before)
		require.Equal(t, "before", notes())
		cut := p.pause(time.Minute, pod("around"))
		require.True(t, vm.Paused())
		require.Empty(t, cut.release())
		require.Equal(t, "before", notes())
		require.Empty(t, h.afterwards().Error)
		require.Equal(t, "before after", notes())
		vm.AwaitWrites()
	})
	t.Run("who asked is killed in the middle of the cut", func(t *testing.T) {
		p := p.on(t)
		vm, notes := start(t, "killed", both)
		h, before := p.hooksOf(pod("killed"))
		require.Empty(t, before.Error)
		cut := p.pause(time.Minute, pod("killed"))
		require.NoError(t, h.conn.Close())
		require.NoError(t, cut.conn.Close())
		await(t, "what is for afterwards to be run", func() bool { return notes() == "before after" })
		vm.AwaitWrites()
	})
	t.Run("failures", func(t *testing.T) {
		p := p.on(t)
		_, notes := start(t, "failing", map[string]string{"pre.hook.hayloft.dev/command": `["/writer", "fail"]`, "post.hook.hayloft.dev/command": note("after")})
		h, before := p.hooksOf(pod("failing"))
		require.Equal(t, "/writer ended with exit code 3", before.Error)
		require.Empty(t, h.afterwards().Error)
		require.Equal(t, "after", notes())

		vm, _ := start(t, "hanging", map[string]string{
			"pre.hook.hayloft.dev/command": `["/writer", "hang"]`, "pre.hook.hayloft.dev/timeout": "200ms",
			"post.hook.hayloft.dev/command": "/no/such/program",
		})
		h, before = p.hooksOf(pod("hanging"))
		require.Contains(t, before.Error, "/writer was killed: its timeout of 200ms is over")
		require.Contains(t, h.afterwards().Error, "starting /no/such/program")
		pids, err := vm.Task.Pids(t.Context())
		require.NoError(t, err)
		require.Len(t, pids, 1, "the command that hung is gone, and what was there before is not")
		vm.AwaitWrites()
	})
	t.Run("only what the pod itself declares", func(t *testing.T) {
		p := p.on(t)
		vm, notes := start(t, "silent", nil)
		h, before := p.hooksOf(pod("silent"))
		require.Equal(t, wire.Ran{}, before)
		require.Equal(t, wire.Ran{}, h.afterwards())
		elsewhere := pod("silent")
		elsewhere.Namespace = "elsewhere"
		_, before = p.hooksOf(elsewhere)
		require.Contains(t, before.Error, "containerd has no sandbox of pod uid-of-silent of namespace elsewhere")
		require.Empty(t, notes())
		vm.AwaitWrites()
	})
	t.Run("not where it is not allowed", func(t *testing.T) {
		_, notes := start(t, "off", both)
		_, before := newPauser(t, c).hooksOf(pod("off"))
		require.Contains(t, before.Error, "runs no hooks (--hooks)")
		require.Empty(t, notes())
	})
}
