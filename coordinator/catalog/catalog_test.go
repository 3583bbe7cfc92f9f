package catalog

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/points"
)

func TestPointsAppearOnce(t *testing.T) {
	s := newScene(t)
	a, own := s.put("prod", 1), s.put("prod", 2)
	s.exists(own, false)
	in, r := s.list()
	require.Len(t, in.Make, 1)
	require.Equal(t, a, in.Make[0].Path)
	require.Equal(t, 1, r.Unchanged, "this cluster's own is not read")
	require.Equal(t, 1, in.New)
	in, r = s.list()
	require.Empty(t, in)
	require.Equal(t, 2, r.Unchanged)
	require.Empty(t, r.Seen, "its version is known by now")
	require.Equal(t, Known, s.state(own))
}

// What cannot be made here is not made, is not read with each refresh, and is made
// when it can be.
func TestPointsOfNamespacesThatAreNotHereWait(t *testing.T) {
	s := newScene(t)
	lab := s.put("lab", 1)
	for _, system := range []string{"kube-system", "hayloft-system", "cattle-fleet-system", "harvester-system", "longhorn-system"} {
		s.put(system, 7)
	}
	in, r := s.list()
	require.Empty(t, in.Make)
	require.Equal(t, Waiting, s.state(lab))
	n, _, waiting := s.index.Summary(r, in)
	require.EqualValues(t, 6, n.Waiting)
	require.Len(t, waiting, 6)
	require.Contains(t, waiting[4].Message, "create it, and the points appear", waiting[4].Namespace)
	_, r = s.list()
	require.Empty(t, r.Read)
	s.facts.Namespaces["lab"] = true
	in, _ = s.list()
	require.Len(t, in.Make, 1)
	require.Equal(t, lab, in.Make[0].Path)
	s.facts.Namespaces["kube-system"], s.facts.Namespaces["cattle-fleet-system"] = true, true
	in, _ = s.list()
	require.Empty(t, in.Make, "a namespace of the system is never for points")
}

func TestForgottenPointsDoNotComeBack(t *testing.T) {
	s := newScene(t)
	own, found, never := s.put("prod", 1), s.put("prod", 2), s.put("prod", 3)
	s.exists(own, false)
	s.list()
	for _, path := range []string{own, found, never} {
		delete(s.facts.Points, path)
		s.facts.Forgotten[s.on[path].Point.UID] = true
	}
	s.index.Drop(never) // buried before it was ever listed
	for range 6 {
		in, _ := s.list()
		require.Empty(t, in.Make)
		require.Equal(t, Forgotten, s.state(own))
	}
	s.facts.Forgotten = map[types.UID]bool{}
	in, _ := s.list()
	require.Len(t, in.Make, 3, "they were dug up")
}

// A VMBackup that is gone without a word, as with its namespace, is made again.
func TestPointsThatWereOnlyLostComeBack(t *testing.T) {
	s := newScene(t)
	path := s.put("prod", 1)
	s.exists(path, false)
	s.list()
	delete(s.facts.Points, path)
	in, _ := s.list()
	require.Len(t, in.Make, 1)
}

func TestVanishedPointsAreMissingFirstThenGo(t *testing.T) {
	s := newScene(t)
	stays, found, own := s.put("prod", 1), s.put("prod", 2), s.put("prod", 3)
	s.exists(own, false)
	s.list()
	kept := s.on[found]
	delete(s.on, found)
	delete(s.on, own)
	in, _ := s.list()
	require.Empty(t, in, "once may be a stale listing")
	in, _ = s.list()
	require.Len(t, in.Missing, 2)
	s.on[found] = kept
	in, _ = s.list()
	require.Len(t, in.Back, 1, "it is there again")
	delete(s.on, found)
	for range 3 {
		in, _ = s.list()
		require.Empty(t, in.Remove)
	}
	in, _ = s.list()
	require.Len(t, in.Remove, 1)
	require.Equal(t, kept.Point.Name, in.Remove[0].Name)
	for range 10 {
		in, _ = s.list()
		require.Empty(t, in, "this cluster's own stays, for somebody to see")
	}
	require.Equal(t, v1alpha1.BackupMissing, s.facts.Points[own].Phase)
	require.Equal(t, v1alpha1.BackupReady, s.facts.Points[stays].Phase)
	s.on[found] = kept
	in, _ = s.list()
	require.Len(t, in.Make, 1, "and it would be found again")
}

// However often a target shows nothing, nothing goes because of it.
func TestAnEmptyListingDeletesNothing(t *testing.T) {
	s := newScene(t)
	for n := range 5 {
		s.put("prod", n)
	}
	s.list()
	target := s.on
	s.on = map[string]protocol.FoundDocument{}
	for range 20 {
		in, _ := s.list()
		require.Empty(t, in.Remove)
	}
	require.Len(t, s.facts.Points, 5)
	s.on = target
	in, _ := s.list()
	require.Len(t, in.Back, 5)
	require.Empty(t, in.Make)
}

// What the target did not say of the very document does not go either.
func TestWithoutADirectAnswerNothingGoes(t *testing.T) {
	s := newScene(t)
	s.put("prod", 1)
	path := s.put("prod", 2)
	s.list()
	delete(s.on, path)
	for range 10 {
		known, _ := s.index.Prepare(s.facts)
		in := s.index.Apply(s.facts, protocol.RefreshResult{Listed: 1, Unchanged: len(known) - 1, Gone: []string{path}})
		require.Empty(t, in.Remove)
	}
}

func TestPointsThatAreBeingMadeOrDeletedAreNotMissing(t *testing.T) {
	s := newScene(t)
	s.put("prod", 1)
	uploading, deleting := s.put("prod", 2), s.put("prod", 3)
	for _, path := range []string{uploading, deleting} {
		s.exists(path, false)
		delete(s.on, path)
	}
	s.phase(uploading, v1alpha1.BackupUploading)
	p := s.facts.Points[deleting]
	p.Deleting = true
	s.facts.Points[deleting] = p
	for range 6 {
		in, _ := s.list()
		require.Empty(t, in.Missing)
		require.Empty(t, in.Remove)
	}
}

func TestADocumentThatIsBeingRemovedMakesItsPointMissingAtOnce(t *testing.T) {
	s := newScene(t)
	s.put("prod", 1)
	path := s.put("prod", 2)
	s.list()
	d := s.on[path]
	d.Digest, d.Version, d.Consistency = "", "v2", v1alpha1.Consistency(protocol.Removing)
	s.on[path] = d
	in, _ := s.list()
	require.Len(t, in.Missing, 1)
	require.Contains(t, in.Missing[0].Why, "deletion has begun")
	for range 5 {
		in, _ = s.list()
		require.Empty(t, in, "it is neither back nor gone while the target holds it")
	}
	delete(s.on, path)
	var gone bool
	for range 5 {
		in, _ = s.list()
		gone = gone || len(in.Remove) == 1
	}
	require.True(t, gone)
}

func TestFaultyAndExchangedDocuments(t *testing.T) {
	s := newScene(t)
	bad, good := s.put("prod", 1), s.put("prod", 2)
	d := s.on[bad]
	d.Digest, d.Consistency = "", v1alpha1.Consistency(protocol.Damaged)
	s.on[bad] = d
	long := s.put("prod", 3)
	d = s.on[long]
	d.Origin.VM = strings.Repeat("v", 100)
	s.on[long] = d
	in, r := s.list()
	require.Len(t, in.Make, 1)
	n, faults, _ := s.index.Summary(r, in)
	require.EqualValues(t, 2, n.Faulty)
	require.Equal(t, bad, faults[0].Path)
	require.Contains(t, faults[1].Message, "100 characters")

	d = s.on[good]
	d.Version, d.Digest = "v2", "sha256:2"
	s.on[good] = d
	in, r = s.list()
	require.Equal(t, 1, in.Changed)
	require.Empty(t, in.Make)
	_, faults, _ = s.index.Summary(r, in)
	require.True(t, slices.ContainsFunc(faults, func(f v1alpha1.DocumentFault) bool {
		return f.Path == good && strings.Contains(f.Message, "it was exchanged")
	}))
	d.Version, d.Digest = "v3", "sha256:1"
	s.on[good] = d
	s.list()
	require.Equal(t, Known, s.state(good), "what was written there before is there again")
}

// What one release takes for no document, another one may know.
func TestFaultyDocumentsAreReadAnewByAnotherRelease(t *testing.T) {
	s := newScene(t)
	good, strange := s.put("prod", 1), s.put("prod", 2)
	d := s.on[strange]
	d.Consistency = "Entangled"
	s.on[strange] = d
	in, _ := s.list()
	require.Len(t, in.Make, 1)
	e, _ := s.index.Get(strange)
	require.Equal(t, Faulty, e.State)
	require.Contains(t, e.Why, `its consistency "Entangled" is none that this version knows`)
	_, r := s.list()
	require.Empty(t, r.Read)

	d = s.on[good]
	d.Version, d.Digest = "v2", "sha256:2"
	s.on[good] = d
	s.list()
	require.Equal(t, Faulty, s.state(good), "it was exchanged")

	s.index.Doubt()
	for range 2 {
		_, r = s.list()
		require.Equal(t, Faulty, s.state(good), "a point's document is what its status says")
	}
	require.Empty(t, r.Read, "once is enough")
	s.index.Doubt()
	_, r = s.list()
	require.Len(t, r.Read, 1)
	require.Equal(t, strange, r.Read[0].Path)
}

func TestIndexOutlivesItsProcess(t *testing.T) {
	s := newScene(t)
	for n := range 500 {
		s.put([]string{"prod", "lab"}[n%2], n)
	}
	s.list()
	require.Len(t, s.index.Dirty(), Shards)
	stored := NewIndex()
	size := 0
	for _, shard := range s.index.Dirty() {
		data, err := s.index.Pack(shard)
		require.NoError(t, err)
		size += len(data)
		require.NoError(t, stored.Unpack(shard, data))
		s.index.Stored(shard)
	}
	require.Empty(t, s.index.Dirty())
	require.Equal(t, 500, stored.Len())
	require.Less(t, size, 500*100)
	s.index = stored
	in, r := s.list()
	require.Empty(t, in)
	require.Empty(t, r.Read)
	require.Empty(t, stored.Dirty())
	s.put("prod", 1000)
	s.list()
	require.Len(t, s.index.Dirty(), 1, "a change writes one part")

	require.Error(t, NewIndex().Unpack(0, []byte("not compressed")))
	other := NewIndex()
	data, err := s.index.Pack(3)
	require.NoError(t, err)
	require.NoError(t, other.Unpack(4, data))
	require.Zero(t, other.Len(), "a part says nothing of what belongs to another")
}

func TestNames(t *testing.T) {
	d := protocol.FoundDocument{Point: points.Document("prod", "nightly", 1).Point}
	first := Names(d)
	require.Equal(t, "nightly", first[0])
	require.Regexp(t, "^nightly-[0-9a-f]{10}$", first[1])
	d.Point.Name = strings.Repeat("a", 51) + "." + strings.Repeat("b", 11)
	require.Len(t, d.Point.Name, 63)
	require.Regexp(t, "^a{51}-[0-9a-f]{10}$", Names(d)[1])
	d.Point.UID = points.UID(2)
	require.NotEqual(t, first[1], Names(d)[1])
}
