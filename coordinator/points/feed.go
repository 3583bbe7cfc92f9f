package points

import (
	"fmt"
	"iter"
	"maps"
	"strings"
	"sync"

	toolscache "k8s.io/client-go/tools/cache"

	"hayloft.dev/pkg/api/v1alpha1"
)

// notes is an index in which nothing is found: the store asks for the values of each
// object that comes, changes or goes, before and after, and does so under its lock.
// Unlike an event, which comes some time later, a note is there before anybody can see
// the change.
const notes = "hayloft.notes"

// Feed tells of which VMs points have come, changed or gone, so that who has summed
// them up need not go through all of them again.
type Feed struct {
	store toolscache.Indexer

	mu sync.Mutex
	// begun: it was asked before. Until then all VMs are new to it, and nothing is noted.
	begun   bool
	changed map[vmName]struct{}
}

type vmName struct{ namespace, name string }

func (n vmName) String() string { return n.namespace + "/" + n.name }

// feeds are those that are told of each change.
type feeds struct {
	mu  sync.Mutex
	all []*Feed
}

// Follow makes a feed, for one who asks it again and again: it lives as long as the
// cache.
func (x Index) Follow() *Feed {
	f := &Feed{store: x.store, changed: map[vmName]struct{}{}}
	x.feeds.mu.Lock()
	defer x.feeds.mu.Unlock()
	x.feeds.all = append(x.feeds.all, f)
	return f
}

// note is an index function.
func (f *feeds) note(o any) ([]string, error) {
	namespace, name, ok := vmOf(o)
	if !ok {
		return nil, nil
	}
	vm := vmName{namespace, name}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.all {
		one.note(vm)
	}
	return nil, nil
}

func (f *Feed) note(vm vmName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begun {
		f.changed[vm] = struct{}{}
	}
}

// Changed calls see for each VM, by namespace and name, of whose points one has come,
// changed or gone since it was last called, with all that there are of it now, and the
// first time for each that has any. Each point is to be looked at until the next one
// comes, and tells what Index.All does. Not to be called by two at once.
func (f *Feed) Changed(see func(namespace, vm string, all iter.Seq[*v1alpha1.VMBackup])) error {
	changed := f.take()
	defer f.giveBack(changed)
	var into sketch
	for vm := range changed {
		found, err := f.store.ByIndex(ofVM, vm.String())
		if err != nil {
			return fmt.Errorf("looking into the cache of VMBackups: %w", err)
		}
		see(vm.namespace, vm.name, outlines(found, &into))
		delete(changed, vm)
	}
	return nil
}

// take is what is to be told now. What changes from here on is noted for the next
// time.
func (f *Feed) take() map[vmName]struct{} {
	f.mu.Lock()
	changed, begun := f.changed, f.begun
	f.changed, f.begun = map[vmName]struct{}{}, true
	f.mu.Unlock()
	if begun {
		return changed
	}
	for _, key := range f.store.ListIndexFuncValues(ofVM) {
		namespace, name, _ := strings.Cut(key, "/")
		changed[vmName{namespace, name}] = struct{}{}
	}
	return changed
}

// giveBack keeps for the next time what was not told.
func (f *Feed) giveBack(changed map[vmName]struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.changed, changed)
}
