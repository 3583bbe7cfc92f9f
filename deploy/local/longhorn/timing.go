package longhorn

import (
	"fmt"
	"time"
)

// timing is what things take at least. The zero value is as fast as the machine is.
type timing struct {
	attach, detach time.Duration
	waitsForPoll   bool // replicas' modes and robustness are not known before the first poll of an engine
}

// What takes its time.
const (
	attaching = "attaching"
	detaching = "detaching"
	migration = "migration"
)

// realTiming is what was seen on the real Longhorn v1.8.1: attached and satisfied after 2 s, healthy 5 to 6 s later, when
// the engine is polled for the first time; detached after 1.4 to 2.5 s.
var realTiming = timing{attach: 2 * time.Second, detach: 2 * time.Second, waitsForPoll: true}

// waiting ends a step that cannot go on yet.
type waiting struct {
	forWhat string
	after   time.Duration // until it is worth another look
}

func (w waiting) Error() string { return fmt.Sprintf("waiting %s for %s", w.after, w.forWhat) }

// take lets something with a volume take its time: it is an error of kind waiting until that has passed since the first
// call. Then it begins anew.
func (v *volumes) take(volume, what string, duration time.Duration) error {
	if duration == 0 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	key := volume + "/" + what
	begun, ok := v.begun[key]
	if !ok {
		begun = time.Now()
		v.begun[key] = begun
	}
	if rest := duration - time.Since(begun); rest > 0 {
		return waiting{forWhat: what, after: rest}
	}
	delete(v.begun, key)
	return nil
}

// takeNoMore forgets that something had begun.
func (v *volumes) takeNoMore(volume, what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.begun, volume+"/"+what)
}
