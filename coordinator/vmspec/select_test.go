package vmspec

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSelect(t *testing.T) {
	found := Contents{
		Disks:    []Disk{{Name: "root", Claim: "c-root"}, {Name: "data", Claim: "c-data"}, {Name: "state", Claim: "c-state", Kind: KindPersistentState}},
		Warnings: []string{"said before"},
	}
	bad := []Refusal{{Disk: "scratch", Sentence: "volume scratch is a file on one node"}}
	for name, c := range map[string]struct {
		include, exclude []string
		disks            []string
		warnings         int
		refused          string
	}{
		"neither":                          {disks: []string{"root", "data", "state"}, warnings: 1, refused: "volume scratch is a file"},
		"included":                         {include: []string{"data"}, disks: []string{"data"}, warnings: 3},
		"excluded":                         {exclude: []string{"data", "scratch"}, disks: []string{"root", "state"}, warnings: 2},
		"a refused disk stays refused":     {exclude: []string{"data"}, disks: []string{"root", "state"}, warnings: 2, refused: "volume scratch is a file"},
		"a refused disk that is asked for": {include: []string{"root", "scratch"}, disks: []string{"root"}, warnings: 3, refused: "volume scratch is a file"},
		"included by a wrong name":         {include: []string{"root", "dota"}, disks: []string{"root"}, warnings: 3, refused: `spec.includeDisks: the VM has no disk "dota": its disks are root, data, state, scratch`},
		"excluded by a wrong name":         {exclude: []string{"scratch", "dota"}, disks: []string{"root", "data", "state"}, warnings: 1, refused: `spec.excludeDisks: the VM has no disk "dota"`},
		"nothing left":                     {exclude: []string{"root", "data", "state", "scratch"}, warnings: 4, refused: "spec.excludeDisks leaves out every disk"},
	} {
		t.Run(name, func(t *testing.T) {
			got, refusals := Select(found, bad, c.include, c.exclude)
			var disks []string
			for _, d := range got.Disks {
				disks = append(disks, d.Name)
			}
			require.Equal(t, c.disks, disks)
			require.Len(t, got.Warnings, c.warnings)
			if c.refused == "" {
				require.Empty(t, refusals)
				return
			}
			require.Len(t, refusals, 1)
			require.Contains(t, refusals[0].Sentence, c.refused)
		})
	}
	require.Equal(t, []string{"said before"}, found.Warnings, "the input is left alone")
}
