package document_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

const (
	imagePath = "harvester/vmimages/prod/image-abc.cfg"
	imageFile = `{"name":"image-abc","namespace":"prod","url":"s3://backups@eu-1/?backingImage=vmi-1","displayName":"Debian","checksum":"0123abcd","storageClassParameters":{"migratable":"true"}}`
)

func TestHarvestersImage(t *testing.T) {
	b, err := document.ParseHarvesterImage(imagePath, []byte(imageFile))
	require.NoError(t, err)
	require.Equal(t, v1alpha1.BackingImage{Name: "vmi-1", Checksum: "0123abcd", Source: &v1alpha1.ImageSource{
		Namespace: "prod", Name: "image-abc", DisplayName: "Debian", URL: "s3://backups@eu-1/?backingImage=vmi-1", Backup: true,
	}}, b)
	b, err = document.ParseHarvesterImage(imagePath, []byte(strings.Replace(imageFile, "Debian", "not a label!", 1)))
	require.NoError(t, err)
	require.Empty(t, b.Source.DisplayName)
	for from, to := range map[string]string{
		`"image-abc"`: `"another"`, `"prod"`: `"kube-system"`, "0123abcd": "zz", "s3://": "file://", "vmi-1": "../../etc",
		"?backingImage=vmi-1": "", `"prod",`: `"prod","namespace":"prod",`, "backups@eu-1": `\u0000`, `{"migratable":"true"}}`: `{}} {}`,
	} {
		_, err := document.ParseHarvesterImage(imagePath, []byte(strings.Replace(imageFile, from, to, 1)))
		require.Error(t, err, to)
	}
	for _, path := range []string{"harvester/vmimages/image-abc.cfg", "harvester/vmimages/prod/../image-abc.cfg", "harvester/vmbackups/prod/image-abc.cfg"} {
		_, err := document.ParseHarvesterImage(path, []byte(imageFile))
		require.Error(t, err, path)
	}
	_, err = document.ParseHarvesterImage(imagePath, []byte(strings.Repeat(" ", document.MaxImageBytes+1)))
	require.ErrorContains(t, err, "larger")
}

// The source of an image is a document's as everything else: hostile until checked.
func TestImageSourceOfADocument(t *testing.T) {
	image := func(m map[string]any) map[string]any {
		return m["disks"].([]any)[0].(map[string]any)["backingImage"].(map[string]any)
	}
	source := func(kv ...string) func(m map[string]any) {
		s := map[string]any{"namespace": "prod", "name": "image-abc", "url": "https://x.example.org/y.img"}
		for i := 0; i < len(kv); i += 2 {
			s[kv[i]] = kv[i+1]
		}
		return func(m map[string]any) { image(m)["source"] = s }
	}
	require.NoError(t, resigned(t, source()))
	require.NoError(t, resigned(t, source("displayName", "debian-12.qcow2")))
	for says, change := range map[string]func(map[string]any){
		"not a namespace of an image":    source("namespace", "../x"),
		"not a name of a image":          source("name", "../x"),
		"not a display name":             source("displayName", "a/b"),
		"begins with \"file\"":           source("url", "file:///etc/passwd"),
		"begins with \"s3\"":             source("url", "s3://b@r/?backingImage=x"),
		"names no host":                  source("url", "http:///x"),
		"has a user or a query":          source("url", "https://user:canary@x/y"),
		"is not one":                     source("url", "https://x/"+strings.Repeat("y", 3000)),
		"the URL of an image is not one": source("url", "https://x/\x1b[2J"),
	} {
		err := resigned(t, change)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "canary")
	}
}

func FuzzParseHarvesterImage(f *testing.F) {
	f.Add([]byte(imageFile))
	f.Add([]byte(strings.Replace(imageFile, "vmi-1", "..%2f..%2fetc", 1)))
	f.Add([]byte(`{"name":"image-abc","namespace":"prod","url":"s3://x/?backingImage="}`))
	f.Add([]byte(strings.Repeat("[", 10000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := document.ParseHarvesterImage(imagePath, data)
		if err != nil {
			return
		}
		if strings.ContainsAny(b.Name+b.Source.Name+b.Source.Namespace, "/\\?&=%\x00") || b.Name == "" || !b.Source.Backup {
			t.Fatalf("accepted %+v of %q", b, data)
		}
		if _, err := json.Marshal(b); err != nil {
			t.Fatal(err)
		}
	})
}
