package leftover_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/targetio/leftover"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/names"
)

const (
	own   types.UID = "c1000000-0000-4000-8000-000000000001"
	other types.UID = "c2000000-0000-4000-8000-000000000002"
	point types.UID = "00000001-0000-4000-8000-000000000003"
)

func TestVerdicts(t *testing.T) {
	ours := names.Backup(point, "root", 2)
	require.Equal(t, point, leftover.PointOf(ours))
	for _, foreign := range []string{"backup-0123456789abcdef", "hl-x-a1-root", "", names.Snapshot(point, 1, "root")} {
		require.Empty(t, leftover.PointOf(foreign), foreign)
	}
	whole := func(cluster types.UID, named ...string) leftover.Document {
		d := leftover.Document{Exists: true, Read: true, Cluster: cluster, Named: map[string]bool{}}
		for _, n := range named {
			d.Named[n] = true
		}
		return d
	}
	old := leftover.Facts{Own: own, Age: 48 * time.Hour, MinAge: 24 * time.Hour}
	for name, c := range map[string]struct {
		change func(*leftover.Facts)
		backup string
		kind   protocol.LeftoverKind
		keep   string
	}{
		"nobody's":                     {func(*leftover.Facts) {}, ours, protocol.LeftNoDocument, ""},
		"nobody's, young":              {func(f *leftover.Facts) { f.Age = time.Hour }, ours, protocol.LeftNoDocument, "less than 24h"},
		"of a point here":              {func(f *leftover.Facts) { f.Living = true }, ours, "", ""},
		"named by a document":          {func(f *leftover.Facts) { f.Document = whole(other, ours) }, ours, "", ""},
		"a lost attempt of ours":       {func(f *leftover.Facts) { f.Document = whole(own) }, ours, protocol.LeftNoDocument, ""},
		"a lost attempt of another":    {func(f *leftover.Facts) { f.Document = whole(other) }, ours, protocol.LeftNoDocument, "of cluster " + string(other)},
		"a document that is not clear": {func(f *leftover.Facts) { f.Document.Exists = true }, ours, "", ""},
		"another cluster's transfer":   {func(f *leftover.Facts) { f.Draft, f.Drafter = true, other }, ours, protocol.LeftNoDocument, "may be taking"},
		"a draft that is not clear":    {func(f *leftover.Facts) { f.Draft = true }, ours, protocol.LeftNoDocument, "nobody knows whose"},
		"a draft of ours":              {func(f *leftover.Facts) { f.Draft, f.Drafter = true, own }, ours, protocol.LeftNoDocument, ""},
		"Longhorn's own":               {func(*leftover.Facts) {}, "backup-1", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := old
			c.change(&f)
			v := leftover.Backup(f, c.backup, false)
			require.Equal(t, c.kind, v.Kind)
			require.Contains(t, v.Keep, c.keep)
			require.Equal(t, c.keep == "", v.Keep == "")
		})
	}
	require.Equal(t, protocol.LeftInProgress, leftover.Backup(old, ours, true).Kind)
	require.NotEmpty(t, leftover.Backup(old, "backup-1", true).Keep)

	draft := old
	draft.Draft, draft.Drafter = true, own
	require.Equal(t, leftover.Verdict{Kind: protocol.LeftDraft}, leftover.Draft(draft))
	draft.Drafter = other
	require.NotEmpty(t, leftover.Draft(draft).Keep)
	draft.Age = time.Hour
	require.Empty(t, leftover.Draft(draft).Kind)
	draft.Age, draft.Living = 48*time.Hour, true
	require.Empty(t, leftover.Draft(draft).Kind)
}
