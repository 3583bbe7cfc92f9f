package assign

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func at(seconds int) time.Time { return time.Unix(int64(1000+seconds), 0) }

func agents(nodes ...string) (out []Agent) {
	for _, n := range nodes {
		out = append(out, Agent{Node: n})
	}
	return out
}

func TestDecide(t *testing.T) {
	for name, c := range map[string]struct {
		view View
		want map[string]string // job -> node of each change
		// again is the expected pause, 0: none.
		again time.Duration
	}{
		"nothing to do":      {view: View{Agents: agents("a")}, want: map[string]string{}},
		"no agent, it waits": {view: View{Jobs: []Job{{Name: "j"}}}, want: map[string]string{}},
		"to the engine's node": {
			view: View{Agents: agents("a", "b", "c"), Jobs: []Job{{Name: "j", Volumes: []string{"v"}}}, Engines: map[string]string{"v": "b"}},
			want: map[string]string{"j": "b"},
		},
		"to the node of most of its engines": {
			view: View{
				Agents: agents("a", "b"), Jobs: []Job{{Name: "j", Volumes: []string{"v", "w", "x"}}},
				Engines: map[string]string{"v": "a", "w": "b", "x": "b"},
			},
			want: map[string]string{"j": "b"},
		},
		"no agent where the engine is: the least loaded": {
			view: View{
				Agents:  agents("a", "b"),
				Jobs:    []Job{{Name: "old", Volumes: []string{"o"}, Node: "a", Session: "s", SessionAlive: true}, {Name: "j", Volumes: []string{"v"}, Created: at(1)}},
				Engines: map[string]string{"v": "z"},
			},
			want: map[string]string{"j": "b"},
		},
		"engine's node is full": {
			view: View{
				Agents: agents("a", "b"), MaxPerNode: 1,
				Jobs:    []Job{{Name: "old", Volumes: []string{"o"}, Node: "a", Session: "s", SessionAlive: true}, {Name: "j", Volumes: []string{"v"}, Created: at(1)}},
				Engines: map[string]string{"v": "a"},
			},
			want: map[string]string{"j": "b"},
		},
		"all nodes are full": {
			view: View{
				Agents: agents("a"), MaxPerNode: 1,
				Jobs: []Job{{Name: "old", Volumes: []string{"o"}, Node: "a", Session: "s", SessionAlive: true}, {Name: "j", Volumes: []string{"v"}, Created: at(1)}},
			},
			want: map[string]string{},
		},
		"one job per volume": {
			view: View{Agents: agents("a", "b"), Jobs: []Job{
				{Name: "cut", Volumes: []string{"v", "w"}, Node: "a", Session: "s", SessionAlive: true},
				{Name: "on-w", Volumes: []string{"w"}, Created: at(1)},
				{Name: "on-x", Volumes: []string{"x"}, Created: at(2)},
			}},
			want: map[string]string{"on-x": "b"},
		},
		"first come, first served for a volume": {
			view: View{Agents: agents("a"), MaxPerNode: 5, Jobs: []Job{
				{Name: "late", Volumes: []string{"w"}, Created: at(3)},
				{Name: "busy", Volumes: []string{"v"}, Node: "a", Session: "s", SessionAlive: true},
				{Name: "both", Volumes: []string{"v", "w"}, Created: at(1)},
			}},
			want: map[string]string{},
		},
		"oldest gets the last slot": {
			view: View{Agents: agents("a"), MaxPerNode: 1, Jobs: []Job{
				{Name: "young", Volumes: []string{"v"}, Created: at(2)}, {Name: "old", Volumes: []string{"w"}, Created: at(1)},
			}},
			want: map[string]string{"old": "a"},
		},
		"target limit counts all jobs of the target, and only those": {
			view: View{Agents: agents("a"), MaxPerNode: 9, TargetLimits: map[string]int{"t": 2}, Jobs: []Job{
				{Name: "1", Volumes: []string{"1"}, Target: "t", Node: "a", Session: "s", SessionAlive: true},
				{Name: "2", Volumes: []string{"2"}, Target: "t", Created: at(1)},
				{Name: "3", Volumes: []string{"3"}, Target: "t", Created: at(2)},
				{Name: "4", Volumes: []string{"4"}, Target: "u", Created: at(3)},
				{Name: "5", Volumes: []string{"5"}, Created: at(4)},
			}},
			want: map[string]string{"2": "a", "4": "a", "5": "a"},
		},
		"claimed in time": {
			view: View{Agents: agents("a", "b"), Jobs: []Job{{Name: "j", Node: "a", Unattended: 19 * time.Second}}},
			want: map[string]string{}, again: time.Second,
		},
		"not claimed in time": {
			view: View{Agents: agents("a", "b"), Jobs: []Job{{Name: "j", Node: "a", Unattended: 20 * time.Second}}},
			want: map[string]string{"j": "b"},
		},
		"not claimed in time, but there is nobody else": {
			view: View{Agents: agents("a"), Jobs: []Job{{Name: "j", Node: "a", Unattended: 20 * time.Second}}},
			want: map[string]string{}, again: 20 * time.Second,
		},
		"its agent is gone": {
			view: View{Agents: agents("b"), Jobs: []Job{{Name: "j", Node: "a", Session: "s"}}},
			want: map[string]string{"j": "b"},
		},
		"its agent is gone and nobody lives": {
			view: View{Jobs: []Job{{Name: "j", Node: "a", Session: "s"}}},
			want: map[string]string{},
		},
		"its session ended, the node's next agent may adopt it": {
			view: View{Agents: agents("a", "b"), Jobs: []Job{{Name: "j", Node: "a", Session: "s", Unattended: time.Second}}},
			want: map[string]string{}, again: 19 * time.Second,
		},
		"its session ended and the node's agent does not adopt it": {
			view: View{Agents: agents("a", "b"), Jobs: []Job{{Name: "j", Node: "a", Session: "s", Unattended: time.Minute}}},
			want: map[string]string{"j": "b"},
		},
		"a living session keeps its job however long it takes": {
			view: View{Agents: agents("a", "b"), Jobs: []Job{{Name: "j", Node: "a", Session: "s", SessionAlive: true, Unattended: time.Hour}}},
			want: map[string]string{},
		},
		"the agent that alone can do it lives": {
			view: View{Agents: agents("a", "b", "c"), Jobs: []Job{{Name: "j", Node: "a", Only: "c", Session: "s", SessionAlive: true}}},
			want: map[string]string{"j": "c"},
		},
		"it has it already": {
			view: View{Agents: agents("a", "b"), Jobs: []Job{{Name: "j", Node: "b", Only: "b", Session: "s", SessionAlive: true}}},
			want: map[string]string{},
		},
		"it does not live: who has it waits": {
			view: View{Agents: agents("a", "b"), Jobs: []Job{{Name: "j", Node: "a", Only: "c", Session: "s", SessionAlive: true}}},
			want: map[string]string{},
		},
		"it has no slot left, and nobody else gets it": {
			view: View{Agents: agents("a", "b", "c"), MaxPerNode: 1, Jobs: []Job{
				{Name: "busy", Volumes: []string{"v"}, Node: "c", Session: "s", SessionAlive: true, Created: at(2)},
				{Name: "j", Volumes: []string{"w"}, Node: "a", Only: "c", Session: "s", SessionAlive: true},
			}},
			want: map[string]string{},
		},
		"whoever had it is gone, and it lives": {
			view: View{Agents: agents("b", "c"), Jobs: []Job{{Name: "j", Volumes: []string{"v"}, Node: "a", Only: "c", Session: "s"}}, Engines: map[string]string{"v": "b"}},
			want: map[string]string{"j": "c"},
		},
		"it had it and is gone: another one looks after it": {
			view: View{Agents: agents("b"), Jobs: []Job{{Name: "j", Node: "c", Only: "c", Session: "s"}}},
			want: map[string]string{"j": "b"},
		},
		"it comes before a job that waits": {
			view: View{Agents: agents("a", "c"), MaxPerNode: 1, Jobs: []Job{
				{Name: "older", Volumes: []string{"v"}, Created: at(-1)},
				{Name: "j", Volumes: []string{"w"}, Node: "a", Only: "c", Session: "s", SessionAlive: true},
			}},
			want: map[string]string{"j": "c", "older": "a"},
		},
		"a lost job comes before new ones": {
			view: View{Agents: agents("b"), MaxPerNode: 1, Jobs: []Job{
				{Name: "new", Volumes: []string{"v"}, Created: at(1)}, {Name: "lost", Volumes: []string{"w"}, Node: "a", Session: "s", Created: at(2)},
			}},
			want: map[string]string{"lost": "b"},
		},
		"a lost job without a new agent still blocks its volume and target": {
			view: View{Agents: agents("b"), MaxPerNode: 1, TargetLimits: map[string]int{"t": 1}, Jobs: []Job{
				{Name: "busy", Volumes: []string{"z"}, Node: "b", Session: "s", SessionAlive: true},
				{Name: "lost", Volumes: []string{"w"}, Node: "a", Session: "d", Target: "t"},
				{Name: "new", Volumes: []string{"w"}, Created: at(2)},
				{Name: "same-target", Volumes: []string{"y"}, Target: "t", Created: at(3)},
			}},
			want: map[string]string{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.view.MaxPerNode == 0 {
				c.view.MaxPerNode = 8
			}
			c.view.ClaimTimeout = 20 * time.Second
			out := Decide(c.view)
			got := map[string]string{}
			for _, ch := range out.Changes {
				require.NotEmpty(t, ch.Reason)
				got[ch.Job] = ch.Node
			}
			require.Equal(t, c.want, got)
			require.Equal(t, c.again, out.Again)
			for _, j := range c.view.Jobs {
				if j.Node == "" && got[j.Name] == "" {
					require.NotEmpty(t, out.Waits[j.Name], "job %s waits and nobody says what for", j.Name)
				}
			}
		})
	}
}

func TestDecideSaysWhatJobsWaitFor(t *testing.T) {
	busy := Job{Name: "busy", Volumes: []string{"v"}, Target: "t", Node: "a", Session: "s", SessionAlive: true}
	for says, c := range map[string]View{
		"no agent lives on any node":                                                   {Jobs: []Job{{Name: "j"}}},
		"every node with an agent has as many jobs as it may at once (1)":              {Agents: agents("a"), MaxPerNode: 1, Jobs: []Job{busy, {Name: "j", Created: at(1)}}},
		"job busy of volume v comes first":                                             {Agents: agents("a"), Jobs: []Job{busy, {Name: "j", Volumes: []string{"w", "v"}, Created: at(1)}}},
		"target t has as many transfers as it may at once (spec.maxConcurrentJobs: 1)": {Agents: agents("a"), TargetLimits: map[string]int{"t": 1}, Jobs: []Job{busy, {Name: "j", Target: "t", Created: at(1)}}},
		"Longhorn's own backup b of volume v is being made":                            {Agents: agents("a"), Jobs: []Job{{Name: "j", Held: "Longhorn's own backup b of volume v is being made"}}},
	} {
		if c.MaxPerNode == 0 {
			c.MaxPerNode = 8
		}
		out := Decide(c)
		require.Empty(t, out.Changes)
		require.Equal(t, map[string]string{"j": says}, out.Waits)
	}
}

// A job that is held keeps its place in the queue of its volume, and goes when
// what held it is over.
func TestHeldJobKeepsItsPlace(t *testing.T) {
	v := View{Agents: agents("a"), MaxPerNode: 8, Jobs: []Job{
		{Name: "first", Volumes: []string{"v"}, Held: "something"}, {Name: "second", Volumes: []string{"v"}, Created: at(1)},
	}}
	require.Empty(t, Decide(v).Changes)
	v.Jobs[0].Held = ""
	require.Equal(t, []Decision{{Job: "first", Node: "a", Reason: "free"}}, Decide(v).Changes)
}

// TestDecideKeepsItsRules applies decisions until nothing changes, with jobs on
// few volumes, and looks that no limit is ever broken.
func TestDecideKeepsItsRules(t *testing.T) {
	v := View{Agents: agents("a", "b", "c"), MaxPerNode: 2, ClaimTimeout: time.Minute, TargetLimits: map[string]int{"t": 4}}
	for i := range 40 {
		name := string(rune('A' + i))
		v.Jobs = append(v.Jobs, Job{
			Name: name, Target: "t", Created: at(i),
			Volumes: []string{string(rune('a' + i%5)), string(rune('a' + (i*3+1)%7))},
		})
	}
	for round := 0; len(v.Jobs) > 0; round++ {
		require.Less(t, round, 100, "everything is done in the end")
		for _, ch := range Decide(v).Changes {
			for i := range v.Jobs {
				if v.Jobs[i].Name == ch.Job {
					v.Jobs[i].Node, v.Jobs[i].Session, v.Jobs[i].SessionAlive = ch.Node, "s", true
				}
			}
		}
		load, target, volumes := map[string]int{}, 0, map[string]string{}
		var left []Job
		for _, j := range v.Jobs {
			if j.Node == "" {
				left = append(left, j)
				continue
			}
			load[j.Node]++
			target++
			for _, vol := range uniq(j.Volumes) {
				require.Empty(t, volumes[vol], "volume %s of %s", vol, j.Name)
				volumes[vol] = j.Name
			}
		}
		for node, n := range load {
			require.LessOrEqual(t, n, 2, node)
		}
		require.LessOrEqual(t, target, 4)
		v.Jobs = left // what was assigned is done
	}
}

func uniq(in []string) (out []string) {
	seen := map[string]bool{}
	for _, s := range in {
		if !seen[s] {
			out = append(out, s)
		}
		seen[s] = true
	}
	return out
}
