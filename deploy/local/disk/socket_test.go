package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFindSocket: the engine's, not the replica's and not another volume's; of two engines the newer one's, and of an engine
// that was started again the younger process's.
func TestFindSocket(t *testing.T) {
	procfs := t.TempDir()
	for pid, command := range map[string]string{
		"1":  "longhorn-instance-manager daemon",
		"20": "/engines/longhorn --volume-name vol-in-test replica /replicas/controller vol-in-test",
		"21": "/engines/longhorn --volume-name vol-in-test-2 controller vol-in-test-2 --frontend tgt-iscsi",
		"22": "/engines/longhorn --engine-instance-name vol-in-test-e-9 --volume-name vol-in-test controller vol-in-test --frontend tgt-iscsi",
		"23": "longhorn --volume-name vol-in-test controller",
		"24": "/engines/longhorn --engine-instance-name vol-in-test-e-10 --volume-name vol-in-test controller vol-in-test --frontend tgt-iscsi",
		"19": "/engines/longhorn --engine-instance-name vol-in-test-e-10 --volume-name vol-in-test controller vol-in-test --frontend tgt-iscsi",
		"25": "longhorn --volume-name vol-in-test --engine-instance-name e controller vol-in-test --frontend tgt-iscsi",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(procfs, pid, "root", "var", "run"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(procfs, pid, "cmdline"), []byte(strings.ReplaceAll(command, " ", "\x00")+"\x00"), 0o600))
		stat := fmt.Sprintf("%s (long) horn) S 1%s 40%s 0", pid, strings.Repeat(" 2", 17), pid)
		require.NoError(t, os.WriteFile(filepath.Join(procfs, pid, "stat"), []byte(stat), 0o600))
	}
	_, err := findSocket("vol-in-test", procfs)
	require.ErrorContains(t, err, "finding the engine of volume vol-in-test", "it has not made its socket yet")
	for _, newer := range []string{"25", "22", "19", "24"} {
		want := filepath.Join(procfs, newer, "root", "var", "run", "longhorn-vol-in-test.sock")
		require.NoError(t, os.WriteFile(want, nil, 0o600))
		got, err := findSocket("vol-in-test", procfs)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
