package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Operations on a guest's control socket.
const (
	OpHash     = "hash"     // sha256 of a disk's first Length bytes, 0: all of it
	OpRead     = "read"     // Length bytes from Offset of a disk into File
	OpWrite    = "write"    // File onto a disk at Offset
	OpFill     = "fill"     // Length bytes from Offset of a disk: random data that follows from Seed
	OpQuiet    = "quiet"    // stop writing records; answered when the last one is on all replicas
	OpResume   = "resume"   // write records again
	OpFreeze   = "freeze"   // let the agent freeze the filesystems; answered when no write is under way, on any disk
	OpThaw     = "thaw"     // undo it
	OpPause    = "pause"    // stand still, as a machine whose processors are stopped
	OpUnpause  = "unpause"  // undo it
	OpReopen   = "reopen"   // go on with the engines that serve the disks now: the machine has migrated
	OpFreezes  = "freezes"  // when the guest was frozen and thawed
	OpStatus   = "status"   // the last finished round, the disks and all else
	OpShutdown = "shutdown" // end, as when the guest is shut down from inside
)

// Request is what is sent on a connection: one JSON object.
type Request struct {
	Op     string `json:"op"`
	Disk   string `json:"disk,omitempty"`   // name of the volume in the VM's spec
	Offset int64  `json:"offset,omitempty"` // bytes
	Length int64  `json:"length,omitempty"` // bytes
	Seed   uint64 `json:"seed,omitempty"`
	File   string `json:"file,omitempty"` // absolute: the guest runs in a folder of its own

	Timeout time.Duration `json:"timeout,omitempty"` // after which a frozen guest thaws by itself; 0: never
	Fault   string        `json:"fault,omitempty"`   // of a freeze: error, hang, or a duration that it takes longer
}

// Response is the answer, one JSON object; then the guest closes the connection.
type Response struct {
	Error    string       `json:"error,omitempty"`
	SHA256   string       `json:"sha256,omitempty"`
	Sequence uint64       `json:"sequence"` // of the last finished round
	Quiet    bool         `json:"quiet"`
	Frozen   bool         `json:"frozen"`
	Paused   bool         `json:"paused"`
	Freezes  []Freeze     `json:"freezes,omitempty"` // oldest first
	Disks    []DiskStatus `json:"disks,omitempty"`
}

// DiskStatus is a disk as the guest sees it.
type DiskStatus struct {
	Name   string `json:"name"`
	Volume string `json:"volume"`
	Size   int64  `json:"size"`   // bytes
	Usable int64  `json:"usable"` // bytes in front of the guest's records, which write and fill must not touch
}

// ControlPath is where the guest of a VM listens, in a stack's folder.
func ControlPath(dir, namespace, vm string) string {
	return filepath.Join(dir, "guests", namespace+"-"+vm+".sock")
}

// RefusedError is what the guest says of a request that it refused or failed at.
type RefusedError struct{ Message string }

func (e RefusedError) Error() string { return "guest: " + e.Message }

// Call sends a request to the guest that listens at path and waits for the answer. What the guest refuses or fails at
// is a RefusedError.
func Call(ctx context.Context, path string, request Request) (Response, error) {
	var response Response
	short, done, err := shortPath(path)
	if err != nil {
		return response, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", short)
	done()
	if err != nil {
		return response, fmt.Errorf("no guest answers at %s: %w", path, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return response, fmt.Errorf("asking the guest for %s: %w", request.Op, err)
	}
	if err := json.NewDecoder(conn).Decode(&response); err != nil {
		return response, fmt.Errorf("the guest ended before it answered %s: %w", request.Op, errors.Join(err, ctx.Err()))
	}
	if response.Error != "" {
		return response, RefusedError{response.Error}
	}
	return response, nil
}

// shortPath is another name for the same socket that fits into the 108 bytes of a socket address, valid until done is
// called.
func shortPath(path string) (short string, done func(), err error) {
	if len(path) < 100 {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { _ = dir.Close() }, nil
}

// listen makes the control socket, over the one that a killed guest may have left.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing a former guest's control socket: %w", err)
	}
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	listener, err := net.Listen("unix", short)
	if err != nil {
		return nil, fmt.Errorf("listening on the control socket %s: %w", path, err)
	}
	// The listener would remove the name that it was given, which is not valid for so long.
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	return listener, nil
}
