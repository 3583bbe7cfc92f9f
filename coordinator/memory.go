package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Most of what a coordinator of many points holds are its caches, which stay. What may
// come on top of that is bounded here: closely while they are filled, since between what
// comes to stay then holes are left by what does not; at rest, where looking for what is
// held no more costs next to nothing since there is little of it; and less so at work.

// How much more memory than what is held may be taken, in percent, before it is looked
// for what is held no more; Go's own value is 100. GOGC in the environment goes first.
const (
	garbageFilling = 10
	garbageAtRest  = 20
	garbageAtWork  = 40
)

const (
	garbageLook = 2 * time.Second
	// restAfter is after how many looks that found it at rest in a row a coordinator is.
	restAfter = 2
)

// collector tells whether the process is at work, by what it takes of memory.
type collector struct {
	atWork bool
	quiet  int    // looks in a row that found it at rest
	taken  uint64 // in all, as of the last look
}

// look is told how much memory was taken in all and how much is held, in bytes, and
// tells whether something else holds from now on.
func (c *collector) look(taken, held uint64) (changed bool) {
	// At rest it would be looked for what is held no more with each look here.
	if taken-c.taken > held/100*garbageAtRest {
		c.quiet = 0
	} else {
		c.quiet++
	}
	c.taken = taken
	former := c.atWork
	c.atWork = c.quiet == 0 || former && c.quiet < restAfter
	return c.atWork != former
}

func (c *collector) percent() int {
	if c.atWork {
		return garbageAtWork
	}
	return garbageAtRest
}

// boundGarbage does so until ctx ends. filled waits until the caches are.
func boundGarbage(ctx context.Context, filled func(context.Context) bool) {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	debug.SetGCPercent(garbageFilling)
	go func() {
		if !filled(ctx) {
			return
		}
		debug.FreeOSMemory() // filling them has taken more than they hold
		c := collector{atWork: true}
		debug.SetGCPercent(c.percent())
		tick := time.NewTicker(garbageLook)
		defer tick.Stop()
		now := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			metrics.Read(now)
			if !c.look(now[0].Value.Uint64(), now[1].Value.Uint64()) {
				continue
			}
			debug.SetGCPercent(c.percent())
			if !c.atWork {
				debug.FreeOSMemory()
			}
		}
	}()
}
