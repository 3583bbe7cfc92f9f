package instance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// socketDir is where the engine's socket front end listens; it cannot be changed. On nodes of a cluster each engine has
// a folder of its own there. Here all share it, so that of two engines of one volume the later one has the volume's path
// and the earlier one's socket is set aside: who is connected to it stays connected.
const socketDir = "/var/run"

// SocketPath is where a volume's front end is, when it is on.
func SocketPath(volume string) string {
	return filepath.Join(socketDir, "longhorn-"+volume+".sock")
}

// Endpoint is where the front end of one of a volume's engines is.
func Endpoint(volume, engine string) string {
	if aside := asidePath(volume, engine); exists(aside) {
		return aside
	}
	return SocketPath(volume)
}

// SetSocketAside makes room for another engine's front end. It does nothing when the front end is off.
func SetSocketAside(volume, engine string) error {
	return move(SocketPath(volume), asidePath(volume, engine))
}

// PutSocketBack undoes SetSocketAside. The other engine must be gone.
func PutSocketBack(volume, engine string) error {
	return move(asidePath(volume, engine), SocketPath(volume))
}

// RemoveAsideSocket removes what an engine whose socket was set aside leaves.
func RemoveAsideSocket(volume, engine string) error { return remove(asidePath(volume, engine)) }

// RemoveSocket removes what a volume's engines leave in the file system.
func RemoveSocket(volume string) error {
	aside, err := filepath.Glob(asidePath(volume, "*"))
	if err != nil {
		return fmt.Errorf("looking for front ends' sockets: %w", err)
	}
	var errs []error
	for _, path := range append(aside, SocketPath(volume)) {
		errs = append(errs, remove(path))
	}
	return errors.Join(errs...)
}

func asidePath(volume, engine string) string { return SocketPath(volume) + "." + engine }

func move(from, to string) error {
	if err := os.Rename(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("moving a front end's socket: %w", err)
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing a front end's socket: %w", err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
