// Package nfs backs a volume up to NFS for real. Kernels that the other tests run on
// may know no NFS, so this one boots a guest with a stock kernel, whose NFS server and
// client it uses: `make nfs`. The guest's first process is this test binary itself.
package nfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// settings of the host's part, given by make: where kernel and nfs-common were
// unpacked.
const (
	envKernel = "HAYLOFT_NFS_KERNEL"
	envTools  = "HAYLOFT_NFS_TOOLS"
)

// verdict is what the guest prints last.
const verdict = "the guest's tests ended with code "

// TestGuest boots the guest, which runs TestNFS.
func TestGuest(t *testing.T) {
	kernel, tools := os.Getenv(envKernel), os.Getenv(envTools)
	if kernel == "" || tools == "" {
		t.Skip("it takes a guest: make nfs")
	}
	images, err := filepath.Glob(filepath.Join(kernel, "boot", "vmlinuz-*"))
	require.NoError(t, err)
	require.Len(t, images, 1)
	dir := t.TempDir()
	initrd, disk := filepath.Join(dir, "initrd"), filepath.Join(dir, "disk")
	writeInitrd(t, initrd, kernel)
	writeDisk(t, disk, tools)
	// Without KVM, which the machines that run this may lack too.
	cmd := exec.CommandContext(t.Context(), "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-kernel", images[0], "-initrd", initrd, "-drive", "file="+disk+",format=raw,if=virtio,cache=unsafe",
		"-append", "console=ttyS0 quiet panic=-1 rdinit=/init -- -test.v -test.run=^TestNFS$ -test.timeout=15m")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	console, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	code := "none: it did not come to an end"
	for lines := bufio.NewScanner(console); lines.Scan(); {
		line := strings.TrimRight(lines.Text(), "\r")
		fmt.Println("  guest:", line)
		if _, after, ok := strings.Cut(line, verdict); ok {
			code = after
		}
	}
	require.NoError(t, cmd.Wait())
	require.Equal(t, "0", code)
}

// modules that the guest loads, and what these need.
var modules = []string{"virtio_pci", "virtio_blk", "nfsd", "nfsv4"}

// writeInitrd makes the file system that the kernel begins with: this binary, and the
// modules in the order in which they are loaded.
func writeInitrd(t *testing.T, path, kernel string) {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(kernel, "lib", "modules", "*"))
	require.NoError(t, err)
	require.Len(t, folders, 1)
	found := map[string]string{} // module -> file
	require.NoError(t, filepath.WalkDir(folders[0], func(path string, e fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(e.Name(), ".ko"); err == nil && ok {
			found[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	}))
	var order []string
	var add func(string)
	add = func(module string) {
		file := found[module]
		if file == "" || slices.Contains(order, file) {
			return // it is a part of the kernel
		}
		for _, needed := range neededBy(t, file) {
			add(needed)
		}
		order = append(order, file)
	}
	for _, m := range modules {
		add(m)
	}
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	var out bytes.Buffer
	for _, d := range []string{"dev", "proc", "modules", "root"} {
		entry(&out, d, 0o040755, nil)
	}
	entry(&out, "init", 0o100755, self)
	for i, file := range order {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		entry(&out, fmt.Sprintf("modules/%02d-%s", i, filepath.Base(file)), 0o100644, data)
	}
	entry(&out, "TRAILER!!!", 0, nil)
	require.NoError(t, os.WriteFile(path, out.Bytes(), 0o600))
}

var depends = regexp.MustCompile(`\x00depends=([^\x00]*)\x00`)

// neededBy reads what a module says of itself (modinfo).
func neededBy(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	m := depends.FindSubmatch(data)
	if m == nil || len(m[1]) == 0 {
		return nil
	}
	return strings.Split(strings.ReplaceAll(string(m[1]), "-", "_"), ",")
}

// entry of a cpio archive in the form "newc", as the kernel's
// driver-api/early-userspace/buffer-format says.
func entry(out *bytes.Buffer, name string, mode uint32, data []byte) {
	fields := []uint32{uint32(out.Len()), mode, 0, 0, 1, 0, uint32(len(data)), 0, 0, 0, 0, uint32(len(name) + 1), 0}
	out.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(out, "%08X", f)
	}
	out.WriteString(name + "\x00")
	pad(out)
	out.Write(data)
	pad(out)
}

func pad(out *bytes.Buffer) {
	for out.Len()%4 != 0 {
		out.WriteByte(0)
	}
}

// here is where the guest has a repository of a kind: what enginetest looks for.
const here = "/hayloft"

// writeDisk makes the guest's disk, an ext4 as replicas' files want: the engine, the
// target worker, and what mounts NFS, with the libraries that they are linked with.
func writeDisk(t *testing.T, path, tools string) {
	t.Helper()
	root := t.TempDir()
	repository, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	programs := map[string]string{ // in the guest -> here
		here + "/bin/local/longhorn": filepath.Join(repository, "bin", "local", "longhorn"),
		here + "/bin/targetio":       filepath.Join(repository, "bin", "targetio"),
		"/usr/bin/mount":             "/usr/bin/mount",
		"/usr/bin/umount":            "/usr/bin/umount",
		"/usr/bin/ls":                "/usr/bin/ls", // by which backupstore lists
		"/sbin/mount.nfs":            filepath.Join(tools, "sbin", "mount.nfs"),
		"/sbin/mount.nfs4":           filepath.Join(tools, "sbin", "mount.nfs"),
	}
	files := map[string]string{"/etc/netconfig": "/etc/netconfig", here + "/go.mod": filepath.Join(repository, "go.mod")}
	library := regexp.MustCompile(`(?m)(/\S+) \(0x`)
	for _, program := range programs {
		out, _ := exec.Command("ldd", program).Output() // it fails for a static one
		for _, m := range library.FindAllStringSubmatch(string(out), -1) {
			programs[m[1]] = m[1]
		}
	}
	for to, from := range programs {
		files[to] = from
	}
	for to, from := range files {
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		at := filepath.Join(root, to)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, data, 0o755))
	}
	for _, d := range []string{"dev", "proc", "sys", "run", "tmp", "var", "mnt/share", "srv/b", "keys"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, d), 0o777))
	}
	require.NoError(t, os.Symlink("../run", filepath.Join(root, "var", "run")))
	require.NoError(t, os.Chmod(filepath.Join(root, "tmp"), 0o777))
	// What root of a client becomes owns it, as an administrator has to see to.
	require.NoError(t, os.Chown(filepath.Join(root, "srv", "b"), nobody, nobody))
	out, err := exec.Command("/sbin/mke2fs", "-q", "-t", "ext4", "-d", root, path, "2G").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// nobody is whom a server takes root for, unless it is told not to.
const nobody = 65534

// word is a number as the caches of the NFS server want it.
func word(n uint32) string {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], n)
	return fmt.Sprintf(`\x%x`, b)
}
