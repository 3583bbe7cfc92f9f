package longhorn

import (
	"context"
	"maps"
	"sync"
	"time"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"

	"hayloft.dev/deploy/local/longhorn/instance"
	"hayloft.dev/deploy/local/longhorn/observe"
)

const (
	pollInterval = 5 * time.Second  // of running engines, as the real manager's
	pollTimeout  = 10 * time.Second // of one poll; an engine that does not answer is asked again
)

// attendance is what runs beside a volume's processes while it is attached: the poll of its engine, and the rebuilding of
// broken replicas. It writes no objects: what it learned is asked for when the volume is looked at.
type attendance struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	engine instance.Info

	mu       sync.Mutex
	replicas map[string]instance.Info
	latest   *observe.Report // of the last poll that was answered

	kick chan struct{}
}

// attend begins it for a volume that was opened.
func (v *volumes) attend(vol *volume, engine instance.Info, running map[string]instance.Info, broken []*lh.Replica, image map[string]string) {
	ctx, cancel := context.WithCancel(context.Background()) // until leave
	a := &attendance{
		cancel:   cancel,
		engine:   engine,
		replicas: maps.Clone(running),
		kick:     make(chan struct{}, 1),
	}
	v.mu.Lock()
	v.attended[vol.Name] = a
	v.mu.Unlock()
	name, size := vol.Name, vol.Spec.Size
	a.done.Go(func() { v.poll(ctx, name, a) })
	if len(broken) > 0 {
		replicas := make([]*lh.Replica, 0, len(broken))
		for _, r := range broken {
			replicas = append(replicas, r.DeepCopy())
		}
		a.done.Go(func() { v.rebuild(ctx, name, size, a, replicas, image) })
	}
}

// leave ends it and returns when nothing of it runs.
func (v *volumes) leave(name string) {
	if a := v.attendanceOf(name); a != nil {
		a.cancel()
		a.done.Wait()
		v.mu.Lock()
		if v.attended[name] == a {
			delete(v.attended, name)
		}
		v.mu.Unlock()
	}
}

func (v *volumes) attendanceOf(name string) *attendance {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.attended[name]
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

// rebuild brings broken replicas back one after the other: each is started on an emptied folder and filled by the engine.
func (v *volumes) rebuild(ctx context.Context, name string, size int64, a *attendance, replicas []*lh.Replica, image map[string]string) {
	for _, r := range replicas {
		if err := v.rebuildOne(ctx, size, a, r, image[r.Spec.NodeID]); err != nil && ctx.Err() == nil {
			v.log.Warn("the next attach tries again", "volume", name, "error", err)
		}
		a.poke()
	}
}

func (v *volumes) rebuildOne(ctx context.Context, size int64, a *attendance, r *lh.Replica, backingFile string) error {
	if err := removeReplicaDir(r); err != nil {
		return err
	}
	info, err := v.startReplica(ctx, r, backingFile)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.replicas[r.Name] = info
	a.mu.Unlock()
	a.poke()
	if err := v.instances.Rebuild(ctx, a.engine, info, size); err != nil {
		v.instances.Stop(r.Name)
		return err
	}
	return nil
}

// learned returns the last poll, nil when there was none yet, and the replicas that the engine was given.
func (a *attendance) learned() (latest *observe.Report, replicas map[string]instance.Info) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.latest, maps.Clone(a.replicas)
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
