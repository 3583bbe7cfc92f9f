package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/control"
)

func TestShareFlags(t *testing.T) {
	none, err := (&shareFlags{user: 65534}).pods("targetio", "/mounts")
	require.NoError(t, err)
	require.Nil(t, none, "shares are mounted")
	got, err := (&shareFlags{pod: "c-0", user: 1000, claims: "nas=a,files=b"}).pods("/bin/targetio", "")
	require.NoError(t, err)
	require.Equal(t, &control.SharePods{
		Pod: "c-0", Container: "coordinator", Program: "/bin/targetio", User: 1000, Claims: map[string]string{"nas": "a", "files": "b"},
	}, got)
	for says, f := range map[string]shareFlags{
		"claims are for the Pods of shares":      {claims: "nas=a"},
		`--share-claims has "nas": give TARGET=`: {pod: "c-0", claims: "nas"},
		"--share-user is -1":                     {pod: "c-0", user: -1},
	} {
		_, err := f.pods("targetio", "")
		require.ErrorContains(t, err, says)
	}
	_, err = (&shareFlags{pod: "c-0"}).pods("targetio", "/mounts")
	require.ErrorContains(t, err, "leave out one of them")
}
