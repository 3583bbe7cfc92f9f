package show

import (
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

// Bars draws a bar per disk below a line with the phase. The drawing goes on
// by itself, in mpb's goroutine.
type Bars struct {
	progress *mpb.Progress
	head     *mpb.Bar
	bars     map[string]*mpb.Bar // disk -> bar

	mu     sync.Mutex // guards what mpb's goroutine reads
	last   status.Status
	meters meters
}

// width of a bar in columns: with its words it fits a terminal of 80, and what
// does not fit is cut off at the end of the line.
const width = 16

// open is the total of a new bar: only of such a bar can the total be set later,
// and it ends when it is told to, not when its last byte has left.
const open = 0

// NewBars draws on a terminal.
func NewBars(out io.Writer) *Bars {
	b := &Bars{
		progress: mpb.New(mpb.WithOutput(out), mpb.WithRefreshRate(200*time.Millisecond), mpb.WithAutoRefresh()),
		bars:     map[string]*mpb.Bar{},
		meters:   meters{},
	}
	b.head = b.progress.New(open, mpb.NopStyle(), mpb.PrependDecorators(
		decor.Any(func(decor.Statistics) string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return headline(b.last)
		}),
	))
	return b
}

// Update implements View.
func (b *Bars) Update(now time.Time, s status.Status) {
	b.mu.Lock()
	b.last = s
	b.meters.add(now, s)
	b.mu.Unlock()
	for _, d := range s.Disks {
		bar := b.bars[d.Name]
		if bar == nil {
			bar = b.add(d.Name)
			b.bars[d.Name] = bar
		}
		bar.SetTotal(d.Total, d.State == v1alpha1.DiskDone)
		if d.State != v1alpha1.DiskDone {
			bar.SetCurrent(d.Done)
		}
	}
}

func (b *Bars) add(disk string) *mpb.Bar {
	return b.progress.New(open, mpb.BarStyle(), mpb.BarWidth(width),
		mpb.PrependDecorators(decor.Name("  "+disk, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return b.words(disk) })),
	)
}

// words beside a disk's bar.
func (b *Bars) words(disk string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.last.Disks {
		if d.Name == disk {
			line := diskLine(d, b.meters.of(d, time.Now()))
			return line[len(disk)+1:]
		}
	}
	return ""
}

// Tick implements View; mpb redraws by itself.
func (b *Bars) Tick(time.Time) {}

// Say implements View.
func (b *Bars) Say(_ time.Time, remark string) {
	// The only error is that drawing has ended, when nothing can be shown.
	_, _ = b.progress.Write([]byte(remark + "\n"))
}

// Close implements View.
func (b *Bars) Close(time.Time) {
	for _, bar := range b.bars {
		bar.Abort(false)
	}
	b.head.Abort(false)
	b.progress.Wait()
}
