package rules

import (
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestRecreate(t *testing.T) {
	const url = "https://images.example.org/debian.qcow2"
	for name, c := range map[string]struct {
		change func(*ImageFacts)
		step   ImageStep
		says   string
	}{
		"made": {func(*ImageFacts) {}, ImageMake, ""},
		"made from Longhorn's backup": {func(f *ImageFacts) {
			f.Source.URL, f.Source.Backup, f.Backed = "s3://b@r/?backingImage=vmi-1", true, true
		}, ImageMake, ""},
		"no such kind":              {func(f *ImageFacts) { f.Kind = false }, "", "has no VirtualMachineImages"},
		"not one of Harvester's":    {func(f *ImageFacts) { f.Source = nil }, "", "does not say which VirtualMachineImage"},
		"nothing to fetch it from":  {func(f *ImageFacts) { f.Source.URL = "" }, "", "VirtualMachineImage prod/image-a was uploaded"},
		"not asked for":             {func(f *ImageFacts) { f.Images = "" }, "", "spec.images does not say Recreate, which would have it made again from " + url},
		"not wanted":                {func(f *ImageFacts) { f.Images = v1alpha1.ImagesRequire }, "", "spec.images does not say Recreate"},
		"a URL of anybody's":        {func(f *ImageFacts) { f.Found = true }, "", "the only source is " + url + ", which a document names that was found on a target and may be anybody's: set spec.images to Fetch"},
		"a URL that may be fetched": {func(f *ImageFacts) { f.Found, f.Images = true, v1alpha1.ImagesFetch }, ImageMake, ""},
		"found, with a backup": {func(f *ImageFacts) {
			f.Found, f.Source.URL, f.Source.Backup, f.Backed = true, "s3://b@r/?backingImage=vmi-1", true, true
		}, ImageMake, ""},
		"its backup is not known":   {func(f *ImageFacts) { f.Source.Backup = true }, "", "Longhorn here does not know a backup of that content"},
		"another would be deleted":  {func(f *ImageFacts) { f.InTheWay = "here-image-a" }, "", "Harvester would delete backing image here-image-a"},
		"without a display name":    {func(f *ImageFacts) { f.Source.DisplayName, f.Displayed = "", "image-b" }, "", "has its display name image-a"},
		"its display name is taken": {func(f *ImageFacts) { f.Displayed = "image-b" }, "", "VirtualMachineImage here/image-b has its display name Debian"},
		"being imported":            {func(f *ImageFacts) { f.Same = &SameImage{Checksum: "AB"} }, ImageWait, ""},
		"being imported by hand":    {func(f *ImageFacts) { f.Same, f.Images = &SameImage{}, "" }, ImageWait, ""},
		"another of the same name":  {func(f *ImageFacts) { f.Same = &SameImage{Checksum: "cd"} }, "", "VirtualMachineImage here/image-a is another image"},
		"another that is imported":  {func(f *ImageFacts) { f.Same = &SameImage{Imported: true} }, "", "is another image"},
		"not to be had":             {func(f *ImageFacts) { f.Same = &SameImage{Checksum: "ab", Failed: "404"} }, "", "could not be imported (404): delete it"},
	} {
		t.Run(name, func(t *testing.T) {
			f := ImageFacts{
				Source:    &v1alpha1.ImageSource{Namespace: "prod", Name: "image-a", DisplayName: "Debian", URL: url},
				Namespace: "here", Kind: true, Images: v1alpha1.ImagesRecreate,
			}
			c.change(&f)
			step, r := Recreate(Image{Disk: "root", Name: "vmi-1", Checksum: "ab", Lacking: f})
			require.Equal(t, c.step, step)
			if c.says == "" {
				require.Nil(t, r)
				return
			}
			require.NotNil(t, r)
			require.Contains(t, r.Sentence, "disk root needs Longhorn's backing image vmi-1 with checksum ab, which does not exist here, ")
			require.Contains(t, r.Sentence, c.says)
		})
	}
}

func TestImageSource(t *testing.T) {
	image := func(id, kind, url string) *longhorn.BackingImage {
		b := &longhorn.BackingImage{}
		b.Annotations = map[string]string{AnnotationImage: id}
		b.Spec.SourceType, b.Spec.SourceParameters = longhorn.BackingImageDataSourceType(kind), map[string]string{"url": url}
		return b
	}
	require.Equal(t, &v1alpha1.ImageSource{Namespace: "prod", Name: "image-a", DisplayName: "Debian", URL: "http://x/y"}, ImageSource(image("prod/image-a", "download", "http://x/y"), "Debian"))
	require.Nil(t, ImageSource(image("", "download", "http://x/y"), ""), "none of Harvester's")
	require.Nil(t, ImageSource(image("../x/y", "download", "http://x/y"), ""))
	for _, url := range []string{"http://user:word@x/y", "https://x/y?token=word", "file:///etc/passwd", "http://", "x"} {
		got := ImageSource(image("prod/image-a", "download", url), "not a label")
		require.Equal(t, &v1alpha1.ImageSource{Namespace: "prod", Name: "image-a"}, got, url)
	}
	require.Empty(t, ImageSource(image("prod/image-a", "upload", "http://x/y"), "").URL)
}
