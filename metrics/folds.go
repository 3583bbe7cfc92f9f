package metrics

import (
	"iter"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
)

// folds are what the points say, summed up for each VM's name. They are kept from
// scrape to scrape: to look at 80,000 points costs many times what all the rest of a
// scrape does, and of few VMs any has changed since the last one.
type folds map[vmKey]*fold

// fold is what the points of one VM say, and those of VMs that had its name before it.
type fold struct {
	phases, reached, failed tally
	targets                 []targetSum
	sources                 []source
}

// source is what the points say that were taken of the VM of one UID.
type source struct {
	uid   types.UID // "": they were refused before anybody looked for the VM
	kinds [2]vmPoints
	plans []planCut
}

// planCut is when the newest point that a schedule made of a VM was cut.
type planCut struct {
	schedule types.UID
	cut      time.Time
}

type targetSum struct {
	name     string
	points   int
	uploaded int64
}

// see sums up all points of a VM anew.
func (f *folds) see(namespace, vm string, all iter.Seq[*v1alpha1.VMBackup]) {
	if *f == nil {
		*f = folds{}
	}
	var sum *fold
	for b := range all {
		if sum == nil {
			sum = &fold{}
		}
		sum.add(b)
	}
	if sum == nil {
		delete(*f, vmKey{namespace, vm})
		return
	}
	(*f)[vmKey{namespace, vm}] = sum
}

func (f *fold) add(b *v1alpha1.VMBackup) {
	kind := string(b.Spec.Type)
	f.phases.add(kind, phaseOf(string(b.Status.Phase)), 1)
	switch b.Status.Phase {
	case v1alpha1.BackupFailed:
		f.failed.add(kind, readyReason(b), 1)
		f.source(b).failed(b)
	case v1alpha1.BackupReady:
		if !b.DeletionTimestamp.IsZero() {
			return
		}
		f.reached.add(kind, string(b.Status.Consistency), 1)
		wrote := uploaded(b)
		f.source(b).good(b, wrote)
		if b.Spec.Target != "" {
			addTarget(&f.targets, targetSum{b.Spec.Target, 1, wrote})
		}
	}
}

// source is the one that a point was taken of.
func (f *fold) source(b *v1alpha1.VMBackup) *source {
	uid := b.Status.SourceUID
	i := slices.IndexFunc(f.sources, func(s source) bool { return s.uid == uid })
	if i < 0 {
		i = len(f.sources)
		f.sources = append(f.sources, source{uid: uid})
	}
	return &f.sources[i]
}

func (s *source) of(b *v1alpha1.VMBackup) *vmPoints {
	if b.Spec.Type == v1alpha1.TypeSnapshot {
		return &s.kinds[1]
	}
	return &s.kinds[0]
}

// good takes note of a Ready point that wrote so many bytes.
func (s *source) good(b *v1alpha1.VMBackup, wrote int64) {
	one := vmPoints{points: 1, uploaded: wrote}
	if st := &b.Status; st.CutAt != nil {
		one.newest = goodPoint{cut: standsFor(b), wrote: wrote}
		if st.StartedAt != nil && st.CompletedAt != nil {
			one.newest.took, one.newest.timed = st.CompletedAt.Sub(st.StartedAt.Time), true
		}
		s.planned(types.UID(b.Labels[v1alpha1.LabelSchedule]), st.CutAt.Time)
	}
	s.of(b).add(&one)
}

// planned takes note of a Ready point that a schedule made, if one did.
func (s *source) planned(schedule types.UID, cut time.Time) {
	if schedule == "" {
		return
	}
	i := slices.IndexFunc(s.plans, func(p planCut) bool { return p.schedule == schedule })
	if i < 0 {
		s.plans = append(s.plans, planCut{schedule, cut})
	} else if cut.After(s.plans[i].cut) {
		s.plans[i].cut = cut
	}
}

// failed takes note of a point that failed.
func (s *source) failed(b *v1alpha1.VMBackup) {
	if b.Status.CompletedAt != nil {
		s.of(b).add(&vmPoints{last: badPoint{b.Status.CompletedAt.Time, readyReason(b)}})
	}
}

// standsFor is the moment that a point stands for. What a document says of one that was
// found on a target is anybody's word, but it was not taken after it was found.
func standsFor(b *v1alpha1.VMBackup) time.Time {
	if cut := b.Status.CutAt.Time; b.Spec.Found == nil || cut.Before(b.CreationTimestamp.Time) {
		return cut
	}
	return b.CreationTimestamp.Time
}

func uploaded(b *v1alpha1.VMBackup) int64 {
	var n int64
	for i := range b.Status.Disks {
		if u := b.Status.Disks[i].UploadedBytes; u != nil {
			n += *u
		}
	}
	return n
}

// addTarget adds what is on a target.
func addTarget(to *[]targetSum, sum targetSum) {
	for i := range *to {
		if t := &(*to)[i]; t.name == sum.name {
			t.points += sum.points
			t.uploaded += sum.uploaded
			return
		}
	}
	*to = append(*to, sum)
}
