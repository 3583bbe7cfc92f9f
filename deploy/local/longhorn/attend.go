package longhorn

import (
	"context"
	"maps"
	"sync"
	"time"

	"hayloft.dev/deploy/local/longhorn/instance"
	"hayloft.dev/deploy/local/longhorn/observe"
)

const (
	pollInterval = 5 * time.Second  // of running engines, as the real manager's
	pollTimeout  = 10 * time.Second // of one poll; an engine that does not answer is asked again
)

// attendance is what runs beside an engine: its poll, and the rebuilding of broken replicas. It writes no objects: what it
// learned is asked for when the volume is looked at.
type attendance struct {
	context context.Context // ends with it
	cancel  context.CancelFunc
	done    sync.WaitGroup
	engine  instance.Info

	mu       sync.Mutex
	replicas map[string]instance.Info
	latest   *observe.Report // of the last poll that was answered
	rebuilds bool            // one is running

	kick chan struct{}
}

// attend begins it for an engine that was started.
func (v *volumes) attend(engine instance.Info, running map[string]instance.Info) *attendance {
	ctx, cancel := context.WithCancel(context.Background()) // until leave
	a := &attendance{
		cancel:   cancel,
		engine:   engine,
		replicas: maps.Clone(running),
		kick:     make(chan struct{}, 1),
	}
	a.context = ctx
	v.mu.Lock()
	v.attended[engine.Name] = a
	v.mu.Unlock()
	a.done.Go(func() { v.poll(ctx, engine.Volume, a) })
	return a
}

// leave ends it and returns when nothing of it runs.
func (v *volumes) leave(engine string) {
	if a := v.attendanceOf(engine); a != nil {
		a.cancel()
		a.done.Wait()
		v.mu.Lock()
		if v.attended[engine] == a {
			delete(v.attended, engine)
		}
		v.mu.Unlock()
	}
}

func (v *volumes) attendanceOf(engine string) *attendance {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.attended[engine]
}

// attendedOf are the attended engines of a volume.
func (v *volumes) attendedOf(volume string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var engines []string
	for engine, a := range v.attended {
		if a.engine.Volume == volume {
			engines = append(engines, engine)
		}
	}
	return engines
}

func (v *volumes) poll(ctx context.Context, name string, a *attendance) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.kick:
		}
		a.mu.Lock()
		t := target(name, a.engine, a.replicas)
		a.mu.Unlock()
		asked, cancel := context.WithTimeout(ctx, pollTimeout)
		report, err := observe.All(asked, t)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				v.log.Debug("polling", "volume", name, "error", err)
			}
			continue
		}
		a.mu.Lock()
		a.latest = &report
		a.mu.Unlock()
		v.lookAt(name)
	}
}

// learned returns the last poll, nil when there was none yet, and the replicas that the engine was given.
func (a *attendance) learned() (latest *observe.Report, replicas map[string]instance.Info) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.latest, maps.Clone(a.replicas)
}

// add has a replica polled with the engine that it is about to be given.
func (a *attendance) add(replica string, info instance.Info) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.replicas[replica] = info
}

// beginRebuild is false while one is running.
func (a *attendance) beginRebuild() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rebuilds {
		return false
	}
	a.rebuilds = true
	return true
}

func (a *attendance) endRebuild() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rebuilds = false
}

// drop forgets a replica that the engine has no more.
func (a *attendance) drop(replica string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.replicas, replica)
}

// poke has the engine polled now.
func (a *attendance) poke() {
	select {
	case a.kick <- struct{}{}:
	default: // it is about to be
	}
}
