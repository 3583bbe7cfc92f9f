package machine

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Hold is what runs in a machine's namespaces as their first process: it arranges the mounts, says that it is ready,
// collects the processes that lose their parents, and lives until it is asked to end. With it everything in the machine
// ends.
func Hold(name, dir string) error {
	if err := arrange(name, dir); err != nil {
		return fmt.Errorf("preparing machine %s: %w", name, err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGTERM, os.Interrupt)
	if err := os.WriteFile(readyFile(dir), nil, 0o644); err != nil {
		return err
	}
	for s := range signals {
		if s != unix.SIGCHLD {
			return nil
		}
		collect()
	}
	return nil
}

// collect takes the exit statuses of those that have ended; nobody else would.
func collect() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if pid <= 0 && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// arrange gives the machine folders of its own where node programs keep things: /run, /var/lib and /var/log.
func arrange(name, dir string) error {
	// What is mounted here is nobody else's, and what is mounted elsewhere does not come in.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("leaving the mounts of others: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for from, to := range map[string]string{"lib": "/var/lib", "log": "/var/log"} {
		if err := bind(filepath.Join(dir, from), to); err != nil {
			return err
		}
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	if err := hideSettings(filepath.Join(dir, "settings")); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("letting packets through: %w", err)
	}
	// Containers' mounts may want to see what is mounted later, or be seen.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing mounts: %w", err)
	}
	return unix.Sethostname([]byte(name))
}

func bind(from, to string) error {
	if err := os.MkdirAll(from, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", to, err)
	}
	return nil
}

// settings are what a kubelet sets in the kernel, for the whole real machine: name -> value (pkg/kubelet/cm of v1.34).
func settings() map[string]string {
	return map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	}
}

// hideSettings puts plain files over them, with what the kubelet wants, so that it finds nothing to change.
func hideSettings(dir string) error {
	for name, value := range settings() {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, filepath.Join("/proc/sys", name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hiding the setting %s: %w", name, err)
		}
	}
	return nil
}
