package names

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

const point = types.UID("0f6e3c1a-1111-4222-8333-444455556666")

func TestNamesAreDistinct(t *testing.T) {
	require.NotEqual(t, Snapshot(point, 1, "root"), Snapshot(point, 2, "root"))
	require.NotEqual(t, Snapshot(point, 1, "root"), Snapshot(point, 1, "data"))
	require.NotEqual(t, Backup(point, "root", 1), Backup(point, "root", 2))
	require.NotEqual(t, Volume(point, "root", 1), Volume(point, "root", 2))
	require.NotEqual(t, Job("cut", point, "", 1), Job("cut", point, "", 2))
	require.NotEqual(t, Backup(point, "1-a", 1), Backup(point, "a", 11))
}

func TestNamesAreLegal(t *testing.T) {
	long := strings.Repeat("d", 63)
	require.LessOrEqual(t, len(Volume(point, long, 99)), 39)
	for _, n := range []string{Snapshot(point, 9, long), Backup(point, long, 9), Volume(point, long, 9), Job("restore", point, "Disk_1.x", 9)} {
		require.Empty(t, validation.IsDNS1123Subdomain(n), n)
	}
}

func TestSnapshotPoint(t *testing.T) {
	uid, ok := SnapshotPoint(Snapshot(point, 12, "root-c1-x"))
	require.True(t, ok)
	require.Equal(t, point, uid)
	for _, s := range []string{"", "volume-head", "hl-", "hl-" + string(point), "hl-" + string(point) + "-c0-x", "c-" + string(point) + "-c1-x", Backup(point, "root", 1)} {
		_, ok := SnapshotPoint(s)
		require.False(t, ok, s)
	}
}

func TestTicketRoundTrip(t *testing.T) {
	s, e, ok := ParseTicket(Ticket("node-1-0a1b2c3d", 17))
	require.True(t, ok)
	require.Equal(t, "node-1-0a1b2c3d", s)
	require.EqualValues(t, 17, e)
	for _, id := range []string{"", "csi-1", "hayloft-", "hayloft-x", "hayloft--1", "hayloft-s-0", "hayloft-s-x"} {
		_, _, ok := ParseTicket(id)
		require.False(t, ok, id)
	}
}

func TestScheduled(t *testing.T) {
	at := time.Date(2026, 11, 26, 2, 0, 0, 0, time.UTC)
	require.Regexp(t, `^web-20261126-020000-[0-9a-f]{10}$`, Scheduled(point, "web", at))
	require.Equal(t, Scheduled(point, "web", at), Scheduled(point, "web", at.In(time.FixedZone("", 3600))))
	long := strings.Repeat("v", 35) + "-x"
	all := map[string]bool{}
	for _, vm := range []string{"web", "web-1", long, long + "y", long + "z", strings.Repeat("v", 63)} {
		for _, when := range []time.Time{at, at.Add(time.Second)} {
			for _, schedule := range []string{string(point), "another"} {
				n := Scheduled("uid-"+types.UID(schedule), vm, when)
				require.LessOrEqual(t, len(n), 63)
				require.Empty(t, validation.IsDNS1123Label(n), n)
				all[n] = true
			}
		}
	}
	require.Len(t, all, 6*2*2, "no two are alike")
}

func TestSnapshotCut(t *testing.T) {
	const point = types.UID("00000003-0000-4000-8000-000000000003")
	for name, want := range map[string]struct {
		cut int32
		ok  bool
	}{
		Snapshot(point, 1, "root"):             {1, true},
		Snapshot(point, 200, "root"):           {200, true},
		Snapshot(point, 1, "data"):             {0, false},
		Snapshot("a-point", 1, "root"):         {0, false},
		"hl-" + string(point) + "-c01-root":    {0, false},
		Backup(point, "root", 1):               {0, false},
		"by-hand":                              {0, false},
		Snapshot(point, 1, "root") + "-second": {0, false},
	} {
		of, cut, ok := SnapshotCut(name, "root")
		require.Equal(t, want.ok, ok, name)
		require.Equal(t, want.cut, cut, name)
		require.Equal(t, want.ok, of == point, name)
	}
}
