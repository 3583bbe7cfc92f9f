package lease

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// memos bounds what a session remembers of volumes that it gave back.
const memos = 1024

// memo is what a session remembers of a volume's lease.
type memo struct {
	claim string // this session's last acquisition, also one that is under way
	// free is the lease as this session stored it when it gave it back; nil
	// while it is held or when nothing is known. It spares the read before the
	// next acquisition: the compare-and-swap fails where it is not true any
	// more, and then there is a read.
	free *coordinationv1.Lease
}

// claiming notes the acquisition that is about to be written.
func (s *Session) claiming(volume, claim string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memos == nil {
		s.memos = map[string]memo{}
	}
	if len(s.memos) >= memos {
		for v, m := range s.memos {
			if m.free != nil {
				delete(s.memos, v)
			}
		}
	}
	s.memos[volume] = memo{claim: claim}
}

// gaveBack notes a lease as it was stored without holder.
func (s *Session) gaveBack(o owned, free *coordinationv1.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.memos[o.volume]; ok && m.claim == o.claim {
		m.free = free
		s.memos[o.volume] = m
	}
}

// remembered is a volume's lease as this session gave it back, nil if it does
// not know.
func (s *Session) remembered(volume string) *coordinationv1.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memos[volume].free
}

// latest tells whether no other call in this session has begun to take the
// volume since.
func (s *Session) latest(o owned) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.memos[o.volume]
	return ok && m.claim == o.claim
}

// proofLasts is how long an answer about a lease counts, from when it was asked
// for: one second for a session of the default duration.
func (s *Session) proofLasts() time.Duration { return min(s.o.Duration/15, time.Second) }
