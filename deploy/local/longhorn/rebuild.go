package longhorn

import (
	"context"
	"fmt"
	"strconv"
	"time"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"

	"hayloft.dev/deploy/local/longhorn/observe"
)

// replenishInterval is the setting that says how long a replica stays failed while its volume is attached, in seconds.
const replenishInterval = "replica-replenishment-wait-interval"

// replenish has replicas rebuilt that have been failed for long enough, once the engine has forgotten them.
func (v *volumes) replenish(ctx context.Context, vol *volume, a *attendance, latest *observe.Report) error {
	if len(vol.extras) > 0 || vol.Spec.MigrationNodeID != "" || !some(latest.Modes, lh.ReplicaModeRW) {
		return nil
	}
	var failed []*lh.Replica
	for _, r := range vol.replicas {
		if _, in := latest.Modes[r.Name]; r.Spec.NodeID != "" && r.Spec.FailedAt != "" && !in {
			failed = append(failed, r)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	interval, err := v.seconds(ctx, replenishInterval)
	if err != nil {
		return err
	}
	var due []*lh.Replica
	for _, r := range failed {
		if at, err := time.Parse(time.RFC3339, r.Spec.FailedAt); err != nil || time.Since(at) >= interval {
			due = append(due, r)
		}
	}
	return v.rebuild(ctx, vol, a, due)
}

// rebuild brings replicas back one after the other beside the running engine: each is started on an emptied folder and
// filled by the engine. It does nothing while the engine already does so.
func (v *volumes) rebuild(ctx context.Context, vol *volume, a *attendance, broken []*lh.Replica) error {
	if len(broken) == 0 || !a.beginRebuild() {
		return nil
	}
	image, err := v.backingFiles(ctx, vol)
	if err != nil {
		a.endRebuild()
		return err
	}
	replicas := make([]*lh.Replica, 0, len(broken))
	for _, r := range broken {
		replicas = append(replicas, r.DeepCopy())
	}
	name, size := vol.Name, vol.Spec.Size
	a.done.Go(func() {
		defer a.endRebuild()
		for _, r := range replicas {
			if err := v.rebuildOne(a.context, size, a, r, image[r.Spec.NodeID]); err != nil && a.context.Err() == nil {
				v.log.Warn("it is tried again", "volume", name, "error", err)
			}
			a.poke()
		}
	})
	return nil
}

func (v *volumes) rebuildOne(ctx context.Context, size int64, a *attendance, r *lh.Replica, backingFile string) error {
	if err := removeReplicaDir(r); err != nil {
		return err
	}
	info, err := v.startReplica(ctx, r, backingFile)
	if err != nil {
		return err
	}
	a.add(r.Name, info)
	a.poke()
	if err := v.instances.Rebuild(ctx, a.engine, info, size); err != nil {
		v.instances.Stop(r.Name)
		return err
	}
	return nil
}

// seconds reads a setting.
func (v *volumes) seconds(ctx context.Context, name string) (time.Duration, error) {
	value, err := v.setting(ctx, name)
	if err != nil {
		return 0, err
	}
	seconds, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("reading setting %s: %w", name, err)
	}
	return time.Duration(seconds) * time.Second, nil
}

func (v *volumes) setting(ctx context.Context, name string) (string, error) {
	setting := &lh.Setting{}
	if err := v.client.Get(ctx, v.key(name), setting); err != nil {
		return "", fmt.Errorf("reading setting %s: %w", name, err)
	}
	return setting.Value, nil
}

func some(modes map[string]lh.ReplicaMode, wanted lh.ReplicaMode) bool {
	for _, mode := range modes {
		if mode == wanted {
			return true
		}
	}
	return false
}
