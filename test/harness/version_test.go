package harness

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each program tells its version, whatever else it would need.
func TestProgramsTellTheirVersion(t *testing.T) {
	for _, program := range []string{"agent", "pauser", "coordinator", "targetio"} {
		out, err := exec.Command(TestedBinary(t, program), "--version").CombinedOutput()
		require.NoError(t, err, "%s: %s", program, out)
		require.Regexp(t, "^"+program+` \S+\n$`, string(out))
	}
}
