package cluster

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// losesRestore: the engine of a volume that is being restored is killed. Longhorn attaches the volume again, and calls it
// healthy. The restore begins anew, in another volume, and each of its replicas has every bit.
func (k *cluster) losesRestore(t *testing.T, g *gate, point, want string) {
	g.close()
	defer g.open()
	k.run(t, "hayloft", "restore", "create", point, "--name", "again", "--disk", disks[0], "--claim", "again", "-n", vmNamespace)
	g.awaitHeld(t)
	lost := k.restoreNamed(t, "again").Status.Disks[0]
	require.NoError(t, syscall.Kill(enginePID(t, lost.Volume), syscall.SIGKILL))
	await(t, upTimeout, "another attempt", func() error {
		disk := k.restoreNamed(t, "again").Status.Disks[0]
		if disk.Volume == lost.Volume {
			return fmt.Errorf("attempt %d: %s", disk.Attempt, disk.Message)
		}
		return nil
	})
	g.open()
	await(t, upTimeout, "the restore", func() error {
		r := k.restoreNamed(t, "again")
		require.NotEqual(t, v1alpha1.RestoreFailed, r.Status.Phase, "%v", r.Status.Conditions)
		if r.Status.Phase != v1alpha1.RestoreReady {
			return fmt.Errorf("it is %s: %v", r.Status.Phase, r.Status.Conditions)
		}
		return nil
	})
	k.requireOnReplicas(t, k.volumeOf(t, "again"), want)
	require.Equal(t, want, k.disk(t, "sha256", "again"))
}

func (k *cluster) restoreNamed(t *testing.T, name string) *v1alpha1.VMRestore {
	t.Helper()
	r := &v1alpha1.VMRestore{}
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKey{Namespace: vmNamespace, Name: name}, r))
	return r
}

// enginePID is the process of a volume's engine, in whatever container it is.
func enginePID(t *testing.T, volume string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		command, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(command), "\x00controller\x00"+volume+"\x00") {
			continue // one that cannot be read has ended
		}
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		require.NoError(t, err)
		return pid
	}
	t.Fatalf("no engine of volume %s runs", volume)
	return 0
}

// requireOnReplicas compares what each replica of a restored volume has in its files on its node.
func (k *cluster) requireOnReplicas(t *testing.T, volume, want string) {
	t.Helper()
	list := k.replicasOf(t, volume)
	require.Len(t, list, 2)
	require.NotEqual(t, list[0].Spec.NodeID, list[1].Spec.NodeID)
	for _, r := range list {
		node := slices.IndexFunc(k.Nodes, func(m machine) bool { return m.Name == r.Spec.NodeID })
		require.GreaterOrEqual(t, node, 0, r.Spec.NodeID)
		folder := filepath.Join(fmt.Sprintf("/proc/%d/root", k.Nodes[node].PID), r.Spec.DiskPath, "replicas", r.Spec.DataDirectoryName)
		images, err := filepath.Glob(filepath.Join(folder, "volume-snap-*.img"))
		require.NoError(t, err)
		require.Len(t, images, 1, "what was restored lies in one file below an empty head")
		data, err := os.ReadFile(images[0])
		require.NoError(t, err)
		require.Equal(t, want, fmt.Sprintf("%x", sha256.Sum256(data)), "replica %s", r.Name)
	}
}

// misses: of one disk a block is missing on the target, of the other one is damaged. Restores of either fail, and leave
// neither a claim nor a volume.
func (k *cluster) misses(t *testing.T, point string) {
	type harm struct{ do, undo func(block string) error }
	harms := map[string]harm{ // by disk
		disks[0]: {
			do:   func(block string) error { return os.Rename(block, block+".aside") },
			undo: func(block string) error { return os.Rename(block+".aside", block) },
		},
		disks[1]: {do: flipByte, undo: flipByte},
	}
	for disk, h := range harms {
		block := k.blockOf(t, point, disk)
		require.NoError(t, h.do(block))
		defer func() { require.NoError(t, h.undo(block)) }()
		k.run(t, "hayloft", "restore", "create", point, "--name", "lost-"+disk, "--disk", disk, "--claim", "lost-"+disk, "-n", vmNamespace)
	}
	for disk := range harms {
		await(t, upTimeout, "the restore of "+disk+" to fail", func() error {
			r := k.restoreNamed(t, "lost-"+disk)
			require.NotEqual(t, v1alpha1.RestoreReady, r.Status.Phase)
			if r.Status.Phase != v1alpha1.RestoreFailed {
				return fmt.Errorf("it is %s: %v", r.Status.Phase, r.Status.Conditions)
			}
			return nil
		})
		uid := string(k.restoreNamed(t, "lost-"+disk).UID)
		for _, list := range []client.ObjectList{&longhorn.VolumeList{}, &corev1.PersistentVolumeList{}, &corev1.PersistentVolumeClaimList{}} {
			await(t, patience, fmt.Sprintf("%T to have nothing of it", list), func() error {
				if err := k.c.List(t.Context(), list, client.MatchingLabels{v1alpha1.LabelRestore: uid}); err != nil {
					return err
				}
				if n := meta.LenList(list); n > 0 {
					return fmt.Errorf("%d are left", n)
				}
				return nil
			})
		}
	}
}

// blockOf is the file of one of the blocks that a disk of a point has on the target.
func (k *cluster) blockOf(t *testing.T, point, disk string) string {
	t.Helper()
	d, folder := k.onTarget(t, point, disk)
	configs, err := filepath.Glob(filepath.Join(folder, "backups", "backup_"+d.Backup+".cfg"))
	require.NoError(t, err)
	require.Len(t, configs, 1)
	data, err := os.ReadFile(configs[0])
	require.NoError(t, err)
	var config struct {
		Blocks []struct{ BlockChecksum string }
	}
	require.NoError(t, json.Unmarshal(data, &config))
	require.NotEmpty(t, config.Blocks)
	blocks, err := filepath.Glob(filepath.Join(folder, "blocks", "*", "*", config.Blocks[0].BlockChecksum+".blk"))
	require.NoError(t, err)
	require.Len(t, blocks, 1)
	return blocks[0]
}

// onTarget is a disk of a point, and the folder of its volume on the target.
func (k *cluster) onTarget(t *testing.T, point, disk string) (d v1alpha1.BackupDisk, folder string) {
	t.Helper()
	disks := k.point(t, point).Status.Disks
	d = disks[slices.IndexFunc(disks, func(d v1alpha1.BackupDisk) bool { return d.Name == disk })]
	folders, err := filepath.Glob(filepath.Join(k.storage.Dir, "s3", "data", "*", "backupstore", "volumes", "*", "*", d.Volume))
	require.NoError(t, err)
	require.Len(t, folders, 1)
	return d, folders[0]
}

// flipByte changes one byte of a file in place; a second time undoes it.
func flipByte(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	raw[len(raw)/2] ^= 0xff
	return os.WriteFile(file, raw, 0o600)
}
