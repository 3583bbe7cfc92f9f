package words

import (
	"testing"

	"github.com/stretchr/testify/require"
)

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
