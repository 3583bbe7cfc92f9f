// Package table prints lists of Hayloft's objects in columns. What the columns
// say is computed from the objects alone.
package table

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
	"hayloft.dev/pkg/words"
)

// Options of a table.
type Options struct {
	// Now is the time that ages are counted to.
	Now time.Time
	// Namespaces adds a first column with the namespace.
	Namespaces bool
	// Wide adds a last column with the message.
	Wide bool
}

// Print writes objects of one kind. An empty list prints nothing.
func Print(out io.Writer, objects []client.Object, o Options) error {
	if len(objects) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for i, obj := range objects {
		cells, err := row(obj, o)
		if err != nil {
			return err
		}
		if i == 0 {
			line(w, cells, o, func(c cell) string { return c.head })
		}
		line(w, cells, o, func(c cell) string { return c.value })
	}
	return w.Flush()
}

type cell struct {
	head, value string
	wide        bool
}

func line(w io.Writer, cells []cell, o Options, text func(cell) string) {
	var out []string
	for _, c := range cells {
		if c.wide && !o.Wide {
			continue
		}
		// A line break or tab in a message must not break the columns.
		out = append(out, strings.Join(strings.Fields(text(c)), " "))
	}
	fmt.Fprintln(w, strings.Join(out, "\t"))
}

// row is one object's line.
func row(obj client.Object, o Options) ([]cell, error) {
	var cells []cell
	if o.Namespaces {
		cells = append(cells, cell{head: "NAMESPACE", value: obj.GetNamespace()})
	}
	cells = append(cells, cell{head: "NAME", value: obj.GetName()})
	message := ""
	switch x := obj.(type) {
	case *v1alpha1.VMBackup:
		s := status.OfBackup(x)
		cells = append(cells,
			cell{head: "VM", value: x.Spec.VM}, cell{head: "TYPE", value: pointType(x)}, cell{head: "TARGET", value: dash(x.Spec.Target)}, cell{head: "PHASE", value: phase(s)},
			cell{head: "PROGRESS", value: progress(s)}, cell{head: "DISKS", value: fmt.Sprint(len(s.Disks))},
			cell{head: "SIZE", value: backupSize(x)}, cell{head: "UPLOADED", value: uploaded(x)})
		message = s.Why + s.Cause
	case *v1alpha1.VMRestore:
		s := status.OfRestore(x)
		var size int64
		for _, d := range x.Status.Disks {
			size += d.SizeBytes
		}
		cells = append(cells,
			cell{head: "BACKUP", value: x.Spec.Backup}, cell{head: "TO", value: status.Destination(x)}, cell{head: "PHASE", value: phase(s)},
			cell{head: "PROGRESS", value: progress(s)}, cell{head: "DISKS", value: fmt.Sprint(len(s.Disks))},
			cell{head: "SIZE", value: bytesOrDash(size)})
		message = s.Why + s.Cause
	case *v1alpha1.VMSchedule:
		state := status.Schedule(x)
		next := ""
		if x.Status.NextTime != nil {
			next = x.Status.NextTime.UTC().Format("2006-01-02T15:04:05Z")
		}
		of := x.Spec.VM
		if x.Spec.Selector != nil {
			of = metav1.FormatLabelSelector(x.Spec.Selector)
		}
		cells = append(cells,
			cell{head: "WHEN", value: x.Spec.Cron}, cell{head: "OF", value: of}, cell{head: "TYPE", value: string(x.Spec.Type)}, cell{head: "TARGET", value: dash(x.Spec.Target)},
			cell{head: "STATE", value: state.Word}, cell{head: "LAST GOOD", value: ago(x.Status.LastSuccessTime, o.Now)},
			cell{head: "NEXT", value: dash(next)}, cell{head: "FAILURES", value: fmt.Sprint(x.Status.ConsecutiveFailures)})
		message = state.Sentence
	case *v1alpha1.BackupTarget:
		ready := meta.FindStatusCondition(x.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil {
			ready = &metav1.Condition{Status: "Unknown", Reason: "NotProbed", Message: "not probed yet"}
		}
		cells = append(cells,
			cell{head: "READY", value: string(ready.Status)}, cell{head: "REASON", value: ready.Reason},
			cell{head: "URL", value: dash(x.Status.URL)}, cell{head: "LAST PROBE", value: ago(x.Status.LastProbeTime, o.Now)},
			cell{head: "POINTS", value: targetPoints(x)}, cell{head: "REFRESH", value: targetInterval(x)})
		message = ready.Message
	case *v1alpha1.SnapshotQuota:
		cells = append(cells,
			cell{head: "LIMIT", value: quantity(x.Spec.Limit)}, cell{head: "USED", value: quantity(x.Status.Used)},
			cell{head: "PER VM", value: quantity(x.Spec.VMLimit)}, cell{head: "VMS", value: fmt.Sprint(len(x.Status.VMs))})
	case *v1alpha1.NodeJob:
		cells = append(cells,
			cell{head: "WORK", value: Work(x)}, cell{head: "FOR", value: x.Spec.Owner.Kind + "/" + x.Spec.Owner.Name},
			cell{head: "NODE", value: dash(x.Spec.NodeName)}, cell{head: "STATE", value: JobState(x)},
			cell{head: "PROGRESS", value: jobProgress(x)})
		message = x.Status.Message
	default:
		return nil, fmt.Errorf("no table for %T", obj)
	}
	return append(cells, cell{head: "AGE", value: age(obj.GetCreationTimestamp(), o.Now)}, cell{head: "MESSAGE", value: dash(message), wide: true}), nil
}

// quantity of bytes; none for no limit, or for what nobody has added up yet.
func quantity(q *resource.Quantity) string {
	if q == nil {
		return "-"
	}
	return units.Bytes(q.Value())
}

func targetPoints(t *v1alpha1.BackupTarget) string {
	if t.Status.Refresh == nil || t.Status.Refresh.Documents == nil {
		return "-"
	}
	return fmt.Sprint(t.Status.Refresh.Documents.Points)
}

// targetInterval is the interval of refreshes that is in effect.
func targetInterval(t *v1alpha1.BackupTarget) string {
	s := t.Status.Refresh
	switch {
	case s == nil || s.EffectiveInterval == nil:
		return "-"
	case s.IntervalFrom == "Never":
		return s.IntervalFrom
	}
	return units.Duration(s.EffectiveInterval.Duration)
}

// Work is what a job does, such as "backup root".
func Work(j *v1alpha1.NodeJob) string {
	switch {
	case j.Spec.Cut != nil:
		return "cut " + words.Count(len(j.Spec.Cut.Disks), "disk")
	case j.Spec.Backup != nil:
		return "backup " + j.Spec.Backup.Disk
	case j.Spec.Restore != nil:
		return "restore " + j.Spec.Restore.Disk
	case j.Spec.Clone != nil:
		return "clone " + j.Spec.Clone.Disk
	case j.Spec.RemoveSnapshots != nil:
		return "remove " + words.Count(len(j.Spec.RemoveSnapshots.Snapshots), "snapshot")
	}
	return "-"
}

// JobState is a job's state in one word; a job that nobody claimed has none of
// its own.
func JobState(j *v1alpha1.NodeJob) string {
	switch {
	case j.Status.State != v1alpha1.JobPending:
		return string(j.Status.State)
	case j.Spec.NodeName == "":
		return "Queued"
	}
	return "Assigned"
}

func pointType(b *v1alpha1.VMBackup) string {
	if b.Spec.Type == "" {
		return string(v1alpha1.TypeBackup)
	}
	return string(b.Spec.Type)
}

func phase(s status.Status) string {
	if s.Phase == "" {
		return "New"
	}
	return s.Phase
}

func progress(s status.Status) string {
	if s.Failed || s.Phase == "" {
		return "-"
	}
	return fmt.Sprintf("%d%%", units.Percent(s.Done, s.Total, s.Ended))
}

func jobProgress(j *v1alpha1.NodeJob) string {
	if j.Status.Transfer == nil || j.Status.Transfer.Progress == nil {
		return "-"
	}
	p := j.Status.Transfer.Progress
	return fmt.Sprintf("%d%%", units.Percent(p.BytesDone, p.BytesTotal, j.Status.State == v1alpha1.JobSucceeded))
}

func backupSize(b *v1alpha1.VMBackup) string {
	var n int64
	for _, d := range b.Status.Disks {
		n += d.SizeBytes
	}
	return bytesOrDash(n)
}

func uploaded(b *v1alpha1.VMBackup) string {
	var n int64
	known := false
	for _, d := range b.Status.Disks {
		if d.UploadedBytes != nil {
			n, known = n+*d.UploadedBytes, true
		}
	}
	if !known {
		return "-"
	}
	return units.Bytes(n)
}

func bytesOrDash(n int64) string {
	if n == 0 {
		return "-"
	}
	return units.Bytes(n)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

func ago(t *metav1.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return age(*t, now) + " ago"
}
