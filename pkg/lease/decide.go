package lease

import "time"

// This file holds the rules and nothing else: values and instants in, a
// decision out. Instants are of one process's monotonic clock.

// validity is how long a session may act.
type validity struct {
	duration time.Duration
	// renewed is when the last renewal that succeeded was about to be sent:
	// the server cannot have stored it earlier, so nobody can have begun to
	// count the session's silence before.
	renewed time.Time
}

// end is two thirds of the duration after the last renewal. Others wait for a
// whole one, so a third is left for what was begun just before the end.
func (v validity) end() time.Time { return v.renewed.Add(v.duration * 2 / 3) }

func (v validity) at(now time.Time) bool { return now.Before(v.end()) }

// renew counts a renewal that was sent at sent and known to be stored at now.
// A session that was over by then stays over: others may have begun to take
// its volumes while the answer was on its way.
func (v validity) renew(sent, now time.Time) (validity, bool) {
	if !v.at(now) {
		return v, false
	}
	if sent.After(v.renewed) {
		v.renewed = sent
	}
	return v, true
}

// sighting is what an observer knows of a foreign session.
type sighting struct {
	version  string // resourceVersion, with the object's UID before it
	duration time.Duration
	// since is when the answer that first showed version had arrived.
	since time.Time
}

// see adds an observation that had arrived at now. A session's own word on its
// duration can make an observer wait longer, never shorter than floor or than
// what the session said before.
func (s sighting) see(version string, said, floor time.Duration, now time.Time) sighting {
	s.duration = min(max(s.duration, floor, said), MaxDuration)
	if s.version != version || s.since.IsZero() {
		s.version, s.since = version, now
	}
	return s
}

// silent is when the session has ended unless it is seen to change before.
func (s sighting) silent() time.Time { return s.since.Add(s.duration) }

// ended tells whether a read that was sent at asked and found the session
// unchanged shows that it has ended.
func (s sighting) ended(asked time.Time) bool { return !asked.Before(s.silent()) }

// volumeView is what a live read found of a volume's lease.
type volumeView struct {
	exists bool
	holder string // session, or empty
	claim  string // which of the holder's acquisitions wrote it
}

// verdict is what is known of the session that holds a volume.
type verdict struct {
	ended bool
	// until is when it can be found to have ended at the earliest.
	until time.Time
}

type action int

const (
	wait   action = iota // the holder's session may still act
	create               // there is no lease yet
	take                 // free, left behind by an ended session, or this session's own from an earlier call
	own                  // this very acquisition was stored already
)

func (v volumeView) foreign(session string) bool {
	return v.exists && v.holder != "" && v.holder != session
}

// decide what session is to do about a volume; holder matters only when the
// lease is foreign. claim is the acquisition that may have been stored already,
// empty when it sent nothing yet.
func decide(session, claim string, v volumeView, holder verdict) action {
	switch {
	case !v.exists:
		return create
	case v.holder == session && v.claim == claim && claim != "":
		return own
	case v.foreign(session) && !holder.ended:
		return wait
	}
	return take
}
