package e2e

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
)

const (
	// stressBound is the time in which everything that was begun comes to its
	// end once nothing new is asked for and nobody is killed. A dead process's
	// lock on the target alone stands for 150 s.
	stressBound = 10 * time.Minute
	// stressRestored is how many VMs have all their points restored, at most.
	stressRestored = 10
)

// check is what must hold at the end of a run.
func (s *stressRun) check() {
	s.t.Helper()
	s.t.Logf("after %s: asked for %v", time.Since(s.began).Round(time.Second), s.did)
	s.within(stressBound, "everything to come to its end", func() (bool, string) {
		s.observe()
		left := s.unfinished()
		return len(left) == 0, strings.Join(left, ", ")
	})
	s.t.Logf("ended: %v", s.ended)
	s.nothingLeft()
	s.onlyWhatWasMade()
	s.onlySnapshotsOf("Ready points", s.readyPoints())
	s.pointsHold()
	s.nothingAfterPoints()
	for _, p := range append(slices.Clone(s.coordinators), slices.Collect(maps.Values(s.agents))...) {
		require.NotContains(s.t, p.Log(s.t), "DATA RACE", p.Name)
	}
}

// pointsHold restores all points of some VMs and inspects all others.
func (s *stressRun) pointsHold() {
	s.t.Helper()
	var vms []*stressVM // with points; some are gone
	for _, p := range s.model.points {
		if p.ready && !slices.Contains(vms, p.vm) {
			vms = append(vms, p.vm)
		}
	}
	r := rand.New(rand.NewPCG(s.seed, 1))
	r.Shuffle(len(vms), func(i, j int) { vms[i], vms[j] = vms[j], vms[i] })
	some := vms[:min(len(vms), stressRestored, (s.model.most+1)/2)]
	var restored []*stressPoint
	inspected := 0
	for _, p := range s.model.points {
		switch {
		case !p.ready:
		case slices.Contains(some, p.vm):
			s.lastWrite(p)
			restored = append(restored, p)
		case !p.snapshot:
			s.wholeOnTarget(p)
			inspected++
		}
	}
	s.t.(*testing.T).Run("points hold what their guests had written", func(t *testing.T) {
		for _, p := range restored {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				s.as(t).pointHolds(p)
			})
		}
	})
	s.t.Logf("restored %d points of %d VMs, inspected %d backups on the target", len(restored), len(some), inspected)
	if s.t.Failed() {
		s.t.FailNow() // its points and VMs are left as they are
	}
}

// lastWrite finds an upper bound of what a point may hold where none was heard:
// the VM has not run since, or is gone, and then there is none.
func (s *stressRun) lastWrite(p *stressPoint) {
	s.t.Helper()
	if p.high == 0 && slices.Contains(s.model.vms, p.vm) && !p.vm.up && !p.vm.apart {
		p.high = s.sequence(p.vm.claims["root"])
	}
}

// pointHolds restores a point and compares what is on its disks with what its
// guest had written when it was asked for and when it was ready.
func (w *world) pointHolds(p *stressPoint) {
	w.t.Helper()
	b := w.pointNow(p.name)
	copied := "check-" + p.name
	claims := w.restoreHalted(copied, p.name, copied)
	require.Len(w.t, claims, len(p.vm.fronts))
	for disk, front := range p.vm.fronts {
		require.Equal(w.t, front.sum, w.front(claims[disk], front.bytes), "the fixed part of disk %s", disk)
	}
	first, second := w.sequence(claims["root"]), w.sequence(claims["data1"])
	w.t.Logf("%s of %s, %s: the disks end with writes %d and %d; %d before, %d after", p.name, p.vm.name, b.Status.Consistency, first, second, p.low, p.high)
	require.GreaterOrEqual(w.t, first, p.low, "what the guest had finished is there")
	require.GreaterOrEqual(w.t, second, p.low, "what the guest had finished is there")
	if p.high > 0 {
		// A round that was under way may be on the disks.
		require.LessOrEqual(w.t, first, p.high+1, "nothing that was written after the point was ready")
		require.LessOrEqual(w.t, second, p.high+1, "nothing that was written after the point was ready")
	}
	if p.agree {
		require.LessOrEqual(w.t, second, first, "the second disk is not ahead of the first")
		require.LessOrEqual(w.t, first-second, int64(1), "no round is missing on the second disk")
	}
	w.removeStressVM(copied, claims)
}

func (w *world) removeStressVM(name string, claims map[string]string) {
	w.t.Helper()
	vm := &kubevirt.VirtualMachine{}
	vm.Namespace, vm.Name = w.ns, name
	w.mustRemove(vm)
	for _, claim := range claims {
		c := &corev1.PersistentVolumeClaim{}
		c.Namespace, c.Name = w.ns, claim
		w.mustRemove(c)
	}
}

// wholeOnTarget: a Ready backup has one document and one backup for each disk,
// none in progress, and nothing is left of attempts that failed.
func (s *stressRun) wholeOnTarget(p *stressPoint) {
	s.t.Helper()
	b := s.pointNow(p.name)
	documents, backups := s.documentAndBackups(b)
	require.Equal(s.t, []string{b.Status.Document}, documents, p.name)
	require.Len(s.t, backups, len(b.Status.Disks), "%s: %v", p.name, backups)
	for _, d := range b.Status.Disks {
		file := s.backupConfig(d.Volume, d.Backup)
		require.NotEmpty(s.t, file, "%s: disk %s", p.name, d.Name)
		require.False(s.t, s.inProgress(file), "%s: disk %s", p.name, d.Name)
	}
}
