// Package assign decides which node's agent does which job.
//
// It is pure: values and a time in, decisions out. Assigning is only a matter
// of load and nearness, for any agent can drive any engine over gRPC; that two
// never drive one volume is the leases' part.
package assign

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Agent is a living agent.
type Agent struct {
	Node string
}

// Job is an unfinished job.
type Job struct {
	Name string
	// Volumes that it works on; no other job with one of them is assigned.
	Volumes []string
	// Target whose limit it counts against; empty for jobs that move nothing.
	Target string
	// Held says what keeps the job from being assigned besides what is decided
	// here; empty: nothing.
	Held string
	// Node it is assigned to; empty: to none.
	Node string
	// Only is the node whose agent alone can do it, as the one that has it says; it
	// goes there as soon as an agent there can take it. Empty: any can.
	Only string
	// Unattended is how long it has been waiting for the agent on Node: since it was
	// assigned, or since the session that worked on it was seen to have ended.
	Unattended time.Duration
	// Session that claimed it, empty while nobody did; SessionAlive tells
	// whether that session lives.
	Session      string
	SessionAlive bool
	Created      time.Time
}

// View is what a decision looks at.
type View struct {
	Agents []Agent
	Jobs   []Job
	// Engines maps a volume -> the node where its engine runs.
	Engines map[string]string
	// TargetLimits maps a target -> the most jobs that may move data to or from
	// it at once; a target that is not in it has no limit.
	TargetLimits map[string]int
	// MaxPerNode jobs at once.
	MaxPerNode int
	// ClaimTimeout is how long an agent may take to claim a job.
	ClaimTimeout time.Duration
}

// Decision gives a job to a node.
type Decision struct {
	Job, Node string
	// Reason is for logs.
	Reason string
}

// Outcome is what was decided.
type Outcome struct {
	// Changes to make. None of them rests on another.
	Changes []Decision
	// Waits says of each job that stays unassigned what it waits for, so that it
	// reads the same as long as that is the same.
	Waits map[string]string
	// Again is after how long to decide again though nothing happens; 0: no need.
	Again time.Duration
}

// Decide gives jobs to agents.
func Decide(v View) Outcome {
	var changes []Decision
	var again time.Duration
	waits := map[string]string{}
	d := newDecider(v)
	jobs := slices.Clone(v.Jobs)
	slices.SortStableFunc(jobs, func(a, b Job) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	var moving, calling, waiting []Job
	for _, j := range jobs {
		switch why, wait := d.misplaced(j); {
		case j.Node == "":
			waiting = append(waiting, j)
		case why == "" && j.Only != "" && j.Only != j.Node:
			calling = append(calling, j)
			again = sooner(again, wait)
		case why == "":
			d.occupy(j, j.Node)
			again = sooner(again, wait)
		default:
			moving = append(moving, j)
		}
	}
	for _, j := range calling {
		if !d.free(j.Only) {
			d.occupy(j, j.Node) // who has it waits with it
			continue
		}
		d.occupy(j, j.Only)
		changes = append(changes, Decision{Job: j.Name, Node: j.Only, Reason: "the agent on node " + j.Only + " alone can do it"})
	}
	// Jobs that lost their agent keep their place before new ones: their
	// transfers may still be running.
	for _, j := range moving {
		why, _ := d.misplaced(j)
		node := d.choose(j, j.Node)
		if node == "" && d.living[j.Node] {
			d.occupy(j, j.Node) // nobody else can; the node's agent may yet
			again = sooner(again, v.ClaimTimeout)
			continue
		}
		if node == "" {
			d.block(j)
			waits[j.Name] = d.noAgent()
			continue
		}
		d.occupy(j, node)
		changes = append(changes, Decision{Job: j.Name, Node: node, Reason: why})
	}
	for _, j := range waiting {
		why := d.holds(j)
		node := ""
		if why == "" {
			if node = d.choose(j, ""); node == "" {
				why = d.noAgent()
			}
		}
		if why != "" {
			d.queue(j)
			waits[j.Name] = why
			continue
		}
		d.occupy(j, node)
		changes = append(changes, Decision{Job: j.Name, Node: node, Reason: "free"})
	}
	return Outcome{Changes: changes, Waits: waits, Again: again}
}

type decider struct {
	View
	living  map[string]bool   // node -> an agent lives there
	load    map[string]int    // node -> assigned jobs
	targets map[string]int    // target -> assigned jobs
	taken   map[string]string // volume -> the job that is assigned to it, or waits before
}

func newDecider(v View) *decider {
	d := &decider{View: v, living: map[string]bool{}, load: map[string]int{}, targets: map[string]int{}, taken: map[string]string{}}
	for _, a := range v.Agents {
		d.living[a.Node] = true
	}
	return d
}

// misplaced says why an assigned job must go to another agent, or how long its
// agent has left to claim it.
func (d *decider) misplaced(j Job) (why string, left time.Duration) {
	switch {
	case j.Node == "":
		return "", 0
	case j.Session != "" && j.SessionAlive:
		return "", 0
	case !d.living[j.Node]:
		return "no agent lives on node " + j.Node, 0
	case j.Unattended < d.ClaimTimeout:
		// Also a job whose session has ended: the node's next agent adopts it.
		return "", d.ClaimTimeout - j.Unattended
	case j.Session != "":
		return "its session has ended and nobody on node " + j.Node + " took it over", 0
	}
	return "the agent on node " + j.Node + " did not claim it in time", 0
}

// holds says why a job cannot begin: its volumes are not free, or its target has
// no slot left; "" for nothing. Jobs are asked in order, so one that waits for a
// volume keeps its place in that volume's queue.
func (d *decider) holds(j Job) string {
	if j.Held != "" {
		return j.Held
	}
	for _, v := range j.Volumes {
		if by := d.taken[v]; by != "" {
			return fmt.Sprintf("job %s of volume %s comes first", by, v)
		}
	}
	if limit, limited := d.TargetLimits[j.Target]; j.Target != "" && limited && d.targets[j.Target] >= limit {
		return fmt.Sprintf("target %s has as many transfers as it may at once (spec.maxConcurrentJobs: %d)", j.Target, limit)
	}
	return ""
}

// noAgent says why no node can be chosen.
func (d *decider) noAgent() string {
	if len(d.living) == 0 {
		return "no agent lives on any node"
	}
	return fmt.Sprintf("every node with an agent has as many jobs as it may at once (%d)", d.MaxPerNode)
}

// free: a living agent on the node has a free slot.
func (d *decider) free(node string) bool { return d.living[node] && d.load[node] < d.MaxPerNode }

// choose the node whose agent alone can do a job, or where the engine of one of
// its volumes runs, if an agent with a free slot lives there, else the living
// agent with the least to do; not is a node to leave out.
func (d *decider) choose(j Job, not string) string {
	free := func(node string) bool { return node != "" && node != not && d.free(node) }
	if free(j.Only) {
		return j.Only
	}
	near := map[string]int{} // node -> engines of the job's volumes
	for _, v := range j.Volumes {
		if node := d.Engines[v]; free(node) {
			near[node]++
		}
	}
	best := ""
	for node := range d.living {
		if !free(node) {
			continue
		}
		if best == "" || better(near[node], d.load[node], node, near[best], d.load[best], best) {
			best = node
		}
	}
	return best
}

func better(near, load int, node string, bestNear, bestLoad int, best string) bool {
	return cmp.Or(-cmp.Compare(near, bestNear), cmp.Compare(load, bestLoad), cmp.Compare(node, best)) < 0
}

func (d *decider) occupy(j Job, node string) {
	d.load[node]++
	d.block(j)
}

// block counts a job that is assigned, if only to a node whose agent is gone.
func (d *decider) block(j Job) {
	if j.Target != "" {
		d.targets[j.Target]++
	}
	d.queue(j)
}

// queue keeps later jobs of the same volumes behind this one.
func (d *decider) queue(j Job) {
	for _, v := range j.Volumes {
		if d.taken[v] == "" {
			d.taken[v] = j.Name
		}
	}
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b > 0 && b < a) {
		return b
	}
	return a
}
