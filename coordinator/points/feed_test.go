package points

import (
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"

	"hayloft.dev/pkg/api/v1alpha1"
)

// store is an index with what fills it.
type store struct {
	t *testing.T
	Index
	packer *Packer
}

func newStore(t *testing.T) store {
	t.Helper()
	informer := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{}, &v1alpha1.VMBackup{}, 0,
		toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
	x, err := NewIndex(informer)
	require.NoError(t, err)
	return store{t, x, NewPacker()}
}

// put stores a point, at rest or not.
func (s store) put(vm, name string, rest bool) {
	s.t.Helper()
	b := ready(s.t, name, uid1)
	b.Spec.VM, b.Labels["name"] = vm, name
	if !rest {
		b.Status.Phase = v1alpha1.BackupUploading
	}
	o, err := s.packer.Transform(b)
	require.NoError(s.t, err)
	_, isResting := o.(*Resting)
	require.Equal(s.t, rest, isResting)
	require.NoError(s.t, s.store.Update(o.(runtime.Object)))
}

func (s store) remove(name string) {
	s.t.Helper()
	o, ok, err := s.store.GetByKey("shop/" + name)
	require.NoError(s.t, err)
	require.True(s.t, ok)
	require.NoError(s.t, s.store.Delete(o))
}

// seen maps a VM -> its points' names and phases, as a feed has told them.
type seen map[string][]string

func (s seen) see(_, vm string, all iter.Seq[*v1alpha1.VMBackup]) {
	s[vm] = []string{}
	for b := range all {
		s[vm] = append(s[vm], b.Labels["name"]+" "+string(b.Status.Phase))
	}
	slices.Sort(s[vm])
}

// A feed tells of just those VMs of which a point has come, changed or gone.
func TestFeed(t *testing.T) {
	s := newStore(t)
	early := s.Follow()
	s.put("web", "web-1", true)
	s.put("web", "web-2", false)
	s.put("db", "db-1", true)
	late := s.Follow()
	all := seen{"web": {"web-1 Ready", "web-2 Uploading"}, "db": {"db-1 Ready"}}
	for _, step := range []struct {
		what   string
		change func()
		want   seen
	}{
		{"at first all", func() {}, all},
		{"then nothing", func() {}, seen{}},
		{"another point", func() { s.put("web", "web-3", true) }, seen{"web": {"web-1 Ready", "web-2 Uploading", "web-3 Ready"}}},
		{"one comes to rest", func() { s.put("web", "web-2", true) }, seen{"web": {"web-1 Ready", "web-2 Ready", "web-3 Ready"}}},
		{"one rests no more", func() { s.put("db", "db-1", false) }, seen{"db": {"db-1 Uploading"}}},
		{"one goes", func() { s.remove("web-2") }, seen{"web": {"web-1 Ready", "web-3 Ready"}}},
		{"the only one goes", func() { s.remove("db-1") }, seen{"db": {}}},
		{"one comes and goes", func() { s.put("lab", "lab-1", true); s.remove("lab-1") }, seen{"lab": {}}},
		{"one is of another VM", func() { s.put("lab", "web-3", true) }, seen{"web": {"web-1 Ready"}, "lab": {"web-3 Ready"}}},
		{"all are listed anew", func() { require.NoError(t, s.store.Replace(s.store.List(), "")) }, seen{"web": {"web-1 Ready"}, "lab": {"web-3 Ready"}}},
	} {
		step.change()
		for _, f := range []*Feed{early, late} {
			got := seen{}
			require.NoError(t, f.Changed(got.see), step.what)
			require.Equal(t, step.want, got, step.what)
		}
	}
}

// What was not looked at to the end is told again.
func TestFeedTellsAgain(t *testing.T) {
	s := newStore(t)
	f := s.Follow()
	s.put("web", "web-1", true)
	s.put("db", "db-1", true)
	for range 2 { // at first, and of what has changed
		told := 0
		require.Panics(t, func() {
			_ = f.Changed(func(string, string, iter.Seq[*v1alpha1.VMBackup]) {
				if told++; told == 2 {
					panic("of the second")
				}
			})
		})
		rest := seen{}
		require.NoError(t, f.Changed(rest.see))
		require.Len(t, rest, 1)
		s.put("web", "web-1", false)
		s.put("db", "db-1", false)
	}
}

// However changes and looks meet: who has seen all that a feed told knows what is in
// the store.
func TestFeedMissesNothing(t *testing.T) {
	s := newStore(t)
	f, known := s.Follow(), seen{}
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 200 {
				vm := fmt.Sprint("vm", i%7)
				s.put(vm, fmt.Sprintf("%s-%d-%d", vm, w, i%3), i%2 == 0)
				if i%5 == 4 {
					s.remove(fmt.Sprintf("%s-%d-%d", vm, w, i%3))
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for busy := true; busy; {
		select {
		case <-done:
			busy = false // and one look more
		default:
		}
		require.NoError(t, f.Changed(known.see))
	}
	want := seen{}
	require.NoError(t, s.Follow().Changed(want.see))
	for vm, points := range known {
		if len(points) == 0 {
			delete(known, vm)
		}
	}
	require.Equal(t, want, known)
}
