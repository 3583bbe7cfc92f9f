package main_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/agent/pauser/wire"
	"hayloft.dev/test/containertest"
)

// plain is a pod that is no VM's, with volumes mounted.
func plain(name string, volumes ...string) containertest.Pod {
	return containertest.Pod{Namespace: "shop", Name: name, UID: "uid-of-" + name, Container: "sh", Volumes: volumes}
}

// TestWhatHasVolumesMounted is paused with a VM, or without one, in one hold.
func TestWhatHasVolumesMounted(t *testing.T) {
	t.Parallel()
	c := containertest.Start(t)
	writer := containertest.Writer(t)
	p := newPauser(t, c, "--limit", "1m")

	sidecar, reader, elsewhere, hotplug := plain("maint"), plain("reader"), plain("elsewhere", "pvc-root"), plain("hp-volume-x", "pvc-data")
	sidecar.Container, reader.ReadOnly, elsewhere.Namespace = "log", []string{"pvc-root"}, "bank"
	launcher := pod("vm")
	launcher.Volumes = []string{"pvc-root", "pvc-data"}
	all := map[string]*containertest.Container{}
	for name, pod := range map[string]containertest.Pod{
		"vm": launcher, "maint": plain("maint", "pvc-root"), "maint-log": sidecar, "copier": plain("copier", "pvc-other", "pvc-data"),
		"reader": reader, "elsewhere": elsewhere, "hotplug": hotplug, "other": plain("other", "pvc-other"),
	} {
		all[name] = c.Start(t, writer, name, pod)
	}
	requirePaused := func(t *testing.T, names ...string) {
		t.Helper()
		var paused []string
		for name, o := range all {
			if o.Paused() {
				paused = append(paused, name)
			} else {
				o.AwaitWrites()
			}
		}
		require.ElementsMatch(t, names, paused)
	}
	users := &wire.Users{Namespace: "shop", Volumes: []string{"pvc-root", "pvc-data"}, Except: []string{launcher.UID}}
	beside := request(time.Minute, launcher)
	beside.Users = users
	ask := func(t *testing.T, q wire.Request, users ...string) *holding {
		t.Helper()
		h, r := p.on(t).ask(q)
		require.Empty(t, r.Error)
		require.ElementsMatch(t, users, r.Users)
		return h
	}

	t.Run("with the VM", func(t *testing.T) {
		h := ask(t, beside, "container sh of pod maint", "container sh of pod copier")
		requirePaused(t, "vm", "maint", "copier")
		require.Empty(t, h.release())
		requirePaused(t)
	})
	t.Run("without it", func(t *testing.T) {
		h := ask(t, wire.Request{Users: users}, "container sh of pod maint", "container sh of pod copier")
		requirePaused(t, "maint", "copier")
		require.NoError(t, h.conn.Close()) // as the kernel does for a process that is killed
		requireAllGoOn(t, all)
	})
	t.Run("the time is over", func(t *testing.T) {
		q := beside
		q.Limit = 300 * time.Millisecond
		h := ask(t, q, "container sh of pod maint", "container sh of pod copier")
		require.Contains(t, h.released(), "the time that a pause may take is over")
		requirePaused(t)
	})
	t.Run("one that somebody else has paused", func(t *testing.T) {
		all["copier"].Pause()
		_, r := p.on(t).ask(beside)
		require.Contains(t, r.Error, "is paused")
		requirePaused(t, "copier") // the others were let go at once
		require.NoError(t, all["copier"].Task.Resume(t.Context()))
	})
	t.Run("one that is started meanwhile", func(t *testing.T) {
		h := ask(t, beside, "container sh of pod maint", "container sh of pod copier")
		c.Start(t, writer, "late", plain("late", "pvc-data"))
		require.Equal(t, "container sh of pod late was started meanwhile", h.release())
		requirePaused(t)
	})
	t.Run("the pauser is killed", func(t *testing.T) {
		ask(t, beside, "container sh of pod maint", "container sh of pod copier")
		p.kill()
		requireAllGoOn(t, all)
	})
}

// requireAllGoOn waits until all of them go on.
func requireAllGoOn(t *testing.T, all map[string]*containertest.Container) {
	t.Helper()
	for _, o := range all {
		o.AwaitWrites()
		await(t, o.Name+" to go on", func() bool { return !o.Paused() })
	}
}
