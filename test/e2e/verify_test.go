package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestVerify: a block of a real backup is taken away and put back, then its list of
// blocks, and looked for by the command line.
func TestVerify(t *testing.T) {
	t.Parallel()
	w := bare(t, newStack(t))
	w.startAgents()
	w.startCoordinator("coordinator", harness.ProgramOptions{})
	w.runningVM("vm", 32*mib)
	w.quietHashes("vm", "root")
	w.backup("point", "vm")
	b := w.awaitBackup("point", v1alpha1.BackupReady)
	phase := func() v1alpha1.BackupPhase {
		require.NoError(t, w.c.Get(w.ctx, client.ObjectKeyFromObject(b), b))
		return b.Status.Phase
	}
	verify := func(fails bool, args ...string) string {
		said, failed := w.verified(append([]string{"point"}, args...)...)
		require.Equal(t, fails, failed, said)
		return said
	}
	require.Contains(t, verify(false), "the blocks were not looked for")
	require.Contains(t, verify(false, "--all-blocks"), "every block of its 1 disk")

	blocks, err := filepath.Glob(filepath.Join(w.bucket(), "backupstore", "volumes", "*", "*", "*", "blocks", "*", "*", "*.blk"))
	require.NoError(t, err)
	require.NotEmpty(t, blocks)
	hidden := filepath.Join(t.TempDir(), "block")
	w.move(blocks[0], hidden)
	require.Contains(t, verify(false), "the blocks were not looked for")
	require.Contains(t, verify(true, "--all-blocks"), "1 of ")
	require.Equal(t, v1alpha1.BackupDamaged, phase())
	require.Contains(t, w.hayloft("describe", "backup", "point"), "missing or empty on the target")
	w.move(hidden, blocks[0])
	verify(false)
	require.Equal(t, v1alpha1.BackupDamaged, phase(), "only a look for every block makes it good again")
	verify(false, "--all-blocks")
	require.Equal(t, v1alpha1.BackupReady, phase())

	_, backups := w.documentAndBackups(b)
	require.Len(t, backups, 1)
	w.move(filepath.Join(w.bucket(), backups[0]), hidden)
	require.Contains(t, verify(true), "is not on the target")
	require.Equal(t, v1alpha1.BackupDamaged, phase())
	w.move(hidden, filepath.Join(w.bucket(), backups[0]))
	verify(false, "--all-blocks")
	require.Equal(t, v1alpha1.BackupReady, phase())
}

// verified is what hayloft backup verify says, and whether its exit code is 1.
func (w *world) verified(args ...string) (said string, failed bool) {
	w.t.Helper()
	cmd := exec.CommandContext(w.ctx, filepath.Join(moduleRoot(w.t), "bin", "hayloft"), slices.Concat([]string{"backup", "verify"}, args, []string{"--kubeconfig", w.Kubeconfig, "-n", w.ns})...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		require.Equal(w.t, 1, cmd.ProcessState.ExitCode(), "%s", out)
	}
	return string(out), err != nil
}

func (w *world) move(from, to string) {
	w.t.Helper()
	data, err := os.ReadFile(from)
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(to, data, 0o600))
	require.NoError(w.t, os.Remove(from))
}
