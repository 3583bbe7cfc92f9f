package guest_test

import (
	"testing"
	"time"

	"hayloft.dev/deploy/local/disk/disktest"
	"hayloft.dev/deploy/local/guest"
)

// writing waits until a guest writes behind a sequence.
func (r *running) writing(behind uint64) {
	r.t.Helper()
	r.until("it writes", func() bool { return r.ask(guest.Request{Op: guest.OpStatus}).Sequence > behind+2 })
}

func TestAFrozenGuestWritesToNoDisk(t *testing.T) {
	a, b := disktest.Start(t, 16<<20), disktest.Start(t, 16<<20)
	g := start(t, time.Millisecond, a, b)
	g.writing(0)
	for range 20 {
		g.ask(guest.Request{Op: guest.OpFreeze, Timeout: time.Hour})
		first := states(t, a, b)
		if ahead := first[0].Last.Sequence - first[1].Last.Sequence; ahead > 1 { // behind is a very high number
			t.Fatalf("frozen with %d on the first disk and %d on the second", first[0].Last.Sequence, first[1].Last.Sequence)
		}
		// Another freeze changes nothing, and nothing else that writes comes through: the guest is frozen, not only quiet.
		g.ask(guest.Request{Op: guest.OpFreeze, Timeout: time.Nanosecond})
		filled := make(chan error, 1)
		go func() {
			_, err := guest.Call(t.Context(), g.control, guest.Request{Op: guest.OpFill, Disk: "b", Length: 4096, Seed: 1})
			filled <- err
		}()
		hash := g.ask(guest.Request{Op: guest.OpHash, Disk: "a"}).SHA256
		if again := states(t, a, b); *again[0].Last != *first[0].Last || *again[1].Last != *first[1].Last {
			t.Fatalf("frozen at %+v and %+v, and then there are %+v and %+v", *first[0].Last, *first[1].Last, *again[0].Last, *again[1].Last)
		}
		if again := g.ask(guest.Request{Op: guest.OpHash, Disk: "a"}).SHA256; again != hash {
			t.Fatal("a frozen disk changed")
		}
		select {
		case err := <-filled:
			t.Fatalf("a frozen disk was filled: %v", err)
		default:
		}
		thawed := g.ask(guest.Request{Op: guest.OpThaw})
		if err := <-filled; err != nil {
			t.Fatal(err)
		}
		g.writing(thawed.Sequence)
	}
	freezes := g.ask(guest.Request{Op: guest.OpFreezes}).Freezes
	if len(freezes) != 20 {
		t.Fatalf("%d freezes are remembered, want 20", len(freezes))
	}
	for _, f := range freezes {
		if f.Thawed == nil || f.ByTimeout || f.Timeout != time.Hour || f.Thawed.Before(f.Frozen) {
			t.Errorf("remembered as %s", f)
		}
	}
	g.stop()
	if err := g.end(); err != nil {
		t.Fatal(err)
	}
	for _, state := range states(t, a, b) {
		if !state.Whole() {
			t.Errorf("a write is missing: %+v", state)
		}
	}
}

func TestAFrozenGuestThawsByItself(t *testing.T) {
	a := disktest.Start(t, 16<<20)
	g := start(t, 2*time.Millisecond, a)
	frozen := g.ask(guest.Request{Op: guest.OpFreeze, Timeout: 300 * time.Millisecond})
	if !frozen.Frozen {
		t.Error("it does not say that it is frozen")
	}
	g.writing(frozen.Sequence)
	last := g.ask(guest.Request{Op: guest.OpFreezes}).Freezes[0]
	if last.Thawed == nil || !last.ByTimeout || last.Thawed.Sub(last.Frozen) < 300*time.Millisecond {
		t.Errorf("remembered as %s", last)
	}
	// The timer of a freeze that has ended does not thaw the next one.
	g.ask(guest.Request{Op: guest.OpFreeze, Timeout: 300 * time.Millisecond})
	g.ask(guest.Request{Op: guest.OpThaw})
	g.ask(guest.Request{Op: guest.OpFreeze})
	time.Sleep(400 * time.Millisecond) // that timer's time; there is nothing to wait for
	if again := g.ask(guest.Request{Op: guest.OpThaw}).Freezes[2]; again.ByTimeout {
		t.Errorf("remembered as %s", again)
	}
}

func TestFreezesThatFail(t *testing.T) {
	a := disktest.Start(t, 16<<20)
	g := start(t, 2*time.Millisecond, a)
	g.refused(guest.Request{Op: guest.OpFreeze, Fault: guest.FaultError}, "failed to freeze")
	g.refused(guest.Request{Op: guest.OpFreeze, Fault: "sometimes"}, "is neither")
	hanging := make(chan error, 1)
	go func() {
		_, err := guest.Call(t.Context(), g.control, guest.Request{Op: guest.OpFreeze, Fault: guest.FaultHang})
		hanging <- err
	}()
	if len(g.ask(guest.Request{Op: guest.OpFreezes}).Freezes) != 0 {
		t.Error("something was frozen")
	}
	began := time.Now()
	if slow := g.ask(guest.Request{Op: guest.OpFreeze, Fault: "200ms"}); !slow.Frozen || slow.Freezes[0].Frozen.Sub(began) < 200*time.Millisecond {
		t.Errorf("a slow freeze: %+v", slow)
	}
	g.ask(guest.Request{Op: guest.OpThaw})

	g.ask(guest.Request{Op: guest.OpPause})
	g.refused(guest.Request{Op: guest.OpFreeze}, "domain is not running")
	still := states(t, a)
	if again := states(t, a); *again[0].Last != *still[0].Last {
		t.Error("a paused guest writes")
	}
	g.writing(g.ask(guest.Request{Op: guest.OpUnpause}).Sequence)
	g.stop()
	if err := g.end(); err != nil {
		t.Fatal(err)
	}
	if err := <-hanging; err == nil {
		t.Error("a freeze that hangs came back well")
	}

	g = startWith(t, guest.Options{Interval: time.Millisecond}, a)
	g.refused(guest.Request{Op: guest.OpFreeze}, "QEMU guest agent is not connected")
}

// A guest that is frozen or paused can be ended, and sees that its disk is gone.
func TestAGuestThatIsHeldEnds(t *testing.T) {
	for _, op := range []string{guest.OpFreeze, guest.OpPause} {
		t.Run(op, func(t *testing.T) {
			a, b := disktest.Start(t, 16<<20), disktest.Start(t, 16<<20)
			g := start(t, time.Millisecond, a, b)
			g.writing(0)
			g.ask(guest.Request{Op: op})
			g.ask(guest.Request{Op: guest.OpShutdown})
			if err := g.end(); err != nil {
				t.Fatal(err)
			}
			g = start(t, time.Millisecond, a, b)
			g.ask(guest.Request{Op: op})
			b.Kill()
			if err := g.end(); err == nil {
				t.Error("it ended well without its disk")
			}
		})
	}
}
