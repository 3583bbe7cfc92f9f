package disk

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// SocketPath is where an engine with the front end "socket" listens for its volume's readers and writers; the folder
// is fixed in the engine.
func SocketPath(volume string) string { return "/var/run/longhorn-" + volume + ".sock" }

// findSocket is the path by which this process reaches it: the socket of an engine that runs in a container, as with the
// real longhorn-manager (deploy/longhorn), is in the container's files, which procfs shows.
func findSocket(volume, procfs string) (string, error) {
	path := SocketPath(volume)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	commands, err := filepath.Glob(filepath.Join(procfs, "[0-9]*", "cmdline"))
	if err != nil {
		return "", err
	}
	for _, file := range commands {
		command, err := os.ReadFile(file)
		if err != nil || !isEngine(bytes.Split(bytes.TrimSuffix(command, []byte{0}), []byte{0}), volume) {
			continue // one that cannot be read has ended
		}
		inside := filepath.Join(filepath.Dir(file), "root", path)
		if _, err := os.Stat(inside); err == nil {
			return inside, nil
		}
	}
	return "", fmt.Errorf("finding the engine of volume %s: no process of it has the socket %s", volume, path)
}

// isEngine tells whether a command line is that of the volume's engine: longhorn ... controller VOLUME ...
func isEngine(args [][]byte, volume string) bool {
	at := slices.IndexFunc(args, func(arg []byte) bool { return string(arg) == "controller" })
	return at > 0 && at+1 < len(args) && string(args[at+1]) == volume && filepath.Base(string(args[0])) == "longhorn"
}
