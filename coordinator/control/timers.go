package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/schedule"
)

// timers wake schedules at their nominal times while this process leads. They
// decide nothing: what is due follows from what is recorded, so a timer that
// fires late or twice does no harm.
type timers struct {
	scheduler gocron.Scheduler
	wake      func(types.NamespacedName)
	log       *slog.Logger

	mu sync.Mutex
	// of has the timer of each schedule. Those that run at the same times, of which
	// there may be thousands, have one together.
	of     map[types.UID]*timer
	timers map[string]*timer // by schedule.Timetable.Key
}

type timer struct {
	table string
	job   uuid.UUID
	wakes map[types.UID]types.NamespacedName
}

// leader is asked by gocron before each run.
type leader func() bool

func (l leader) IsLeader(context.Context) error {
	if !l() {
		return errors.New("another coordinator leads")
	}
	return nil
}

// times has gocron take a timetable for a cron expression: it knows daylight
// saving otherwise than we do.
type times struct{ schedule.Timetable }

func (times) IsValid(string, *time.Location, time.Time) error { return nil }

func newTimers(ctx context.Context, leads func() bool, wake func(types.NamespacedName), log *slog.Logger) (*timers, error) {
	s, err := gocron.NewScheduler(
		// It passes over a time that reads like the one before, in the zone of each:
		// both must be in the one that a timetable returns.
		gocron.WithLocation(time.UTC),
		gocron.WithDistributedElector(leader(leads)),
		gocron.WithStopTimeout(time.Second),
	)
	if err != nil {
		return nil, fmt.Errorf("making the timers: %w", err)
	}
	context.AfterFunc(ctx, func() {
		if err := s.Shutdown(); err != nil {
			log.Debug("ending the timers", "error", err)
		}
	})
	return &timers{scheduler: s, wake: wake, log: log, of: map[types.UID]*timer{}, timers: map[string]*timer{}}, nil
}

// set has a schedule woken by a timetable from now on.
func (t *timers) set(uid types.UID, key types.NamespacedName, table schedule.Timetable) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := table.Key()
	if old := t.of[uid]; old != nil && old.table == at {
		return nil
	}
	t.drop(uid)
	one := t.timers[at]
	if one == nil {
		one = &timer{table: at, wakes: map[types.UID]types.NamespacedName{}}
		job, err := t.scheduler.NewJob(gocron.CronJob(at, false), gocron.NewTask(func() { t.came(one) }), gocron.WithCronImplementation(times{table}))
		if err != nil {
			return fmt.Errorf("setting its timer: %w", err)
		}
		one.job = job.ID()
		t.timers[at] = one
	}
	one.wakes[uid], t.of[uid] = key, one
	return nil
}

// came wakes all schedules of a timer.
func (t *timers) came(one *timer) {
	t.mu.Lock()
	// By namespace, of which many are read at once.
	keys := slices.SortedFunc(maps.Values(one.wakes), func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	t.mu.Unlock()
	for _, key := range keys {
		t.wake(key)
	}
}

// has tells whether a schedule is woken at its times.
func (t *timers) has(uid types.UID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of[uid] != nil
}

func (t *timers) forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(uid)
}

func (t *timers) drop(uid types.UID) {
	old := t.of[uid]
	if old == nil {
		return
	}
	delete(t.of, uid)
	if delete(old.wakes, uid); len(old.wakes) == 0 {
		// The only error is that there is no such job.
		_ = t.scheduler.RemoveJob(old.job)
		delete(t.timers, old.table)
	}
}

// Timers run on a clock that knows nothing of the time being set, nor of the
// machine having slept.
const (
	clockLook = 10 * time.Second
	clockJump = 2 * time.Second
)

// Start runs the timers until ctx ends, in the leader.
func (t *timers) Start(ctx context.Context) error {
	t.scheduler.Start()
	tick := time.NewTicker(clockLook)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		if jump := now.Round(0).Sub(last.Round(0)) - now.Sub(last); jump.Abs() > clockJump {
			t.log.Warn("the clock was set; all schedules are looked at again", "by", jump.String())
			t.anew()
		}
		last = now
	}
}

// anew drops all timers and wakes what they were for, which sets them again.
func (t *timers) anew() {
	t.mu.Lock()
	var keys []types.NamespacedName
	for uid, old := range t.of {
		keys = append(keys, old.wakes[uid])
		t.drop(uid)
	}
	t.mu.Unlock()
	for _, key := range keys {
		t.wake(key)
	}
}
