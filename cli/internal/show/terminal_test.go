package show_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"hayloft.dev/cli/internal/show"
	"hayloft.dev/pkg/api/v1alpha1"
)

// terminal is a pseudo-terminal of 80 columns: what programs write to the
// second can be read from the first.
func terminal(t *testing.T) (screen, program *os.File) {
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	fd := int(screen.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}))
	return screen, program
}

// On a terminal bars are drawn, and a disk with all its figures fits a line of
// 80 columns.
func TestViewOnATerminal(t *testing.T) {
	screen, program := terminal(t)
	var drawn bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		// The error is that the program's side was closed.
		_, _ = io.Copy(&drawn, screen)
	}()
	view := show.For(program)
	require.IsType(t, &show.Bars{}, view)
	now := time.Now()
	view.Update(now.Add(-2*time.Second), moving(0))
	view.Update(now.Add(-time.Second), moving(40))
	view.Close(now)
	require.NoError(t, program.Close())
	<-read
	assert.Contains(t, drawn.String(), "Uploading: 2 disks are moving")
	assert.Regexp(t, `root +\[=+>-+\] 40%, 40.0 MiB of 100.0 MiB, 40.0 MiB/s, [12]s left`, drawn.String())
}

func TestViewElsewhere(t *testing.T) {
	assert.IsType(t, &show.Lines{}, show.For(&bytes.Buffer{}))
	f, err := os.Create(t.TempDir() + "/log")
	require.NoError(t, err)
	defer f.Close()
	view := show.For(f)
	require.IsType(t, &show.Lines{}, view)
	s := moving(1)
	s.Disks[0].State = v1alpha1.DiskPending
	view.Update(time.Unix(0, 0).UTC(), s)
	data, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	assert.Equal(t, "00:00:00 Uploading: 2 disks are moving; root waiting, 1.0 MiB of 100.0 MiB; data snapshot cut\n", string(data))
}
