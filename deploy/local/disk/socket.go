package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// SocketPath is where an engine with the front end "socket" listens for its volume's readers and writers; the folder
// is fixed in the engine.
func SocketPath(volume string) string { return "/var/run/longhorn-" + volume + ".sock" }

// findSocket is the path by which this process reaches it: the socket of an engine that runs in a container, as with the
// real longhorn-manager (deploy/longhorn), is in the container's files, which procfs shows. While a volume migrates live it
// has two engines, each with a socket: the newer one's is where the migration goes to. A node that was lost comes back with
// engines that nobody ends: of one engine's processes the youngest is it.
func findSocket(volume, procfs string) (string, error) {
	path := SocketPath(volume)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	commands, err := filepath.Glob(filepath.Join(procfs, "[0-9]*", "cmdline"))
	if err != nil {
		return "", err
	}
	found, newest, began := "", -1, uint64(0)
	for _, file := range commands {
		command, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		number, is := engineNumber(strings.Split(strings.TrimSuffix(string(command), "\x00"), "\x00"), volume)
		start := startOf(filepath.Dir(file))
		if !is || number < newest || number == newest && start <= began && found != "" {
			continue
		}
		inside := filepath.Join(filepath.Dir(file), "root", path)
		if _, err := os.Stat(inside); err == nil {
			found, newest, began = inside, number, start
		}
	}
	if found == "" {
		return "", fmt.Errorf("finding the engine of volume %s: no process of it has the socket %s", volume, path)
	}
	return found, nil
}

// startOf is when a process began, in ticks since the machine did: the 22nd field of its stat, the 20th after its name, which
// may have anything in it. 0: nobody knows.
func startOf(process string) uint64 {
	stat, err := os.ReadFile(filepath.Join(process, "stat"))
	if err != nil {
		return 0 // it has ended
	}
	_, rest, _ := strings.Cut(string(stat[strings.LastIndex(string(stat), ")")+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0
	}
	start, _ := strconv.ParseUint(fields[19], 10, 64)
	return start
}

// engineNumber reads a command line: longhorn ... --engine-instance-name VOLUME-e-NUMBER ... controller VOLUME ... Longhorn
// counts on where it makes another engine for a volume. One without such a name is number 0.
func engineNumber(args []string, volume string) (number int, is bool) {
	at := slices.Index(args, "controller")
	if at <= 0 || at+1 >= len(args) || args[at+1] != volume || filepath.Base(args[0]) != "longhorn" {
		return 0, false
	}
	if name := slices.Index(args[:at], "--engine-instance-name"); name >= 0 {
		number, _ = strconv.Atoi(strings.TrimPrefix(args[name+1], volume+"-e-"))
	}
	return max(number, 0), true
}
