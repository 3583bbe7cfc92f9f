package explain

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"

	"hayloft.dev/cli/internal/units"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Quota explains a SnapshotQuota.
func Quota(out io.Writer, q *v1alpha1.SnapshotQuota, a Around) error {
	p := &page{out: out, now: a.Now}
	p.line("Quota", q.Name)
	p.line("Limit", "of all VMs of the namespace together "+limit(q.Spec.Limit))
	p.line("Per VM", limit(q.Spec.VMLimit))
	switch {
	case q.Status.ObservedAt == nil || q.Status.Used == nil:
		p.line("Used", "not added up yet")
	default:
		p.line("Used", against(*q.Status.Used, q.Spec.Limit)+", added up "+p.ago(q.Status.ObservedAt.Time))
	}
	p.line("Created", p.moment(q.CreationTimestamp.Time))
	vms := maps.Clone(q.Status.VMs)
	if vms == nil {
		vms = map[string]resource.Quantity{}
	}
	for vm := range q.Spec.VMLimits {
		if _, uses := vms[vm]; !uses {
			vms[vm] = resource.Quantity{}
		}
	}
	var rows [][]string
	for _, vm := range slices.Sorted(maps.Keys(vms)) {
		own := q.Spec.VMLimit
		if named, is := q.Spec.VMLimits[vm]; is {
			own = &named
		}
		rows = append(rows, []string{vm, against(vms[vm], own), limit(own)})
	}
	p.table("VMs", []string{"VM", "USED", "LIMIT"}, rows)
	p.events(a.Events)
	return p.err
}

func limit(q *resource.Quantity) string {
	if q == nil || q.Sign() <= 0 {
		return "no limit"
	}
	return units.Bytes(q.Value())
}

// against is what is used, and its share of a limit.
func against(used resource.Quantity, of *resource.Quantity) string {
	if of == nil || of.Sign() <= 0 {
		return units.Bytes(used.Value())
	}
	return fmt.Sprintf("%s (%.0f%%)", units.Bytes(used.Value()), 100*float64(used.Value())/float64(of.Value()))
}
