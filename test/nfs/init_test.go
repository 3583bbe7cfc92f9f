package nfs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/sirupsen/logrus"
)

// TestMain is the guest's first process, where it is one.
func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // the data path's client logs every connection that a test closes
	if os.Getpid() != 1 {
		os.Exit(m.Run())
	}
	code := 2
	if err := boot(); err != nil {
		fmt.Println("booting:", err)
	} else {
		code = m.Run()
	}
	fmt.Printf("%s%d\n", verdict, code)
	syscall.Sync()
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

// boot makes of the kernel's first process one that has a disk, a network and an NFS
// server.
func boot() error {
	for place, kind := range map[string]string{"/proc": "proc", "/dev": "devtmpfs"} {
		if err := syscall.Mount(kind, place, kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", place, err)
		}
	}
	files, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	for _, file := range files { // sorted by their numbers
		if err := load(file); err != nil {
			return fmt.Errorf("loading %s: %w", file, err)
		}
	}
	for try := 0; ; try++ {
		if err := syscall.Mount("/dev/vda", "/root", "ext4", 0, ""); err == nil {
			break
		} else if try == 100 {
			return fmt.Errorf("mounting the disk: %w", err)
		}
		time.Sleep(50 * time.Millisecond) // until the disk was found
	}
	if err := syscall.Chroot("/root"); err != nil {
		return fmt.Errorf("going to the disk: %w", err)
	}
	for _, m := range []struct{ place, kind string }{{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}, {"/run", "tmpfs"}, {"/proc/fs/nfsd", "nfsd"}} {
		if err := syscall.Mount(m.kind, m.place, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.place, err)
		}
	}
	if err := os.MkdirAll(here+"/test/nfs", 0o755); err != nil {
		return err
	}
	if err := os.Chdir(here + "/test/nfs"); err != nil {
		return err
	}
	if err := os.Setenv("PATH", "/usr/bin:/sbin"); err != nil {
		return err
	}
	if err := loopback(); err != nil {
		return fmt.Errorf("bringing the loopback device up: %w", err)
	}
	return export()
}

func load(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	const finitModule = 313
	none := []byte{0}
	if _, _, e := syscall.Syscall(finitModule, f.Fd(), uintptr(unsafe.Pointer(&none[0])), 0); e != 0 && e != syscall.EEXIST {
		return e
	}
	return nil
}

func loopback() error {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(s) }()
	var request struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "lo")
	request.flags = syscall.IFF_UP
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); e != 0 {
		return e
	}
	return nil
}

// Flags of an export, of the kernel's include/uapi/linux/nfsd/export.h.
const (
	insecurePort   = 0x0002
	rootSquash     = 0x0004
	noSubtreeCheck = 0x0400
	hasFSID        = 0x2000
)

// export serves /srv as the root of NFS 4, with the options that a server has by
// default. It writes into the server's caches what rpc.mountd would.
func export() error {
	const forever = "2147483647"
	flags := insecurePort | rootSquash | noSubtreeCheck | hasFSID
	for _, w := range []struct{ file, line string }{
		{"/proc/fs/nfsd/versions", "-2 -3 +4 +4.1 +4.2"},
		{"/proc/net/rpc/auth.unix.ip/channel", "nfsd 127.0.0.1 " + forever + " guests"},
		{"/proc/net/rpc/nfsd.export/channel", fmt.Sprintf("guests /srv %s %d %d %d 0", forever, flags, nobody, nobody)},
		{"/proc/net/rpc/nfsd.fh/channel", fmt.Sprintf("guests 1 %s %s /srv", word(0), forever)},
	} {
		// version 2 is not in every kernel
		if err := put(w.file, w.line); err != nil && w.file != "/proc/fs/nfsd/versions" {
			return err
		}
	}
	if err := threads(8); err != nil {
		return err
	}
	// There is nobody whose locks it would have to wait for.
	_ = put("/proc/fs/nfsd/v4_end_grace", "Y")
	return nil
}

// threads is how many the NFS server has; 0 ends it.
func threads(n int) error { return put("/proc/fs/nfsd/threads", strconv.Itoa(n)) }

func put(file, line string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteString(line + "\n"); err != nil {
		return fmt.Errorf("writing %q to %s: %w", line, file, err)
	}
	return nil
}
