package longhorn

import (
	"slices"
	"strings"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
)

// volume is a volume with everything that belongs to it, as the API server has it.
type volume struct {
	*lh.Volume
	attachment *lh.VolumeAttachment
	side              // the engine that has the volume, nil when there is none yet
	extras     []side // one more while the volume migrates
	orphans    []*lh.Replica
}

// side is an engine with its replicas.
type side struct {
	engine   *lh.Engine
	replicas []*lh.Replica // by name
}

// arrange sorts engines and replicas to one another. Of several engines the active one has the volume.
func (v *volume) arrange(engines []lh.Engine, replicas []lh.Replica) {
	slices.SortFunc(replicas, func(a, b lh.Replica) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(engines, func(a, b lh.Engine) int {
		if a.Spec.Active != b.Spec.Active {
			if a.Spec.Active {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	byEngine := map[string][]*lh.Replica{}
	for i := range replicas {
		name := replicas[i].Spec.EngineName
		byEngine[name] = append(byEngine[name], &replicas[i])
	}
	for i := range engines {
		s := side{engine: &engines[i], replicas: byEngine[engines[i].Name]}
		delete(byEngine, engines[i].Name)
		if i == 0 {
			v.side = s
		} else {
			v.extras = append(v.extras, s)
		}
	}
	for _, left := range byEngine {
		v.orphans = append(v.orphans, left...)
	}
}

func (v *volume) isMigrating() bool {
	return len(v.extras) > 0 || v.Spec.MigrationNodeID != "" || v.Status.CurrentMigrationNodeID != ""
}

// engines are all of the volume.
func (v *volume) engines() []*lh.Engine {
	var all []*lh.Engine
	if v.engine != nil {
		all = append(all, v.engine)
	}
	for _, s := range v.extras {
		all = append(all, s.engine)
	}
	return all
}
