package longhorn

import (
	"context"
	"fmt"
	"reflect"
	"strconv"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/longhorn/observe"
)

// mirrorSnapshots makes a Snapshot object for each snapshot that the engine shows, and deletes those of snapshots that are
// gone. It knows nothing of detached volumes, whose objects stay, and does nothing while the volume migrates.
func (v *volumes) mirrorSnapshots(ctx context.Context, vol *volume) error {
	shown := vol.engine.Status.Snapshots
	if len(shown) == 0 || vol.isMigrating() {
		return nil // without snapshots it was not polled yet: an attached volume has at least a head
	}
	var list lh.SnapshotList
	if err := v.client.List(ctx, &list, v.of(vol.Name)...); err != nil {
		return fmt.Errorf("reading its snapshots: %w", err)
	}
	have := map[string]*lh.Snapshot{}
	for i := range list.Items {
		have[list.Items[i].Name] = &list.Items[i]
	}
	for name, info := range shown {
		if name == observe.Head {
			continue
		}
		if err := v.mirrorSnapshot(ctx, vol, have[name], info); err != nil {
			return fmt.Errorf("mirroring snapshot %s: %w", name, err)
		}
	}
	for name, object := range have {
		yetToCome := object.Spec.CreateSnapshot && object.Status.CreationTime == ""
		if shown[name] == nil && !yetToCome && object.DeletionTimestamp == nil {
			if err := client.IgnoreNotFound(v.client.Delete(ctx, object)); err != nil {
				return fmt.Errorf("deleting snapshot %s: %w", name, err)
			}
		}
	}
	return nil
}

func (v *volumes) mirrorSnapshot(ctx context.Context, vol *volume, object *lh.Snapshot, info *lh.SnapshotInfo) error {
	if object == nil {
		object = &lh.Snapshot{
			ObjectMeta: v.meta(vol.Volume, info.Name),
			Spec:       lh.SnapshotSpec{Volume: vol.Name},
		}
		if err := v.client.Create(ctx, object); err != nil {
			if apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err) {
				return nil // another volume's, or a name that no object can have: the real one leaves both without an object
			}
			return err
		}
	}
	size, _ := strconv.ParseInt(info.Size, 10, 64) // 0 for one whose size is not known yet
	status := lh.SnapshotStatus{
		Parent: info.Parent, Children: info.Children, MarkRemoved: info.Removed, UserCreated: info.UserCreated,
		CreationTime: info.Created, Size: size, Labels: info.Labels, OwnerID: vol.Status.OwnerID,
		RestoreSize: vol.Spec.Size, ReadyToUse: !info.Removed && object.DeletionTimestamp == nil,
	}
	if reflect.DeepEqual(object.Status, status) {
		return nil
	}
	object.Status = status
	return v.client.Status().Update(ctx, object)
}
