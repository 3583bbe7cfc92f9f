// Package quota adds up the space that the engine snapshots of points take in
// the cluster, and says whether the limits of a namespace let another one in.
//
// It is pure: values in, figures and sentences out. That two points are not let
// in on the same figures is its caller's part.
package quota

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"

	"hayloft.dev/pkg/api/v1alpha1"
)

// Point is one point that has snapshots in the cluster, or will have.
type Point struct {
	VM string
	// Snapshots are the engine snapshots that are recorded for it.
	Snapshots []string
	// Complete: Snapshots are all that it will ever have.
	Complete bool
	// ReservedBytes is what it was let in with.
	ReservedBytes int64
}

// Usage is what is used in one namespace, in bytes.
type Usage struct {
	Total int64
	VMs   map[string]int64 // VM -> bytes
}

// Add sums up points. sizes maps an engine snapshot -> its bytes as Longhorn
// tells them; a snapshot that is too new to be told of counts as what was
// reserved for its point.
func Add(points []Point, sizes map[string]int64) Usage {
	u := Usage{VMs: map[string]int64{}}
	for _, p := range points {
		var sum int64
		known := p.Complete
		for _, s := range p.Snapshots {
			bytes, told := sizes[s]
			sum += bytes
			known = known && told
		}
		if !known {
			sum = max(sum, p.ReservedBytes)
		}
		if sum == 0 {
			continue
		}
		u.Total += sum
		u.VMs[p.VM] += sum
	}
	return u
}

// Volume is what is known of one volume that is to be cut.
type Volume struct {
	SizeBytes int64
	// ActualBytes is what the volume takes on each replica's disk, its
	// snapshots included.
	ActualBytes int64
	// SnapshotBytes is the part of it that all its snapshots take.
	SnapshotBytes int64
}

// Expected is what the snapshots of a new point will take: what was written to
// each volume since its last snapshot, which the cut makes part of the new one.
func Expected(volumes []Volume) int64 {
	var sum int64
	for _, v := range volumes {
		sum += min(v.SizeBytes, max(0, v.ActualBytes-v.SnapshotBytes))
	}
	return sum
}

// Refusals says which limits another point of a VM would break. A limit that is
// broken already refuses every point, even one that takes nothing.
func Refusals(quotas []v1alpha1.SnapshotQuota, u Usage, vm string, expected int64) []string {
	var out []string
	for _, q := range quotas {
		if limit := value(q.Spec.Limit); limit > 0 && u.Total+expected > limit {
			out = append(out, sentence("spec.limit", q.Name, "the snapshots of this namespace", limit, u.Total, expected))
		}
		if limit, field := vmLimit(q, vm); limit > 0 && u.VMs[vm]+expected > limit {
			out = append(out, sentence(field, q.Name, "the snapshots of VM "+vm, limit, u.VMs[vm], expected))
		}
	}
	return out
}

func vmLimit(q v1alpha1.SnapshotQuota, vm string) (limit int64, field string) {
	if own, ok := q.Spec.VMLimits[vm]; ok {
		return own.Value(), "spec.vmLimits." + vm
	}
	return value(q.Spec.VMLimit), "spec.vmLimit"
}

func value(q *resource.Quantity) int64 {
	if q == nil {
		return 0
	}
	return q.Value()
}

func sentence(field, quota, what string, limit, used, expected int64) string {
	return fmt.Sprintf("SnapshotQuota %s (%s) lets %s take %s: they take %s, and this point may take %s more: delete points that are not needed, or raise the limit",
		quota, field, what, bytes(limit), bytes(used), bytes(expected))
}

func bytes(n int64) string { return resource.NewQuantity(n, resource.BinarySI).String() }

// Status is usage as a SnapshotQuota tells it.
func (u Usage) Status() (used *resource.Quantity, vms map[string]resource.Quantity) {
	for _, vm := range slices.Sorted(maps.Keys(u.VMs)) {
		if vms == nil {
			vms = map[string]resource.Quantity{}
		}
		vms[vm] = *resource.NewQuantity(u.VMs[vm], resource.BinarySI)
	}
	return resource.NewQuantity(u.Total, resource.BinarySI), vms
}
