package forgotten

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	at := time.Date(2026, 3, 1, 4, 5, 6, 0, time.UTC)
	want := Point{Namespace: "shop", Name: "web-1", UID: "u", Reason: "Retained", At: at}
	require.Equal(t, want, Parse("u", Text("shop", "web-1", "Retained", at)))
	require.True(t, IsName("shop/web-1"))
	require.True(t, IsName("c2000000-0000-4000-8000-000000000002"))
	for _, s := range []string{"", "web", "shop/", "shop/a,b", "shop/a b", "all", "shop/web/x"} {
		require.False(t, IsName(s), s)
	}
	require.Equal(t, Point{UID: "u", Namespace: "odd"}, Parse("u", "odd"), "what somebody else wrote there breaks nothing")
}
