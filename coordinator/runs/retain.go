package runs

import (
	"maps"
	"slices"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/retention"
)

// retain removes the points that the policy does not keep. A first look at what
// the cache shows tells whether there is anything to remove; what is removed
// follows from a live listing alone, so that neither a point that was just
// pinned nor the last good ones go by mistake.
func (p *planner) retain() {
	policy, err := retention.PolicyOf(p.Schedule)
	if err != nil {
		return // the zone is refused elsewhere
	}
	for _, vm := range slices.Sorted(maps.Keys(p.byVM)) {
		var points []retention.Point
		byName := map[string]*v1alpha1.VMBackup{}
		for _, b := range p.byVM[vm] {
			points = append(points, retention.PointOf(b, p.st.Runs, p.Readers[b.UID]))
			byName[b.Name] = b
		}
		why := map[string]string{}
		verdicts := retention.Plan(policy, points)
		for _, verdict := range verdicts {
			why[verdict.Point.Name] = verdict.Why
		}
		for _, gone := range retention.Removals(verdicts) {
			switch {
			case !p.Live:
				p.in.Need.Live = true
				return
			case len(p.in.Remove) == perPass:
				p.again(0)
				return
			}
			p.in.Remove = append(p.in.Remove, Removal{Point: byName[gone.Name], Why: why[gone.Name]})
		}
	}
}
