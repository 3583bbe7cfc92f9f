// Package show shows how a backup or restore comes along: a bar per disk on a
// terminal, plain lines anywhere else.
package show

import (
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/rate"
	"hayloft.dev/pkg/status"
)

// View of a running backup or restore.
type View interface {
	// Update shows a new status.
	Update(time.Time, status.Status)
	// Tick lets the view catch up when nothing new came; to be called about
	// once a second.
	Tick(time.Time)
	// Say shows a remark.
	Say(time.Time, string)
	// Close shows what is still to be shown and leaves the screen as it is.
	Close(time.Time)
}

// For chooses the view that suits out.
func For(out io.Writer) View {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return NewBars(f)
	}
	return NewLines(out)
}

// meters keep the samples of each disk.
type meters map[string][]rate.Sample // disk -> samples

func (m meters) add(now time.Time, s status.Status) {
	for _, d := range s.Disks {
		if d.State != v1alpha1.DiskTransferring {
			delete(m, d.Name)
			continue
		}
		// The same state is seen several times, such as when another disk
		// moves. Only what changed is a sample of this one.
		if k := m[d.Name]; len(k) > 0 && k[len(k)-1].Done == d.Done {
			continue
		}
		m[d.Name] = rate.Keep(m[d.Name], rate.Sample{At: now, Done: d.Done})
	}
}

func (m meters) of(d status.Disk, now time.Time) rate.Estimate {
	if d.State != v1alpha1.DiskTransferring {
		return rate.Estimate{}
	}
	return rate.Of(m[d.Name], d.Total, now)
}
