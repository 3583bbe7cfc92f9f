package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const aPage = `<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/</Prefix><KeyCount>2</KeyCount>
<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken>
<Contents><Key>p/one%2Bmore</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>&quot;e1&quot;</ETag><Size>12</Size>
<Owner><ID>x</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>
<Contents><Key>p/%zz</Key><LastModified>2026-01-02T00:00:00Z</LastModified><ETag></ETag><Size>0</Size></Contents>
</ListBucketResult>`

func TestListing(t *testing.T) {
	var files []File
	l := listing{prefix: "p/", see: func(f File) error { files = append(files, f); return nil }}
	require.NoError(t, l.read(strings.NewReader(aPage)))
	require.True(t, l.more)
	require.Equal(t, "a&b", l.next)
	require.Equal(t, []File{{"p/one+more", 12, "e1"}, {"p/%zz", 0, "2026-01-02T00:00:00Z"}}, files)

	for cut := range len(aPage) - 1 {
		l := listing{prefix: "p/", see: func(File) error { return nil }}
		require.Error(t, l.read(strings.NewReader(aPage[:cut])), "cut off after %d bytes", cut)
	}
}

func TestWhoIsToldEndsAListing(t *testing.T) {
	enough := fmt.Errorf("enough")
	l := listing{prefix: "p/", see: func(File) error { return enough }}
	require.ErrorIs(t, l.read(strings.NewReader(aPage)), enough)
	require.ErrorIs(t, l.seen, enough)
}

// FuzzListing looks for answers on which reading a listing panics, or that tell of
// what was not asked for.
func FuzzListing(f *testing.F) {
	f.Add([]byte(aPage))
	f.Add([]byte("<ListBucketResult><Contents><Key/><Size>1</Size></Contents></ListBucketResult>"))
	f.Add([]byte("<ListBucketResult><Contents><Key>p/<b>x</b></Key></Contents></ListBucketResult>"))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := listing{prefix: "p/", see: func(file File) error {
			if !strings.HasPrefix(file.Path, "p/") {
				t.Fatalf("told of %q", file.Path)
			}
			return nil
		}}
		_ = l.read(strings.NewReader(string(data)))
	})
}
