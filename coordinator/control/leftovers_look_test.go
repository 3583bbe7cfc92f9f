package control

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/points"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
)

// looking notes what a target is asked to look for.
type looking struct {
	TargetWork
	request protocol.LeftoversRequest
}

func (a *looking) Leftovers(_ context.Context, _ protocol.Target, r protocol.LeftoversRequest) (protocol.LeftoversResult, protocol.Cost, error) {
	a.request = r
	return protocol.LeftoversResult{}, protocol.Cost{}, nil
}

// thisCluster answers with the namespace by whose UID a cluster is known.
type thisCluster struct{ client.Reader }

func (thisCluster) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	o.SetUID("cluster")
	return nil
}

// Leftovers are counted from the cache. What it has of points at rest, and of those
// on other targets, must tell the worker no less than the points themselves.
func TestLookForLeftoversNamesPointsAtRest(t *testing.T) {
	informer := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{}, &v1alpha1.VMBackup{}, 0,
		toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
	index, err := points.NewIndex(informer)
	require.NoError(t, err)
	packer := points.NewPacker()
	const here, elsewhere = types.UID("00000001-0000-4000-8000-000000000001"), types.UID("00000002-0000-4000-8000-000000000002")
	for uid, target := range map[types.UID]string{here: "s3", elsewhere: "other"} {
		at, cut := metav1.Unix(1_790_000_000, 0), metav1.NewMicroTime(metav1.Unix(1_790_000_000, 0).Time)
		b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "of-" + target, UID: uid, ResourceVersion: "1", Finalizers: []string{v1alpha1.FinalizerData}}}
		b.Spec.VM, b.Spec.Type, b.Spec.Target = "web", v1alpha1.TypeBackup, target
		b.Status = v1alpha1.VMBackupStatus{
			Phase: v1alpha1.BackupReady, StartedAt: &at, CutAt: &cut, CompletedAt: &at,
			DocumentDigest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			Disks:          []v1alpha1.BackupDisk{{Name: "root", Volume: "pvc-1", State: v1alpha1.DiskDone, Attempt: 2, Backup: names.Backup(uid, "root", 2)}},
			Conditions:     []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Complete"}},
		}
		b.Status.Document, err = document.PointPath(b.Namespace, b.Name, uid)
		require.NoError(t, err)
		kept, err := packer.Transform(b)
		require.NoError(t, err)
		require.IsType(t, &points.Resting{}, kept)
		require.NoError(t, informer.GetStore().Add(kept))
	}

	target := &looking{}
	c := &Controller{Options: Options{Targets: target}, live: thisCluster{}, points: index}
	of := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "s3"}}
	_, _, err = c.lookForLeftovers(t.Context(), of, c.cache, protocol.LeftoversRequest{Brief: true})
	require.NoError(t, err)
	require.ElementsMatch(t, []types.UID{here, elsewhere}, target.request.Living)
	require.Equal(t, []string{names.Backup(here, "root", 2)}, target.request.Named)
	require.Equal(t, []string{"hayloft/points/shop/of-s3-" + string(here) + ".json"}, target.request.Documents)
}
