package lease_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/lease"
	"hayloft.dev/pkg/names"
)

// tenure is what one holder believed: that it held the volume in this epoch
// from one instant to another, of this process's monotonic clock. From is after
// the acquisition returned; to is before a Check began that succeeded.
type tenure struct {
	volume   string
	epoch    int64
	session  string
	from, to time.Time
}

// history of all holders.
type history struct {
	mu    sync.Mutex
	all   []tenure
	count atomic.Int64
}

func (h *history) add(t tenure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, t)
	h.count.Add(1)
}

// verify that no two tenures of a volume overlap and that epochs grow with
// time.
func (h *history) verify(t *testing.T) {
	t.Helper()
	slices.SortFunc(h.all, func(a, b tenure) int {
		return cmp.Or(cmp.Compare(a.volume, b.volume), a.from.Compare(b.from))
	})
	for i := 1; i < len(h.all); i++ {
		a, b := h.all[i-1], h.all[i]
		if a.volume != b.volume {
			continue
		}
		require.Less(t, a.epoch, b.epoch, "epochs grow: %v, %v", a, b)
		require.False(t, b.from.Before(a.to), "two holders at once: %v, %v", a, b)
	}
}

// fightTime ends a fight on a machine that is too busy for a long history: what
// there is of it is verified all the same.
const fightTime = time.Minute

// fighter acquires random sets of volumes until the history is long enough. A
// crashing one is cut off for good every now and then and starts anew, without
// a release.
type fighter struct {
	b       *bench
	node    string
	volumes []string
	history *history
	enough  int64
	lasting time.Duration
	noise   fault
	crashes int

	session *lease.Session
	wire    *wire
}

func (f *fighter) fight() error {
	begin, began := f.history.count.Load(), time.Now()
	for crashed := 0; f.history.count.Load() < f.enough && time.Since(began) < fightTime; {
		if f.session == nil || f.session.Context().Err() != nil {
			if err := f.open(); err != nil {
				return err
			}
		}
		if err := f.round(); err != nil {
			return err
		}
		due := begin + f.enough*int64(crashed+1)/int64(f.crashes+1)
		late := fightTime * time.Duration(crashed+1) / time.Duration(f.crashes+2)
		if crashed < f.crashes && (f.history.count.Load() >= due || time.Since(began) >= late) {
			h, err := f.session.AcquireAll(f.b.ctx, f.volumes)
			if err != nil && f.session.Context().Err() == nil {
				return err
			}
			if err == nil {
				f.record(h)
			}
			f.wire.cut()
			f.session = nil
			crashed++
		}
	}
	return nil
}

func (f *fighter) open() error {
	if f.session != nil {
		if err := f.session.Close(f.b.ctx); err != nil && f.noise == nil {
			return err
		}
	}
	for {
		s, w, err := f.b.tryOpen(lease.Options{Node: f.node, Duration: f.lasting}, f.noise)
		if err == nil {
			f.session, f.wire = s, w
			return nil
		}
		if f.noise == nil || f.b.ctx.Err() != nil {
			return err
		}
	}
}

// round is one acquisition, some work and a release.
func (f *fighter) round() error {
	set := slices.Clone(f.volumes)
	rand.Shuffle(len(set), func(i, j int) { set[i], set[j] = set[j], set[i] })
	h, err := f.session.AcquireAll(f.b.ctx, set[:1+rand.IntN(2)])
	switch {
	case errors.Is(err, lease.ErrFenced):
		return nil // a busy machine or a bad wire
	case err != nil:
		return err
	}
	f.record(h)
	if err := h.Release(f.b.ctx); err != nil && f.noise == nil {
		return err
	}
	time.Sleep(rand.N(3 * time.Millisecond)) // think
	return nil
}

// record notes for how long the volumes were held with certainty.
func (f *fighter) record(h *lease.Held) {
	from := time.Now()
	time.Sleep(rand.N(3 * time.Millisecond)) // work
	to := time.Now()
	if h.Check(f.b.ctx) != nil {
		to = from
	}
	for volume, epoch := range h.Epochs() {
		f.history.add(tenure{volume, epoch, f.session.ID(), from, to})
	}
}

func (b *bench) tryOpen(o lease.Options, f fault) (*lease.Session, *wire, error) {
	c, w := connect(b.t, b.config)
	w.set(f)
	o.Namespace = b.namespace
	s, err := lease.Open(b.ctx, c, o)
	return s, w, err
}

// fight until so many volumes were acquired, and verify what happened.
func (b *bench) fight(t *testing.T, enough int64, lasting time.Duration, crashes int, noise fault) {
	volumes := []string{"v1", "v2", "v3"}
	h := &history{}
	fighters := []*fighter{
		{b: b, node: "red", crashes: crashes, noise: noise}, {b: b, node: "blue", noise: noise},
	}
	errs := make([]error, len(fighters))
	var all sync.WaitGroup
	for i, f := range fighters {
		f.volumes, f.history, f.enough, f.lasting = volumes, h, enough, lasting
		all.Go(func() { errs[i] = f.fight() })
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	for _, f := range fighters {
		if f.session != nil {
			f.wire.set(nil)
			assert.NoError(t, f.session.Close(b.ctx))
		}
	}
	h.verify(t)

	holders := map[string]int{}
	last := map[string]int64{}
	for _, x := range h.all {
		holders[x.session[:3]]++
		last[x.volume] = max(last[x.volume], x.epoch)
	}
	assert.Len(t, holders, len(fighters), "each got its turns")
	for volume, epoch := range last {
		_, stored := b.volume(volume)
		assert.GreaterOrEqual(t, stored, epoch)
	}
	t.Logf("%d tenures: %v, last epochs %v", len(h.all), holders, last)
}

func TestTwoSessionsFight(t *testing.T) {
	t.Parallel()
	newBench(t).fight(t, 2000, lease.DefaultDuration, 0, nil)
}

// TestFightOnABadWire lets every twentieth request fail in one of four ways,
// a second writer change the leases meanwhile, and one side crash while it
// holds everything.
func TestFightOnABadWire(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	noise := func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		switch rand.IntN(80) {
		case 0:
			return nil, errors.New("connection refused")
		case 1: // stored, not answered
			answer, err := next.RoundTrip(r)
			if err == nil {
				_ = answer.Body.Close()
			}
			return nil, errors.Join(err, io.ErrUnexpectedEOF)
		case 2: // late
			time.Sleep(rand.N(300 * time.Millisecond))
			return next.RoundTrip(r)
		case 3: // stored after the caller has given up
			late := r.Clone(context.WithoutCancel(r.Context()))
			go func() {
				time.Sleep(rand.N(500 * time.Millisecond))
				if answer, err := next.RoundTrip(late); err == nil {
					_ = answer.Body.Close()
				}
			}()
			return nil, errors.New("connection reset by peer")
		}
		return next.RoundTrip(r)
	}
	ctx, stop := context.WithCancel(b.ctx)
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if l, err := b.read(ctx, names.VolumeLease(fmt.Sprintf("v%d", 1+n%3))); err == nil && l != nil {
				l.Labels["writer"] = fmt.Sprint(n)
				_ = b.c.Update(ctx, l) // it may lose every race
			}
			time.Sleep(rand.N(20 * time.Millisecond))
		}
	})
	b.fight(t, 400, short, 2, noise)
	stop()
	writer.Wait()
}
