package guest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hayloft.dev/deploy/local/disk"
	"hayloft.dev/deploy/local/disk/disktest"
	"hayloft.dev/deploy/local/guest"
	"hayloft.dev/deploy/local/guest/ring"
)

const vmUID = "0d7a4f0e-3a53-43c8-bd9d-0f4b3a3b1c11"

// running is a guest under test.
type running struct {
	t       *testing.T
	control string
	stop    context.CancelFunc
	ended   chan error
}

func start(t *testing.T, interval time.Duration, volumes ...disktest.Volume) *running {
	t.Helper()
	return startWith(t, guest.Options{Interval: interval, Agent: true}, volumes...)
}

func startWith(t *testing.T, o guest.Options, volumes ...disktest.Volume) *running {
	t.Helper()
	// A folder deeper than a socket's address can name.
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 20))
	o.VM, o.Control, o.Log = vmUID, guest.ControlPath(dir, "default", "vm"), slog.New(slog.DiscardHandler)
	for i, v := range volumes {
		o.Disks = append(o.Disks, guest.Disk{Name: string(rune('a' + i)), Volume: v.Name, Size: v.Size})
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{t: t, control: o.Control, stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- guest.Run(ctx, o) }()
	t.Cleanup(stop)
	r.until("the guest answers", func() bool {
		select {
		case err := <-r.ended:
			t.Fatalf("the guest ended: %v", err)
		default:
		}
		_, err := guest.Call(t.Context(), r.control, guest.Request{Op: guest.OpStatus})
		return err == nil
	})
	return r
}

func (r *running) until(what string, isSo func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !isSo(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not in time: %s", what)
		}
	}
}

func (r *running) ask(request guest.Request) guest.Response {
	r.t.Helper()
	response, err := guest.Call(r.t.Context(), r.control, request)
	if err != nil {
		r.t.Fatal(err)
	}
	return response
}

func (r *running) refused(request guest.Request, saying string) {
	r.t.Helper()
	_, err := guest.Call(r.t.Context(), r.control, request)
	if err == nil || !strings.Contains(err.Error(), saying) {
		r.t.Errorf("%+v: got %v, want an error with %q", request, err, saying)
	}
}

func (r *running) end() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(60 * time.Second):
		r.t.Fatal("the guest does not end")
		return nil
	}
}

func states(t *testing.T, volumes ...disktest.Volume) []ring.State {
	t.Helper()
	var all []ring.State
	for _, v := range volumes {
		d, err := disk.Open(t.Context(), v.Name, v.Size)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		r, err := ring.On(v.Size)
		if err != nil {
			t.Fatal(err)
		}
		state, err := r.Read(d)
		if err != nil {
			t.Fatal(err)
		}
		if state.Last == nil {
			t.Fatalf("no record on %s", v.Name)
		}
		all = append(all, state)
	}
	return all
}

func TestGuestWritesInOrderAndGoesOnAfterARestart(t *testing.T) {
	a, b := disktest.Start(t, 32<<20), disktest.Start(t, 16<<20)
	g := start(t, 2*time.Millisecond, a, b)
	g.until("30 rounds are written", func() bool { return g.ask(guest.Request{Op: guest.OpStatus}).Sequence >= 30 })

	quiet := g.ask(guest.Request{Op: guest.OpQuiet})
	for _, state := range states(t, a, b) {
		if state.Last.Sequence != quiet.Sequence || !state.Whole() || state.Last.VM != vmUID {
			t.Errorf("quiet at %d, the disk says %+v (%+v)", quiet.Sequence, state, *state.Last)
		}
	}
	if again := g.ask(guest.Request{Op: guest.OpStatus}); again.Sequence != quiet.Sequence || !again.Quiet {
		t.Errorf("quiet at %d, then %+v", quiet.Sequence, again)
	}
	g.ask(guest.Request{Op: guest.OpResume})
	g.until("it writes again", func() bool { return g.ask(guest.Request{Op: guest.OpStatus}).Sequence > quiet.Sequence })

	g.ask(guest.Request{Op: guest.OpShutdown})
	if err := g.end(); err != nil {
		t.Fatalf("shut down from inside: %v", err)
	}
	before := states(t, a, b)
	if before[0].Last.Sequence != before[1].Last.Sequence {
		t.Errorf("a clean end left %d and %d", before[0].Last.Sequence, before[1].Last.Sequence)
	}
	g = start(t, 2*time.Millisecond, a, b)
	g.until("the second guest went on", func() bool {
		return g.ask(guest.Request{Op: guest.OpStatus}).Sequence > before[0].Last.Sequence+3
	})
	g.stop()
	if err := g.end(); err != nil {
		t.Fatalf("stopped: %v", err)
	}
	for _, state := range states(t, a, b) {
		if !state.Whole() {
			t.Errorf("a write is missing: %+v", state)
		}
	}
}

func TestGuestReadsWritesAndHashes(t *testing.T) {
	v := disktest.Start(t, 32<<20)
	g := start(t, 0, v)
	usable := g.ask(guest.Request{Op: guest.OpStatus}).Disks[0].Usable
	if usable != 28<<20 {
		t.Fatalf("%d bytes are usable, want all but the last 4 MiB", usable)
	}
	want := make([]byte, v.Size)
	disk.Random(want[:3<<20], 0, 5)
	g.ask(guest.Request{Op: guest.OpFill, Disk: "a", Length: 3 << 20, Seed: 5})
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	copy(want[2<<20:], bytes.Repeat([]byte("hayloft "), 1<<10))
	clear(want[2<<20+8<<10 : 2<<20+100_000])
	if err := os.WriteFile(in, want[2<<20:2<<20+100_000], 0o600); err != nil {
		t.Fatal(err)
	}
	g.ask(guest.Request{Op: guest.OpWrite, Disk: "a", Offset: 2 << 20, File: in})
	g.ask(guest.Request{Op: guest.OpRead, Disk: "a", Offset: 1 << 20, Length: 2 << 20, File: out})
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want[1<<20:3<<20]) {
		t.Error("what is read is not what was written")
	}
	for _, length := range []int64{0, 1000, usable} {
		all := want
		if length > 0 {
			all = want[:length]
		}
		sum := sha256.Sum256(all)
		if got := g.ask(guest.Request{Op: guest.OpHash, Disk: "a", Length: length}).SHA256; got != hex.EncodeToString(sum[:]) {
			t.Errorf("first %d bytes hash to %s", length, got)
		}
	}

	g.refused(guest.Request{Op: guest.OpFill, Disk: "a", Offset: usable - 1, Length: 2}, "in front of the guest's records")
	g.refused(guest.Request{Op: guest.OpWrite, Disk: "a", Offset: usable - 1, File: in}, "do not fit")
	g.refused(guest.Request{Op: guest.OpHash, Disk: "b"}, `no disk "b"`)
	g.refused(guest.Request{Op: guest.OpHash, Disk: "a", Length: v.Size + 1}, "bytes long")
	g.refused(guest.Request{Op: guest.OpRead, Disk: "a", Offset: v.Size, Length: 1, File: out}, "bytes long")
	g.refused(guest.Request{Op: guest.OpWrite, Disk: "a", File: filepath.Join(dir, "none")}, "no such file")
	g.refused(guest.Request{Op: "format"}, "no such operation")
	g.refused(guest.Request{Op: guest.OpResume}, "without a write interval")
}

// Both a guest that writes and one that is quiet see that their disk is gone, and end with an error.
func TestGuestEndsWhenItsEngineDies(t *testing.T) {
	for name, o := range map[string]guest.Options{
		"writing": {Interval: 5 * time.Millisecond}, "quiet": {}, "in a pod": {Interval: 5 * time.Millisecond, Sockets: t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := disktest.Start(t, 16<<20), disktest.Start(t, 16<<20)
			if o.Sockets != "" {
				relay, err := disk.NewRelay(o.Sockets, a.Name, b.Name)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(relay.Close)
			}
			g := startWith(t, o, a, b)
			if o.Interval > 0 {
				g.writing(0)
			}
			b.Kill()
			if err := g.end(); err == nil || !strings.Contains(err.Error(), "disk failed") {
				t.Errorf("ended with %v", err)
			}
		})
	}
}
