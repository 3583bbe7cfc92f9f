package api

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(2, 3)
		for range 3 {
			require.Zero(t, l.take("a"))
		}
		require.Equal(t, 500*time.Millisecond, l.take("a"))
		require.Equal(t, 500*time.Millisecond, l.take("a"), "a request that is refused uses nothing up")
		require.Zero(t, l.take("b"), "another caller")
		time.Sleep(500 * time.Millisecond)
		require.Zero(t, l.take("a"))
		require.NotZero(t, l.take("a"))
	})
}

func TestStreams(t *testing.T) {
	s := newStreams(3, 2)
	done, ok := s.open("a")
	require.True(t, ok)
	_, ok = s.open("a")
	require.True(t, ok)
	_, ok = s.open("a")
	require.False(t, ok, "a has as many as one may")
	_, ok = s.open("b")
	require.True(t, ok)
	_, ok = s.open("c")
	require.False(t, ok, "there are as many as all may have")
	done()
	_, ok = s.open("c")
	require.True(t, ok)
}

func TestKeyName(t *testing.T) {
	require.Equal(t, keyName("u", "k"), keyName("u", "k"))
	for _, other := range []string{keyName("u", "l"), keyName("v", "k"), keyName("uk", "")} {
		require.NotEqual(t, keyName("u", "k"), other)
	}
	require.Regexp(t, `^api-[a-z2-7]{32}$`, keyName("system:serviceaccount:ci:backup", "nightly"))
}

func TestFreshName(t *testing.T) {
	at := time.Date(2026, 11, 26, 4, 5, 6, 0, time.FixedZone("", 3600))
	require.Regexp(t, `^web-20261126-030506-[a-z0-9]{4}$`, freshName("web", at))
	long := freshName("a123456789012345678901234567890123456789-bcdefghijklmnopqrstuvwx", at)
	require.LessOrEqual(t, len(long), 63)
	require.NotEqual(t, freshName("web", at), freshName("web", at))
}

func TestDigest(t *testing.T) {
	of := func(operation string, body any) string {
		d, err := digest(operation, body)
		require.NoError(t, err)
		return d
	}
	one := BackupRequest{PointRequest: PointRequest{VM: "web"}, Target: "s3"}
	require.Equal(t, of("create-backup", one), of("create-backup", one))
	require.NotEqual(t, of("create-backup", one), of("create-snapshot", one))
	one.Note = "n"
	require.NotEqual(t, of("create-backup", BackupRequest{PointRequest: PointRequest{VM: "web"}, Target: "s3"}), of("create-backup", one))
}
