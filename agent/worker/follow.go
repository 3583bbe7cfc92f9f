package worker

import (
	"context"
	"time"

	"hayloft.dev/agent/attach"
)

// lookAgain is the time between two looks for an engine that does not answer.
const lookAgain = time.Second

// site is where a volume's engine was found.
type site struct {
	volume string
	at     attach.Location
	looked time.Time // monotonic; when it was last looked for since it fell silent
}

// moved looks where Longhorn has the engine now, after it gave no answer. It is
// true when the engine runs at another place, which at then says: Longhorn ends
// one that crashed and starts another, of which the old address never tells.
func (r *run) moved(ctx context.Context, s *site) bool {
	if time.Since(s.looked) < lookAgain {
		return false
	}
	s.looked = time.Now()
	loc, err := within(ctx, r.Limits.Call, func(ctx context.Context) (attach.Location, error) { return r.Attacher.Locate(ctx, s.volume) })
	if err != nil || loc.Address == s.at.Address && loc.EngineUID == s.at.EngineUID {
		return false // or nobody knows: it is looked for again
	}
	s.at = loc
	return true
}
