package longhorn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/longhorn/instance"
	"hayloft.dev/deploy/local/longhorn/observe"
)

// migrationAction is what is to be done about a volume's migration next.
type migrationAction int

const (
	nothingToMigrate migrationAction = iota
	begin                            // start the second engine
	revert                           // end it, it is of no use; it begins anew
	finish                           // let the engine have the volume that the spec says, and end the other
)

func (a migrationAction) String() string {
	return [...]string{"nothing", "begin a migration", "revert a migration", "finish a migration"}[a]
}

// migrationFacts are what nextOfMigration decides on.
type migrationFacts struct {
	Wanted     string // the node that the spec names for it, "" is none
	Shown      string // the node that the status names for it
	Usable     bool   // the volume is attached and has an engine that runs
	Rebuilding bool
	Second     string // the node of the second engine, "" is none
	Left       bool   // engines or replicas are there besides the volume's own
	Whole      bool   // the second engine and its replicas run, and they are the files of the first one's good replicas
}

// nextOfMigration is the state machine of live migrations. It begins, reverts and finishes when the tickets' rules have
// written into the spec what they want.
func nextOfMigration(f migrationFacts) migrationAction {
	switch {
	case f.Wanted == "":
		if f.Left || f.Shown != "" {
			return finish
		}
	case !f.Usable:
	case f.Left:
		if f.Second != f.Wanted || !f.Whole {
			return revert
		}
	case !f.Rebuilding:
		return begin
	}
	return nothingToMigrate
}

func (v *volumes) migrationFacts(vol *volume) migrationFacts {
	f := migrationFacts{
		Wanted: vol.Spec.MigrationNodeID,
		Shown:  vol.Status.CurrentMigrationNodeID,
		Left:   len(vol.extras)+len(vol.orphans) > 0,
	}
	f.Usable = vol.Status.State == lh.VolumeStateAttached && vol.Spec.NodeID != "" && v.isRunning(vol.engine.Name) &&
		(vol.Status.Robustness == lh.VolumeRobustnessHealthy || vol.Status.Robustness == lh.VolumeRobustnessDegraded)
	files := map[string]bool{} // of replicas that the engine writes to
	for _, r := range vol.replicas {
		f.Rebuilding = f.Rebuilding || vol.engine.Status.ReplicaModeMap[r.Name] == lh.ReplicaModeWO
		if r.Spec.FailedAt == "" && vol.engine.Status.ReplicaModeMap[r.Name] == lh.ReplicaModeRW {
			files[replicaDir(r)] = true
		}
	}
	if len(vol.extras) != 1 || len(vol.orphans) > 0 {
		return f
	}
	second := vol.extras[0]
	f.Second = second.engine.Spec.NodeID
	f.Whole = v.isRunning(second.engine.Name) && len(files) == len(second.replicas)
	for _, r := range second.replicas {
		f.Whole = f.Whole && v.isRunning(r.Name) && files[replicaDir(r)]
	}
	return f
}

func (v *volumes) isRunning(name string) bool { return v.instances.Get(name).State == instance.Running }

func (v *volumes) migrate(ctx context.Context, vol *volume, do migrationAction) error {
	switch do {
	case begin:
		if err := v.beginMigration(ctx, vol); err != nil {
			return fmt.Errorf("beginning a migration to %s: %w", vol.Spec.MigrationNodeID, err)
		}
	case revert:
		if err := v.endMigration(ctx, vol, vol.side); err != nil {
			return fmt.Errorf("reverting a migration: %w", err)
		}
	case finish:
		if err := v.finishMigration(ctx, vol); err != nil {
			return fmt.Errorf("finishing a migration: %w", err)
		}
	}
	return nil
}

// beginMigration starts a second engine on the other node. As Longhorn does it, it gets replicas of its own: second
// processes on the same files. What they know about the files is from this moment; the first engine's data is read from
// the files when it is asked for, but a snapshot that is cut now is unknown to them.
func (v *volumes) beginMigration(ctx context.Context, vol *volume) error {
	node := vol.Spec.MigrationNodeID
	if err := v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) { s.CurrentMigrationNodeID = node }); err != nil {
		return err
	}
	if err := v.take(vol.Name, migration, v.timing.attach); err != nil {
		return err
	}
	image, err := v.backingFiles(ctx, vol)
	if err != nil {
		return err
	}
	second, err := v.makeSecondSide(ctx, vol, node)
	if err != nil {
		return err
	}
	running, err := v.startReplicas(ctx, second.replicas, image)
	if err != nil {
		return err
	}
	if err := instance.SetSocketAside(vol.Name, vol.engine.Name); err != nil {
		return err
	}
	engine, err := v.startEngine(ctx, vol, second, node, running)
	if err != nil {
		return errors.Join(err, instance.PutSocketBack(vol.Name, vol.engine.Name))
	}
	if err := v.showEndpoint(ctx, vol.engine); err != nil {
		return err
	}
	report, err := observe.All(ctx, target(vol.Name, engine, running))
	if err != nil {
		return err
	}
	if err := v.showOpened(ctx, vol, second, node, engine, running, report); err != nil {
		return err
	}
	v.attend(engine, running)
	if a := v.attendanceOf(vol.engine.Name); a != nil && !v.timing.waitsForPoll {
		a.poke() // both engines have to show the same snapshots
	}
	return nil
}

// makeSecondSide makes the Engine object that the volume migrates to and a Replica object for each good replica's files.
func (v *volumes) makeSecondSide(ctx context.Context, vol *volume, node string) (side, error) {
	second := side{engine: v.newEngine(vol, nextEngineName(vol.Name, vol.engine.Name), false)}
	second.engine.Spec.NodeID = node
	if err := v.client.Create(ctx, second.engine); err != nil {
		return side{}, fmt.Errorf("making the second engine: %w", err)
	}
	for _, r := range vol.replicas {
		if r.Spec.FailedAt != "" || vol.engine.Status.ReplicaModeMap[r.Name] != lh.ReplicaModeRW {
			continue
		}
		same := &lh.Replica{ObjectMeta: v.meta(vol.Volume, vol.Name+"-r-"+randomHex(4)), Spec: *r.Spec.DeepCopy()}
		same.Labels["longhornnode"], same.Labels["longhorndiskuuid"] = r.Spec.NodeID, r.Spec.DiskID
		same.Spec.EngineName, same.Spec.Active = second.engine.Name, false
		if err := v.client.Create(ctx, same); err != nil {
			return side{}, fmt.Errorf("making its replicas: %w", err)
		}
		second.replicas = append(second.replicas, same)
	}
	return second, nil
}

// finishMigration confirms or rolls back: the volume is that engine's that runs on the node of the spec.
func (v *volumes) finishMigration(ctx context.Context, vol *volume) error {
	v.takeNoMore(vol.Name, migration)
	keep := vol.side
	for _, s := range vol.extras {
		if vol.Spec.NodeID != "" && vol.engine.Spec.NodeID != vol.Spec.NodeID && s.engine.Spec.NodeID == vol.Spec.NodeID {
			keep = s
		}
	}
	if err := v.endMigration(ctx, vol, keep); err != nil {
		return err
	}
	return v.writeStatus(ctx, vol, func(s *lh.VolumeStatus) {
		s.CurrentMigrationNodeID = ""
		if vol.Spec.NodeID != "" && keep.engine.Spec.NodeID == vol.Spec.NodeID {
			s.CurrentNodeID, s.OwnerID = vol.Spec.NodeID, vol.Spec.NodeID
		}
	})
}

// endMigration ends all engines of a volume but one, with their replicas. The files stay: they are that engine's too.
func (v *volumes) endMigration(ctx context.Context, vol *volume, keep side) error {
	for _, s := range append([]side{vol.side}, vol.extras...) {
		if s.engine.Name == keep.engine.Name {
			continue
		}
		v.leave(s.engine.Name)
		v.instances.Stop(s.engine.Name)
		if err := v.removeReplicaObjects(ctx, s.replicas); err != nil {
			return err
		}
		if err := instance.RemoveAsideSocket(vol.Name, s.engine.Name); err != nil {
			return err
		}
		if err := client.IgnoreNotFound(v.client.Delete(ctx, s.engine)); err != nil {
			return fmt.Errorf("deleting engine %s: %w", s.engine.Name, err)
		}
	}
	if err := v.removeReplicaObjects(ctx, vol.orphans); err != nil {
		return err
	}
	if err := instance.PutSocketBack(vol.Name, keep.engine.Name); err != nil {
		return err
	}
	for _, r := range keep.replicas {
		if !r.Spec.Active {
			r.Spec.Active = true
			if err := v.client.Update(ctx, r); err != nil {
				return fmt.Errorf("writing replica %s: %w", r.Name, err)
			}
		}
	}
	if !keep.engine.Spec.Active {
		keep.engine.Spec.Active = true
		if err := v.client.Update(ctx, keep.engine); err != nil {
			return fmt.Errorf("writing engine %s: %w", keep.engine.Name, err)
		}
	}
	return v.showEndpoint(ctx, keep.engine)
}

// showEndpoint writes where the front end of an engine is now.
func (v *volumes) showEndpoint(ctx context.Context, e *lh.Engine) error {
	now := instance.Endpoint(e.Spec.VolumeName, e.Name)
	if e.Status.Endpoint == "" || e.Status.Endpoint == now {
		return nil
	}
	e.Status.Endpoint = now
	if err := v.client.Status().Update(ctx, e); err != nil {
		return fmt.Errorf("writing the status of engine %s: %w", e.Name, err)
	}
	return nil
}

func (v *volumes) removeReplicaObjects(ctx context.Context, replicas []*lh.Replica) error {
	for _, r := range replicas {
		v.instances.Stop(r.Name)
		if err := client.IgnoreNotFound(v.client.Delete(ctx, r)); err != nil {
			return fmt.Errorf("deleting replica %s: %w", r.Name, err)
		}
	}
	return nil
}

// nextEngineName counts on, as Longhorn does.
func nextEngineName(volume, engine string) string {
	number, err := strconv.Atoi(strings.TrimPrefix(engine, volume+"-e-"))
	if err != nil {
		number = 0
	}
	return fmt.Sprintf("%s-e-%d", volume, number+1)
}
