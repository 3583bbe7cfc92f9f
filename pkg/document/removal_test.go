package document_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/document"
)

func removal() document.Removal {
	return document.Removal{
		Point:   document.Point{UID: whole(1).Point.UID, Name: "p1", Namespace: "prod"},
		Backups: []document.RemovedBackup{{Volume: "pvc-1", Backup: own(1)}, {Volume: "pvc-1", Backup: own(2)}},
	}
}

// own is the n-th attempt of the point to be removed.
func own(n int) string { return fmt.Sprintf("hl-%s-a%d-disk-0", whole(1).Point.UID, n) }

func TestRemovalRoundTrip(t *testing.T) {
	data, err := document.EncodeRemoval(removal())
	require.NoError(t, err)
	back, err := document.ParseRemoval(data)
	require.NoError(t, err)
	require.Equal(t, removal().Backups, back.Backups)
	require.Equal(t, removal().Point.UID, back.Point.UID)
	again, err := document.EncodeRemoval(*back)
	require.NoError(t, err)
	require.Equal(t, string(data), string(again))
}

// A point that is being removed is none, and says so.
func TestARemovalIsNoDocument(t *testing.T) {
	data, err := document.EncodeRemoval(removal())
	require.NoError(t, err)
	_, err = document.Parse(data)
	require.ErrorIs(t, err, document.ErrRemoving)
	_, err = document.ParseRemoval(encoded(t, whole(1)))
	require.Error(t, err)
	_, err = document.ParseRemoval(bytes.Replace(data, []byte(own(2)), []byte(own(3)), 1))
	require.ErrorContains(t, err, "damaged or changed")
	require.ErrorIs(t, resigned(t, func(m map[string]any) { m["removing"] = false }), document.ErrRemoving,
		"what says anything about it is not believed to be whole")
}

func TestRemovalRefuses(t *testing.T) {
	for says, change := range map[string]func(*document.Removal){
		"not a name of a volume": func(r *document.Removal) { r.Backups[0].Volume = "../v" },
		"not a name of a backup": func(r *document.Removal) { r.Backups[1].Backup = "b&volume=x" },
		"not a namespace":        func(r *document.Removal) { r.Point.Namespace = "a/b" },
		"not made for this point": func(r *document.Removal) {
			r.Backups[1].Backup = strings.Replace(own(1), string(r.Point.UID), string(uid(9)), 1)
		},
		"UID of a point": func(r *document.Removal) { r.Point.UID = "1" },
	} {
		r := removal()
		change(&r)
		_, err := document.EncodeRemoval(r)
		require.ErrorContains(t, err, says)
	}
}
