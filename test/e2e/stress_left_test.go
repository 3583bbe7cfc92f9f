package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirt "kubevirt.io/api/core/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

// onlyWhatWasMade: every VM and every claim is there because an operation made
// it, and none is missing. Every volume is a claim's.
func (s *stressRun) onlyWhatWasMade() {
	s.t.Helper()
	var want []string
	for _, v := range s.model.vms {
		want = append(want, "VM "+v.name)
		for _, claim := range v.allClaims() {
			want = append(want, "claim "+claim)
		}
	}
	slices.Sort(want)
	s.eventually("the VMs and claims to be those that were made", func() (bool, string) {
		var vms kubevirt.VirtualMachineList
		s.list(&vms)
		var found []string
		for _, vm := range vms.Items {
			found = append(found, "VM "+vm.Name)
		}
		claimed, strays := s.volumes()
		for _, claim := range claimed {
			found = append(found, "claim "+claim)
		}
		slices.Sort(found)
		return len(strays) == 0 && slices.Equal(want, found), fmt.Sprintf("want %v, found %v and %v", want, found, strays)
	})
}

// volumes are the claims, and the volumes, in Kubernetes and in Longhorn, that
// are not a claim's. The stack is this run's alone.
func (s *stressRun) volumes() (claimed, strays []string) {
	s.t.Helper()
	var claims corev1.PersistentVolumeClaimList
	var volumes corev1.PersistentVolumeList
	var ofLonghorn longhorn.VolumeList
	s.list(&claims)
	require.NoError(s.t, s.c.List(s.ctx, &volumes))
	require.NoError(s.t, s.c.List(s.ctx, &ofLonghorn))
	bound := map[string]bool{}
	for _, c := range claims.Items {
		claimed = append(claimed, c.Name)
		bound[c.Spec.VolumeName] = true
	}
	for _, v := range volumes.Items {
		if !bound[v.Name] {
			strays = append(strays, "PersistentVolume "+v.Name)
		}
	}
	for _, v := range ofLonghorn.Items {
		if !bound[v.Name] { // both are named alike
			strays = append(strays, "Longhorn volume "+v.Name)
		}
	}
	return claimed, strays
}

// readyPoints are the UIDs of the points that are Ready.
func (s *stressRun) readyPoints() map[types.UID]bool {
	s.t.Helper()
	ready := map[types.UID]bool{}
	var list v1alpha1.VMBackupList
	s.list(&list)
	for _, b := range list.Items {
		ready[b.UID] = b.Status.Phase == v1alpha1.BackupReady
	}
	return ready
}

// nothingAfterPoints deletes all points and looks that nothing of them is left.
func (s *stressRun) nothingAfterPoints() {
	s.t.Helper()
	var points []string
	for _, p := range s.model.points {
		points = append(points, p.name)
	}
	s.deletePoints(points...)
	s.awaitGone(points...)
	s.nothingLeft()
	s.onlySnapshotsOf("no point", nil)
	s.eventually("no point's Secret to be left", func() (bool, string) {
		var secrets corev1.SecretList
		s.list(&secrets)
		var left []string
		for _, secret := range secrets.Items {
			if secret.Type == pointSecretType {
				left = append(left, secret.Name)
			}
		}
		return len(left) == 0, strings.Join(left, ", ")
	})
	s.requireEmptyTarget(".lck")
	s.onlyWhatWasMade()
}

// pointSecretType is the type of the Secrets that hold points' documents.
const pointSecretType = "hayloft.dev/point"

// onlySnapshotsOf: the engine snapshots of points on all replicas, attached or
// not, are of the given points. Those that are marked as removed do not count,
// nor do those on which a clone rests.
func (s *stressRun) onlySnapshotsOf(what string, points map[types.UID]bool) {
	s.t.Helper()
	clones := s.clones()
	s.eventually("engine snapshots of "+what+" alone to be left", func() (bool, string) {
		var left []string
		for _, snapshot := range s.snapshotsOnDisk() {
			if point, ours := names.SnapshotPoint(snapshot.name); ours && !points[point] && !clones[snapshot] {
				left = append(left, fmt.Sprintf("%s of volume %s", snapshot.name, snapshot.volume))
			}
		}
		return len(left) == 0, strings.Join(left, ", ")
	})
}

// engineSnapshot is an engine snapshot: a clone has one of its source's name.
type engineSnapshot struct{ volume, name string }

// clones are the engine snapshots on which volumes that were cloned rest.
func (s *stressRun) clones() map[engineSnapshot]bool {
	s.t.Helper()
	var restores v1alpha1.VMRestoreList
	s.list(&restores)
	rests := map[engineSnapshot]bool{}
	for _, r := range restores.Items {
		for _, d := range r.Status.Disks {
			rests[engineSnapshot{d.Volume, d.Snapshot}] = true
		}
	}
	return rests
}

// snapshotsOnDisk are the engine snapshots in the folders of all replicas, but
// for those that are marked as removed.
func (s *stressRun) snapshotsOnDisk() (list []engineSnapshot) {
	s.t.Helper()
	const prefix, suffix = "volume-snap-", ".img.meta"
	files, err := filepath.Glob(filepath.Join(s.Dir, "nodes", "*", "replicas", "*", prefix+"*"+suffix))
	require.NoError(s.t, err)
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if os.IsNotExist(err) {
			continue // it went this moment
		}
		require.NoError(s.t, err)
		var meta struct{ Removed bool }
		if json.Unmarshal(raw, &meta) == nil && meta.Removed {
			continue
		}
		replica := filepath.Base(filepath.Dir(f)) // the volume's name, and a word of its own
		list = append(list, engineSnapshot{
			volume: replica[:max(0, strings.LastIndex(replica, "-"))],
			name:   strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), prefix), suffix),
		})
	}
	return list
}
