package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

	mu   sync.Mutex
	jobs map[types.UID]timer
}

type timer struct {
	key   types.NamespacedName
	table string
	job   uuid.UUID
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
	return &timers{scheduler: s, wake: wake, log: log, jobs: map[types.UID]timer{}}, nil
}

// set has a schedule woken by a timetable from now on.
func (t *timers) set(uid types.UID, key types.NamespacedName, table schedule.Timetable) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := table.String() + " " + table.Location().String()
	if t.jobs[uid].table == name {
		return nil
	}
	t.drop(uid)
	job, err := t.scheduler.NewJob(gocron.CronJob(name, false), gocron.NewTask(func() { t.wake(key) }), gocron.WithCronImplementation(times{table}))
	if err != nil {
		return fmt.Errorf("setting its timer: %w", err)
	}
	t.jobs[uid] = timer{key: key, table: name, job: job.ID()}
	return nil
}

func (t *timers) forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(uid)
}

func (t *timers) drop(uid types.UID) {
	if old, ok := t.jobs[uid]; ok {
		// The only error is that there is no such job.
		_ = t.scheduler.RemoveJob(old.job)
		delete(t.jobs, uid)
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
	for uid, old := range t.jobs {
		keys = append(keys, old.key)
		t.drop(uid)
	}
	t.mu.Unlock()
	for _, key := range keys {
		t.wake(key)
	}
}
