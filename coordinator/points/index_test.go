package points

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/names"
)

// A store with points at rest and others finds both, and tells of both what it
// was given.
func TestIndex(t *testing.T) {
	informer := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{}, &v1alpha1.VMBackup{}, 0,
		toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
	x, err := NewIndex(informer)
	require.NoError(t, err)
	p := NewPacker()
	add := func(b *v1alpha1.VMBackup) {
		o, err := p.Transform(b)
		require.NoError(t, err)
		require.NoError(t, x.store.Add(o.(runtime.Object)))
	}
	backup := ready(t, "web-1", uid1)
	snapshot := ready(t, "web-2", uid2)
	snapshot.Spec.Type, snapshot.Spec.Target, snapshot.Status.Document = v1alpha1.TypeSnapshot, "", names.PointSecret(uid2)
	running := ready(t, "web-3", "u3")
	running.Status.Phase, running.Labels[v1alpha1.LabelSchedule] = v1alpha1.BackupUploading, "other"
	lost := snapshot.DeepCopy()
	lost.Name, lost.UID, lost.Status.Phase, lost.Spec.VM = "db-1", "u4", v1alpha1.BackupDataLost, "db"
	elsewhere := ready(t, "web-1", uid1)
	elsewhere.Namespace = "lab"
	elsewhere.Status.Document, _ = document.PointPath("lab", "web-1", uid1)
	for _, b := range []*v1alpha1.VMBackup{backup, snapshot, running, lost, elsewhere} {
		add(b.DeepCopy())
	}

	found := func(all []*v1alpha1.VMBackup, err error) (out []string) {
		t.Helper()
		require.NoError(t, err)
		for _, b := range all {
			out = append(out, b.Namespace+"/"+b.Name+" "+string(b.UID)+" "+string(b.Status.Phase))
		}
		return out
	}
	one, two, three, four := "shop/web-1 "+string(uid1)+" Ready", "shop/web-2 "+string(uid2)+" Ready", "shop/web-3 u3 Uploading", "shop/db-1 u4 DataLost"
	require.ElementsMatch(t, []string{one, two, three}, found(x.OfVM("shop", "web")))
	require.ElementsMatch(t, []string{one, two, four, "lab/web-1 " + string(uid1) + " Ready"}, found(x.OfSchedule("s")))
	require.ElementsMatch(t, []string{two, four}, found(x.InVolume("pvc-1")))
	require.ElementsMatch(t, []string{one, two, three, four}, found(x.InNamespace("shop")))
	require.Empty(t, found(x.OfVM("lab", "db")))
	var on []string
	for b := range x.OnTarget("s3") {
		on = append(on, found([]*v1alpha1.VMBackup{b}, nil)...)
		require.NotEmpty(t, b.UID)
	}
	require.ElementsMatch(t, []string{one, three, "lab/web-1 " + string(uid1) + " Ready"}, on)
	var each []string
	for b := range x.Each() {
		each = append(each, found([]*v1alpha1.VMBackup{b}, nil)...)
	}
	require.ElementsMatch(t, []string{one, two, three, four, "lab/web-1 " + string(uid1) + " Ready"}, each)
	phases := map[v1alpha1.BackupPhase]int{}
	for b := range x.All() {
		phases[b.Status.Phase]++
		require.NotNil(t, b.Status.CutAt)
		require.Len(t, b.Status.Disks, 2)
	}
	require.Equal(t, map[v1alpha1.BackupPhase]int{v1alpha1.BackupReady: 3, v1alpha1.BackupUploading: 1, v1alpha1.BackupDataLost: 1}, phases)

	known, ok, err := x.Get(client.ObjectKeyFromObject(backup))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, uid1, known.Point().UID)
	_, whole := known.Whole()
	require.False(t, whole)
	known, ok, err = x.Get(client.ObjectKeyFromObject(running))
	require.NoError(t, err)
	require.True(t, ok)
	_, whole = known.Whole()
	require.True(t, whole)
	_, ok, err = x.Get(client.ObjectKey{Namespace: "shop", Name: "none"})
	require.NoError(t, err)
	require.False(t, ok)

	// One that is changed is found by what it is now.
	moved := snapshot.DeepCopy()
	moved.Status.Disks[0].Volume = "pvc-9"
	add(moved)
	require.ElementsMatch(t, []string{two}, found(x.InVolume("pvc-9")))
	require.ElementsMatch(t, []string{four}, found(x.InVolume("pvc-1")))
}
