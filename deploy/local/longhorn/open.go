package longhorn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"hayloft.dev/deploy/local/longhorn/condition"
	"hayloft.dev/deploy/local/longhorn/instance"
	"hayloft.dev/deploy/local/longhorn/observe"
)

// open attaches a volume to the node that its spec names: replicas, then the engine, then the objects.
func (v *volumes) open(ctx context.Context, vol *volume) error {
	if err := v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) {
		s.State = lh.VolumeStateAttaching
		s.FrontendDisabled = vol.Spec.DisableFrontend
		s.OwnerID = vol.Spec.NodeID
	}); err != nil {
		return err
	}
	image, err := v.backingFiles(ctx, vol)
	if err != nil {
		return err
	}
	if err := v.take(vol.Name, attaching, v.timing.attach); err != nil {
		return err
	}
	// What a former try has left is not trusted.
	v.leave(vol.engine.Name)
	v.instances.Stop(vol.engine.Name)

	running, err := v.startReplicas(ctx, usable(vol.replicas), image)
	if len(running) == 0 {
		return errors.Join(errors.New("no replica could be started"), err)
	}
	if err != nil {
		v.log.Warn("attaching without a replica", "volume", vol.Name, "error", err)
	}
	engine, err := v.startEngine(ctx, vol, vol.side, vol.Spec.NodeID, running)
	if err != nil {
		return err
	}
	// As the first poll, snapshots too: they are written together with the modes.
	report, err := observe.All(ctx, target(vol.Name, engine, running))
	if err != nil {
		return err
	}
	if err := v.showOpened(ctx, vol, vol.side, vol.Spec.NodeID, engine, running, report); err != nil {
		return err
	}
	if err := v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) {
		s.State = lh.VolumeStateAttached
		s.CurrentNodeID = vol.Spec.NodeID
		s.Conditions = condition.Set(s.Conditions, lh.VolumeConditionTypeWaitForBackingImage, lh.ConditionStatusFalse, "", "")
		judge(s, vol)
	}); err != nil {
		return err
	}
	return v.rebuild(ctx, vol, v.attend(engine, running), broken(vol.replicas))
}

// usable are the replicas that can be attached.
func usable(replicas []*lh.Replica) []*lh.Replica {
	return slices.DeleteFunc(slices.Clone(replicas), func(r *lh.Replica) bool { return r.Spec.NodeID == "" || r.Spec.FailedAt != "" })
}

// broken are those that have to be rebuilt first.
func broken(replicas []*lh.Replica) []*lh.Replica {
	return slices.DeleteFunc(slices.Clone(replicas), func(r *lh.Replica) bool { return r.Spec.NodeID == "" || r.Spec.FailedAt == "" })
}

// startReplicas starts replicas side by side. Those that start are in the answer, by name; the error is of the others.
func (v *volumes) startReplicas(ctx context.Context, replicas []*lh.Replica, image map[string]string) (map[string]instance.Info, error) {
	var (
		mu      sync.Mutex
		group   sync.WaitGroup
		running = map[string]instance.Info{}
		failed  []error
	)
	for _, r := range replicas {
		group.Go(func() {
			info, err := v.startReplica(ctx, r, image[r.Spec.NodeID])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, err)
				return
			}
			running[r.Name] = info
		})
	}
	group.Wait()
	return running, errors.Join(failed...)
}

func (v *volumes) startReplica(ctx context.Context, r *lh.Replica, backingFile string) (instance.Info, error) {
	v.instances.Stop(r.Name)
	return v.instances.StartReplica(ctx, instance.Replica{
		Name:             r.Name,
		Volume:           r.Spec.VolumeName,
		IP:               v.ip(r.Spec.NodeID),
		Dir:              replicaDir(r),
		Size:             r.Spec.VolumeSize,
		BackingFile:      backingFile,
		SnapshotMaxCount: r.Spec.SnapshotMaxCount,
		SnapshotMaxSize:  r.Spec.SnapshotMaxSize,
		NoRevisions:      r.Spec.RevisionCounterDisabled,
	})
}

func (v *volumes) startEngine(ctx context.Context, vol *volume, s side, node string, replicas map[string]instance.Info) (instance.Info, error) {
	e := instance.Engine{
		Name:             s.engine.Name,
		Volume:           vol.Name,
		IP:               v.ip(node),
		Size:             vol.Spec.Size,
		Frontend:         !vol.Spec.DisableFrontend,
		SnapshotMaxCount: vol.Spec.SnapshotMaxCount,
		SnapshotMaxSize:  vol.Spec.SnapshotMaxSize,
		NoRevisions:      s.engine.Spec.RevisionCounterDisabled,
		Salvage:          s.engine.Spec.SalvageRequested,
	}
	for _, r := range s.replicas { // in the order of their names, every time
		if info, ok := replicas[r.Name]; ok {
			e.Replicas = append(e.Replicas, info.Address())
		}
	}
	return v.instances.StartEngine(ctx, e)
}

// backingFiles are the files of the volume's backing image, by node. It waits until they are there.
func (v *volumes) backingFiles(ctx context.Context, vol *volume) (map[string]string, error) {
	if vol.Spec.BackingImage == "" {
		return nil, nil
	}
	image := &lh.BackingImage{}
	err := v.client.Get(ctx, v.key(vol.Spec.BackingImage), image)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading its backing image: %w", err)
	}
	if err == nil && imageReady(image, v.nodes) {
		files := map[string]string{}
		for _, n := range v.nodes {
			files[n.Name] = imageFile(v.dir, n.Name, image)
		}
		return files, nil
	}
	if err := v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) {
		s.Conditions = condition.Set(s.Conditions, lh.VolumeConditionTypeWaitForBackingImage,
			lh.ConditionStatusTrue, lh.VolumeConditionReasonWaitForBackingImageWaiting, "")
	}); err != nil {
		return nil, err
	}
	return nil, waiting{forWhat: "backing image " + vol.Spec.BackingImage, after: waitInterval}
}

// target is the engine with its replicas, for asking it.
func target(volume string, engine instance.Info, replicas map[string]instance.Info) observe.Target {
	t := observe.Target{Volume: volume, Instance: engine.Name, Address: engine.Address(), Replicas: map[string]string{}}
	for name, info := range replicas {
		t.Replicas[info.Address()] = name
	}
	return t
}

func replicaDir(r *lh.Replica) string {
	return filepath.Join(r.Spec.DiskPath, "replicas", r.Spec.DataDirectoryName)
}

func removeReplicaDir(r *lh.Replica) error {
	if r.Spec.DataDirectoryName == "" {
		return nil
	}
	if err := os.RemoveAll(replicaDir(r)); err != nil {
		return fmt.Errorf("removing the folder of %s: %w", r.Name, err)
	}
	return nil
}
