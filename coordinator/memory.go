package main

import (
	"os"
	"runtime/debug"
)

// Most of what a coordinator of many points holds are its caches, which stay.
// What may come on top of that is bounded here, for some CPU time.

// garbage is how much more memory than what is held may be taken, in percent,
// before it is looked for what is held no more; Go's own value is 100. GOGC in
// the environment goes first.
const garbage = 30

func boundGarbage() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(garbage)
	}
}
