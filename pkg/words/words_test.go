package words

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                     "plain",
		"größer":                    "größer",
		"\x1b]0;title\x07 a\nb\tc":  " ]0;title  a b c",
		"\xff\xfe":                  "  ",
		"a\u202eb\u0000":            "a b ",
		strings.Repeat("x", 30):     strings.Repeat("x", 17) + "...",
		strings.Repeat("ä", 12):     strings.Repeat("ä", 8) + "...",
		strings.Repeat("x", 20):     strings.Repeat("x", 20),
		strings.Repeat("\x00", 1e6): strings.Repeat(" ", 17) + "...",
	} {
		require.Equal(t, want, Clean(in, 20))
	}
}

func TestCount(t *testing.T) {
	for want, n := range map[string]int{"0 disks": 0, "1 disk": 1, "2 disks": 2, "-1 disks": -1} {
		require.Equal(t, want, Count(n, "disk"))
	}
}

func TestVerb(t *testing.T) {
	require.Equal(t, "is", Verb(1, "is", "are"))
	require.Equal(t, "are", Verb(0, "is", "are"))
	require.Equal(t, "are", Verb(2, "is", "are"))
}
