package show_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"hayloft.dev/cli/internal/show"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

func moving(done int64) status.Status {
	return status.Status{Phase: "Uploading", Why: "2 disks are moving", Disks: []status.Disk{
		{Name: "root", State: v1alpha1.DiskTransferring, Done: done << 20, Total: 100 << 20},
		{Name: "data", State: v1alpha1.DiskCut, Total: 0},
	}}
}

func TestLines(t *testing.T) {
	t0 := time.Date(2026, 11, 23, 4, 15, 0, 0, time.UTC)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	var out bytes.Buffer
	lines := show.NewLines(&out)
	printed := func() string { s := out.String(); out.Reset(); return s }

	lines.Update(at(0), status.Status{})
	assert.Equal(t, "04:15:00 Pending\n", printed(), "an object without a status is pending")
	lines.Update(at(100), moving(0))
	lines.Update(at(200), moving(10))
	assert.Empty(t, printed(), "at most one line a second")
	lines.Tick(at(999))
	assert.Empty(t, printed())
	lines.Tick(at(1000))
	assert.Equal(t, "04:15:01 Uploading: 2 disks are moving; root 10%, 10.0 MiB of 100.0 MiB, 100.0 MiB/s, 1s left; data snapshot cut\n", printed(),
		"what was held back is printed when its second is over, in its newest form")
	lines.Tick(at(9000))
	lines.Update(at(9001), moving(10))
	assert.Empty(t, printed(), "nothing changed")
	lines.Say(at(9100), "trying again: no answer")
	assert.Equal(t, "04:15:09 trying again: no answer\n", printed())

	ended := moving(100)
	ended.Phase, ended.Ended = "Ready", true
	for i := range ended.Disks {
		ended.Disks[i].State = v1alpha1.DiskDone
	}
	lines.Update(at(9200), moving(99))
	lines.Update(at(9300), ended)
	lines.Close(at(9300))
	assert.Equal(t, 1, strings.Count(out.String(), "Ready; root done, 100.0 MiB of 100.0 MiB; data done\n"), "the end is always shown: %s", out.String())
}

func TestLinesTellOfTroubleWithADisk(t *testing.T) {
	var out bytes.Buffer
	lines := show.NewLines(&out)
	lines.Update(time.Unix(0, 0).UTC(), status.Status{Phase: "Failed", Ended: true, Failed: true, Disks: []status.Disk{
		{Name: "root", State: v1alpha1.DiskFailed, Attempt: 3, Message: "no space left"},
		{Name: "data", State: v1alpha1.DiskTransferred, Done: 5, Total: 5, Attempt: 1},
		{Name: "more", State: v1alpha1.DiskPending},
		{Name: "last", State: v1alpha1.DiskTransferring},
	}})
	assert.Equal(t, "00:00:00 Failed; root failed, attempt 3, no space left; data checking, 5 B of 5 B; more waiting; last moving\n", out.String())
}

// Bars are drawn with each disk's name and figures, and the drawing ends with
// Close.
func TestBars(t *testing.T) {
	var out bytes.Buffer
	bars := show.NewBars(&out)
	now := time.Now()
	bars.Update(now, moving(0))
	bars.Update(now.Add(time.Second), moving(40))
	bars.Say(now, "trying again: no answer")
	ended := moving(100)
	ended.Phase, ended.Ended = "Ready", true
	ended.Disks[0].State = v1alpha1.DiskDone
	bars.Update(now.Add(2*time.Second), ended)
	bars.Tick(now)
	bars.Close(now)
	drawn := out.String()
	assert.Contains(t, drawn, "Ready")
	assert.Regexp(t, `root +\[=+\] done, 100.0 MiB of 100.0 MiB`, drawn)
	assert.Regexp(t, `data +\[-+\] snapshot cut`, drawn)
	assert.Contains(t, drawn, "trying again: no answer")
}
