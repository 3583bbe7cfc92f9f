package explain_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"hayloft.dev/cli/internal/explain"
	"hayloft.dev/cli/internal/fixture"
	"hayloft.dev/pkg/api/v1alpha1"
)

func TestExplain(t *testing.T) {
	around := explain.Around{Now: fixture.Now()}
	busy := around
	for _, j := range fixture.Jobs()[:3] {
		busy.Jobs = append(busy.Jobs, *j)
	}
	busy.Events = []corev1.Event{{
		Type: "Warning", Reason: "AttemptFailed", Message: "disk root, attempt 1:\nthe replica went away",
		LastTimestamp: fixture.Before(35 * time.Second),
	}}
	hidden := around
	hidden.JobsHidden = true
	deleting := fixture.Ready()
	now := fixture.Before(time.Second)
	deleting.DeletionTimestamp = &now

	hooked := fixture.Snapshot()
	hooked.Status.Hooks = []v1alpha1.HookStatus{{Hook: "pre", Message: "ended well after 1.2s"}, {Hook: "post", Failed: true, Message: "/bin/go-on ended with exit code 3 (after 20ms)"}}

	cases := map[string]func(io.Writer) error{
		"backup-uploading":  func(w io.Writer) error { return explain.Backup(w, fixture.Uploading(), busy) },
		"backup-ready":      func(w io.Writer) error { return explain.Backup(w, fixture.Ready(), hidden) },
		"backup-failed":     func(w io.Writer) error { return explain.Backup(w, fixture.FailedBackup(), around) },
		"backup-new":        func(w io.Writer) error { return explain.Backup(w, fixture.New(), around) },
		"backup-deleting":   func(w io.Writer) error { return explain.Backup(w, deleting, around) },
		"restore-ready":     func(w io.Writer) error { return explain.Restore(w, fixture.Restored(), around) },
		"restore-replacing": func(w io.Writer) error { return explain.Restore(w, fixture.Replacing(), around) },
		"restore-disk":      func(w io.Writer) error { return explain.Restore(w, fixture.Rescued(), around) },
		"restore-waiting":   func(w io.Writer) error { return explain.Restore(w, fixture.Restoring(), around) },
		"quota":             func(w io.Writer) error { return explain.Quota(w, fixture.Quota(), around) },
		"snapshot-ready":    func(w io.Writer) error { return explain.Backup(w, fixture.Snapshot(), around) },
		"snapshot-hooked":   func(w io.Writer) error { return explain.Backup(w, hooked, around) },
		"snapshot-lost":     func(w io.Writer) error { return explain.Backup(w, fixture.Lost(), around) },
	}
	for _, x := range fixture.Schedules() {
		of := around
		of.Points = []v1alpha1.VMBackup{*fixture.Scheduled(x, 1, fixture.Ready()), *fixture.Scheduled(x, 2, fixture.FailedBackup())}
		cases["schedule-"+x.Name] = func(w io.Writer) error { return explain.Schedule(w, x, of) }
	}
	for _, x := range fixture.Targets() {
		cases["target-"+x.Name] = func(w io.Writer) error { return explain.Target(w, x, around) }
	}
	for _, x := range fixture.Jobs() {
		cases["job-"+x.Name] = func(w io.Writer) error { return explain.Job(w, x, around) }
	}
	for name, write := range cases {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, write(&out))
			fixture.Golden(t, out.Bytes())
		})
	}
}

// Every phase of the API is explained, so that a new one is not shown bare.
func TestEveryPhaseIsExplained(t *testing.T) {
	for _, phase := range []v1alpha1.BackupPhase{"Pending", "Cutting", "Uploading", "Verifying", "Ready", "Failed", "DataLost", "Missing", "Deleting"} {
		var out bytes.Buffer
		require.NoError(t, explain.Backup(&out, &v1alpha1.VMBackup{Status: v1alpha1.VMBackupStatus{Phase: phase}}, explain.Around{}))
		assert.Contains(t, out.String(), string(phase)+": ")
	}
	for _, phase := range []v1alpha1.RestorePhase{"Pending", "Restoring", "Building", "Ready", "Failed", "Deleting"} {
		var out bytes.Buffer
		require.NoError(t, explain.Restore(&out, &v1alpha1.VMRestore{Status: v1alpha1.VMRestoreStatus{Phase: phase}}, explain.Around{}))
		assert.Contains(t, out.String(), string(phase)+": ")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteErrorsAreReported(t *testing.T) {
	assert.ErrorContains(t, explain.Backup(full{}, fixture.Ready(), explain.Around{}), "disk full")
}
