package volumes

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/shares"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

const namespace = "longhorn-system"

func uid(n int) types.UID { return types.UID(fmt.Sprintf("%08d-0000-4000-8000-000000000000", n)) }

func about(name string, n int) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: uid(n), ResourceVersion: fmt.Sprint(100 + n), Generation: 4, CreationTimestamp: metav1.Unix(1_790_000_000, 0),
		Labels: map[string]string{"longhornvolume": name}, Annotations: map[string]string{"a": "b"}, Finalizers: []string{"longhorn.io"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
	}
}

// known is what is told of an object's metadata.
func known(o metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, DeletionTimestamp: o.DeletionTimestamp}
}

func volume(name string, n int) *longhorn.Volume {
	return &longhorn.Volume{
		ObjectMeta: about(name, n),
		Spec: longhorn.VolumeSpec{
			Size: 10 << 30, NumberOfReplicas: 3, Migratable: true, Encrypted: true, AccessMode: longhorn.AccessModeReadWriteMany, DataEngine: longhorn.DataEngineTypeV1,
			BackingImage: "debian", MigrationNodeID: "node-2", Frontend: longhorn.VolumeFrontendBlockDev,
		},
		Status: longhorn.VolumeStatus{
			State: longhorn.VolumeStateAttached, Robustness: longhorn.VolumeRobustnessHealthy, CurrentNodeID: "node-1", CurrentMigrationNodeID: "node-2", ActualSize: 7,
			LastBackup: "b", Conditions: []longhorn.Condition{{Type: longhorn.VolumeConditionTypeRestore, Status: longhorn.ConditionStatusFalse}},
		},
	}
}

func snapshot(name, of string, n int) *longhorn.Snapshot {
	s := &longhorn.Snapshot{ObjectMeta: about(name, n)}
	s.Spec.Volume, s.Status.Size, s.Status.Parent, s.Status.ReadyToUse = of, 5, "p", true
	return s
}

func persistent(name string, n int) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: about(name, n)}
	v.Namespace = ""
	v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: rules.Driver, VolumeHandle: name, VolumeAttributes: map[string]string{"a": "b"}}
	v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{}
	return v
}

// What is read from the caches is Longhorn's object, with all that anybody looks at.
func TestReader(t *testing.T) {
	plain, made := volume("plain", 1), volume("made", 2)
	made.Labels[v1alpha1.LabelRestore] = "r1"
	made.Status.Conditions = append(made.Status.Conditions, longhorn.Condition{
		Type: longhorn.VolumeConditionTypeScheduled, Status: longhorn.ConditionStatusFalse, Reason: "full", Message: "no room", LastProbeTime: "now",
	})
	going := volume("going", 3)
	going.DeletionTimestamp = ptr.To(metav1.Unix(9, 0))
	odd := volume("odd", 4)
	odd.UID = "ODD" // it has no short form
	odd.Labels[v1alpha1.LabelRestore] = "r1"

	cut := func(n int) string { return names.Snapshot(uid(100+n), 1, "root") }
	ours, removed, deleted, strange := snapshot(cut(1), "plain", 11), snapshot(cut(2), "plain", 12), snapshot(cut(3), "made", 13), snapshot("by-hand", "plain", 14)
	removed.Status.MarkRemoved, strange.Status.MarkRemoved = true, true
	deleted.DeletionTimestamp = ptr.To(metav1.Unix(9, 0))

	disk, byHand, share, local := persistent("plain", 21), persistent("by-hand", 22), persistent("share", 23), persistent("local", 24)
	byHand.Spec.CSI.VolumeHandle = "made"
	share.Labels[shares.LabelMount] = "m"
	local.Spec.CSI, local.Spec.HostPath = nil, &corev1.HostPathVolumeSource{Path: "/d"}

	caches := fill(t, plain, made, going, odd, ours, removed, deleted, strange, disk, byHand, share, local)
	r := caches.reader

	short := func(v *longhorn.Volume) *longhorn.Volume {
		out := &longhorn.Volume{ObjectMeta: known(v.ObjectMeta), Spec: v.Spec, Status: v.Status}
		out.CreationTimestamp = v.CreationTimestamp
		out.Spec.Frontend, out.Status.LastBackup, out.Status.Conditions = "", "", nil
		return out
	}
	wantMade := short(made)
	wantMade.Labels = map[string]string{v1alpha1.LabelRestore: "r1"}
	wantMade.Status.Conditions = []longhorn.Condition{{Type: longhorn.VolumeConditionTypeScheduled, Status: longhorn.ConditionStatusFalse, Reason: "full", Message: "no room"}}
	wantOdd := odd.DeepCopy()
	wantOdd.ManagedFields = nil
	for _, want := range []*longhorn.Volume{short(plain), wantMade, short(going), wantOdd} {
		var got longhorn.Volume
		require.NoError(t, r.Get(t.Context(), client.ObjectKeyFromObject(want), &got))
		require.Equal(t, *want, got)
	}
	for _, s := range []*longhorn.Snapshot{ours, removed, deleted, strange} {
		want := longhorn.Snapshot{ObjectMeta: known(s.ObjectMeta)}
		want.Spec.Volume, want.Status.Size, want.Status.MarkRemoved = s.Spec.Volume, s.Status.Size, s.Status.MarkRemoved && s != strange
		var got longhorn.Snapshot
		require.NoError(t, r.Get(t.Context(), client.ObjectKeyFromObject(s), &got))
		require.Equal(t, want, got)
	}
	for _, v := range []*corev1.PersistentVolume{disk, byHand, share, local} {
		want := v.DeepCopy()
		want.ManagedFields, want.Annotations, want.Spec.NodeAffinity = nil, nil, nil
		if v == disk || v == byHand {
			want = &corev1.PersistentVolume{ObjectMeta: known(v.ObjectMeta)}
			want.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: rules.Driver, VolumeHandle: v.Spec.CSI.VolumeHandle}
		}
		var got corev1.PersistentVolume
		require.NoError(t, r.Get(t.Context(), client.ObjectKeyFromObject(v), &got))
		require.Equal(t, *want, got)
	}
	for _, o := range []client.Object{&longhorn.Volume{}, &longhorn.Snapshot{}, &corev1.PersistentVolume{}} {
		require.True(t, apierrors.IsNotFound(r.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "none"}, o)), "%T", o)
	}

	all, err := r.Volumes()
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"plain": true, "made": true, "going": true, "odd": true}, all)
	of, err := r.OfRestore("r1")
	require.NoError(t, err)
	require.ElementsMatch(t, []longhorn.Volume{*wantMade, *wantOdd}, of)
	sum, err := r.SnapshotBytes("plain")
	require.NoError(t, err)
	require.Equal(t, int64(15), sum)
	require.True(t, r.Has(namespace, "plain", ours.Name))
	require.False(t, r.Has(namespace, "made", ours.Name), "of another volume")
	require.False(t, r.Has(namespace, "plain", removed.Name))
	require.False(t, r.Has(namespace, "made", deleted.Name))
	require.False(t, r.Has(namespace, "plain", "none"))
	require.False(t, r.Has(namespace, "none", ours.Name))
	require.Equal(t, "node-1", r.Node(client.ObjectKeyFromObject(plain)))
	require.Empty(t, r.Node(client.ObjectKey{Namespace: namespace, Name: "none"}))
}

// A cache that is not filled yet shows nothing, which must not look as if there were
// nothing.
func TestNotFilled(t *testing.T) {
	caches := informers(t)
	err := caches.reader.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "plain"}, &longhorn.Volume{})
	require.ErrorContains(t, err, "not filled yet")
	require.False(t, apierrors.IsNotFound(err))
	_, err = caches.reader.Volumes()
	require.ErrorContains(t, err, "not filled yet")
	_, err = caches.reader.OfRestore("r1")
	require.ErrorContains(t, err, "not filled yet")
	_, err = caches.reader.SnapshotBytes("plain")
	require.ErrorContains(t, err, "not filled yet")
}

// Events tell of records as of Longhorn's own objects.
func TestEvents(t *testing.T) {
	v, s := volume("plain", 1), snapshot(names.Snapshot(uid(100), 1, "root"), "plain", 2)
	s.Status.MarkRemoved = true
	for _, o := range []any{v, kept(t, KeepVolume, v.DeepCopy())} {
		name, node, ok := Attached(o)
		require.True(t, ok)
		require.Equal(t, []string{"plain", "node-1"}, []string{name, node})
		require.Equal(t, v.UID, o.(client.Object).GetUID())
		require.Equal(t, v.ResourceVersion, o.(client.Object).GetResourceVersion())
	}
	for _, o := range []any{s, kept(t, KeepSnapshot, s.DeepCopy())} {
		cut, ok := CutOf(o)
		require.True(t, ok)
		require.Equal(t, Cut{"plain", s.Name, true}, cut)
		_, _, is := Attached(o)
		require.False(t, is)
	}
	for _, keep := range []toolscache.TransformFunc{KeepVolume, KeepSnapshot, KeepPersistent} {
		again := kept(t, keep, kept(t, keep, v.DeepCopy())) // client-go may ask twice
		require.Equal(t, v.Name, again.(client.Object).GetName())
	}
}

func kept(t *testing.T, keep toolscache.TransformFunc, o any) any {
	t.Helper()
	out, err := keep(o)
	require.NoError(t, err)
	return out
}

// stores are caches, each of one kind.
type stores struct {
	cache.Cache
	of     map[reflect.Type]toolscache.SharedIndexInformer
	reader *Reader
}

func (s *stores) GetInformer(_ context.Context, like client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	return s.of[reflect.TypeOf(like)], nil
}

// informers are of the three kinds, and list some objects.
func informers(t *testing.T, objects ...runtime.Object) *stores {
	t.Helper()
	s := &stores{of: map[reflect.Type]toolscache.SharedIndexInformer{}}
	for _, k := range []struct {
		like runtime.Object
		list runtime.Object
		keep toolscache.TransformFunc
	}{
		{&longhorn.Volume{}, &longhorn.VolumeList{}, KeepVolume},
		{&longhorn.Snapshot{}, &longhorn.SnapshotList{}, KeepSnapshot},
		{&corev1.PersistentVolume{}, &corev1.PersistentVolumeList{}, KeepPersistent},
	} {
		var some []runtime.Object
		for _, o := range objects {
			if reflect.TypeOf(o) == reflect.TypeOf(k.like) {
				some = append(some, o.DeepCopyObject())
			}
		}
		require.NoError(t, meta.SetList(k.list, some))
		informer := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
			ListWithContextFunc:  func(context.Context, metav1.ListOptions) (runtime.Object, error) { return k.list, nil },
			WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil },
		}, k.like, 0, toolscache.Indexers{})
		require.NoError(t, informer.SetTransform(k.keep))
		s.of[reflect.TypeOf(k.like)] = informer
	}
	var err error
	s.reader, err = NewReader(t.Context(), s)
	require.NoError(t, err)
	return s
}

// fill runs them.
func fill(t *testing.T, objects ...runtime.Object) *stores {
	t.Helper()
	s := informers(t, objects...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	for _, informer := range s.of {
		go informer.RunWithContext(ctx)
		require.True(t, toolscache.WaitForCacheSync(ctx.Done(), informer.HasSynced))
	}
	return s
}
