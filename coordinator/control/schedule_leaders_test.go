package control_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// coordinators are the real program, two of them at any time.
type coordinators struct {
	*world
	started int
	living  map[string]*harness.Program // identity -> program
}

func (c *coordinators) start() {
	c.t.Helper()
	c.started++
	identity := fmt.Sprintf("coordinator-%d", c.started)
	c.living[identity] = harness.StartLoneCoordinator(c.t, identity, harness.ProgramOptions{Kubeconfig: c.server.Kubeconfig, Args: []string{
		"--namespace", c.own, "--longhorn-namespace", c.lh, "--lease-duration", "5s",
		"--leader-lease-duration", "2s", "--leader-lease-renew", "1500ms", "--leader-lease-retry", "250ms",
	}})
}

// patience is for programs that start with the race detector, on a machine that
// others share: only what never comes is to fail.
const patience = 10 * time.Minute

// await has more patience than eventually.
func (c *coordinators) await(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		c.restart()
		require.True(c.t, time.Now().Before(deadline), "not within %s: %s", patience, what)
		time.Sleep(20 * time.Millisecond)
	}
}

// restart does what the kubelet would where one has ended by itself, since on a busy machine it was late for its Lease.
func (c *coordinators) restart() {
	c.t.Helper()
	for _, identity := range slices.Collect(maps.Keys(c.living)) {
		p := c.living[identity]
		if p.Running() {
			continue
		}
		delete(c.living, identity)
		require.Contains(c.t, p.Log(c.t), "leader election lost")
		require.NotContains(c.t, p.Log(c.t), "DATA RACE")
		c.start()
	}
}

// leader is the living program that holds the Lease.
func (c *coordinators) leader() (leads *harness.Program) {
	c.t.Helper()
	c.await("a living coordinator leads", func() bool {
		var l coordinationv1.Lease
		err := c.client.Get(c.ctx, client.ObjectKey{Namespace: c.own, Name: "coordinator"}, &l)
		require.NoError(c.t, client.IgnoreNotFound(err))
		leads = c.living[ptr.Deref(l.Spec.HolderIdentity, "")]
		return leads != nil
	})
	return leads
}

// lose kills the leader, or stops it for longer than its lease and lets it go on
// when another leads: it must not do what it had in mind.
func (c *coordinators) lose(freeze bool) {
	c.t.Helper()
	p := c.leader()
	delete(c.living, p.Name)
	if freeze {
		p.Freeze(c.t)
		c.leader()
		p.Continue(c.t)
		select {
		case <-p.Done():
		case <-time.After(patience):
			c.t.Fatalf("%s goes on though another leads", p.Name)
		}
	} else {
		p.Kill(c.t)
	}
	require.NotContains(c.t, p.Log(c.t), "DATA RACE")
	c.start()
}

// TestLeadersAreKilledWhileSchedulesFireEachSecond: whatever moment a leader is
// lost in, each nominal time has one point, or was counted as missed, beyond its
// starting deadline, or as skipped, since the one before had not ended; which of
// them, the account says of each.
// HAYLOFT_LEADER_KILLS is how many are lost, if not 15.
func TestLeadersAreKilledWhileSchedulesFireEachSecond(t *testing.T) {
	t.Parallel()
	kills := 15
	if s := os.Getenv("HAYLOFT_LEADER_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		kills = n
	}
	w := newWorld(t)
	session, _ := w.session("n1")
	w.agent(session)
	c := &coordinators{world: w, living: map[string]*harness.Program{}}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	var all []*v1alpha1.VMSchedule
	accounts := map[string]*account{}
	for name, deadline := range map[string]int64{"a": 1, "b": 30} {
		w.vm(name)
		s := w.schedule("each-second-of-"+name, "", func(s *v1alpha1.VMScheduleSpec) {
			s.VM, s.Type, s.StartingDeadlineSeconds = name, v1alpha1.TypeSnapshot, ptr.To(deadline)
		})
		all = append(all, s)
		accounts[s.Name] = w.keepAccount(s)
	}
	c.start()
	c.start()
	points := func() (n int) {
		for _, a := range accounts {
			a.points.each(func(time.Time, int) { n++ })
		}
		return n
	}
	for k := range kills {
		before := points()
		c.await("a point of this leader's", func() bool { return points() > before })
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond) // any moment of the work
		c.lose(k%5 == 4)
	}
	before := points()
	c.await("a point of the last leader's", func() bool { return points() > before })

	for _, s := range all {
		require.NoError(t, w.client.Patch(w.ctx, s, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":true}}`))))
		// The watches may be behind what was just read.
		c.await("it is suspended, what ran has ended, and the watches have told of it", func() bool {
			w.refresh(s)
			return suspended(s) != "" && len(s.Status.Runs) == 0 && accounts[s.Name].seen(s)
		})
		require.Equal(t, v1alpha1.SuspendedUser, suspended(s), "no run failed: %v", s.Status.LastRun)
		accounts[s.Name].settle(w, s)
		require.Empty(t, accounts[s.Name].points.failures(), "no point fails because its leader does")
	}
	for _, p := range c.living {
		p.Stop(t, time.Minute)
		require.False(t, strings.Contains(p.Log(t), "DATA RACE"))
	}
}
