package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"hayloft.dev/deploy/local/disk"
	"hayloft.dev/deploy/local/guest/ring"
)

// requestTimeout bounds how long a caller may take to send its request and to read the answer.
const requestTimeout = 10 * time.Second

// serve answers requests until ctx ends; requests that run then are given up.
func (g *guest) serve(ctx context.Context, listener net.Listener) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer os.Remove(g.options.Control)
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		running.Go(func() {
			defer conn.Close()
			if err := g.answer(ctx, conn); err != nil {
				g.options.Log.Warn("control request", "error", err)
			}
		})
	}
}

func (g *guest) answer(ctx context.Context, conn net.Conn) error {
	var request Request
	if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	if err := json.NewDecoder(conn).Decode(&request); err != nil {
		return fmt.Errorf("reading a request: %w", err)
	}
	response, err := g.handle(ctx, request)
	if err != nil {
		response.Error = fmt.Sprintf("%s: %v", request.Op, err)
	}
	if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	if err := json.NewEncoder(conn).Encode(response); err != nil {
		return fmt.Errorf("answering %s: %w", request.Op, err)
	}
	if request.Op == OpShutdown {
		g.shutdown()
	}
	return nil
}

func (g *guest) handle(ctx context.Context, r Request) (Response, error) {
	switch r.Op {
	case OpHash, OpRead, OpWrite, OpFill:
		sum, err := g.data(ctx, r)
		response := g.status()
		response.SHA256 = sum
		return response, err
	case OpQuiet, OpResume:
		if r.Op == OpResume && g.options.Interval == 0 {
			return g.status(), errors.New("this guest was started without a write interval")
		}
		g.quiet(r.Op == OpQuiet)
		return g.status(), nil
	case OpFreeze:
		err := g.freezer.freeze(ctx, r.Timeout, r.Fault)
		return g.status(), err
	case OpThaw:
		err := g.freezer.thaw()
		return g.status(), err
	case OpReopen:
		err := g.reopen(ctx)
		return g.status(), err
	case OpPause:
		g.gate.close(paused)
		return g.status(), nil
	case OpUnpause:
		g.gate.open(paused)
		return g.status(), nil
	case OpStatus, OpFreezes, OpShutdown:
		return g.status(), nil
	default:
		return g.status(), errors.New("no such operation")
	}
}

func (g *guest) status() Response {
	g.mu.Lock()
	response := Response{Sequence: g.sequence, Quiet: g.isQuiet}
	g.mu.Unlock()
	response.Frozen, response.Paused, response.Freezes = g.gate.is(frozen), g.gate.is(paused), g.freezer.all()
	for _, d := range g.disks {
		usable, _ := ring.Tail(d.Size)
		response.Disks = append(response.Disks, DiskStatus{Name: d.Name, Volume: d.Volume, Size: d.Size, Usable: usable})
	}
	return response
}

// data does the operations that touch a disk; the digest is empty for all but OpHash.
func (g *guest) data(ctx context.Context, r Request) (sha256 string, err error) {
	d, err := g.find(r.Disk)
	if err != nil {
		return "", err
	}
	usable, _ := ring.Tail(d.Size)
	switch r.Op {
	case OpHash:
		length := r.Length
		if length == 0 {
			length = d.Size
		}
		if length < 0 || length > d.Size {
			return "", fmt.Errorf("disk %s is %d bytes long", d.Name, d.Size)
		}
		return disk.SHA256(ctx, d.device, length)
	case OpRead:
		if r.Offset < 0 || r.Length <= 0 || r.Offset > d.Size-r.Length {
			return "", fmt.Errorf("disk %s is %d bytes long", d.Name, d.Size)
		}
		return "", disk.Export(ctx, d.device, r.Offset, r.Length, r.File)
	case OpWrite:
		return "", disk.ImportFile(ctx, d.device, usable, disk.Import{Path: r.File, Offset: r.Offset})
	default: // OpFill
		if r.Offset < 0 || r.Length <= 0 || r.Offset > usable-r.Length {
			return "", fmt.Errorf("disk %s has %d bytes in front of the guest's records", d.Name, usable)
		}
		return "", disk.Fill(ctx, d.device, r.Offset, r.Length, r.Seed)
	}
}

func (g *guest) find(name string) (openDisk, error) {
	var names []string
	for _, d := range g.disks {
		if d.Name == name {
			return d, nil
		}
		names = append(names, d.Name)
	}
	return openDisk{}, fmt.Errorf("no disk %q; there are %q", name, names)
}
