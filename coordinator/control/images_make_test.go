package control

import (
	"strings"
	"testing"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/pkg/api/v1alpha1"
)

func TestBesideAnImage(t *testing.T) {
	long := strings.Repeat("x", 60)
	for name, c := range map[string]struct {
		source         v1alpha1.ImageSource
		image          string
		checksum       string
		inTheWay, seen bool
	}{
		"another":                        {v1alpha1.ImageSource{Name: "a"}, "vmi-1", "ff", false, true},
		"of the former name":             {v1alpha1.ImageSource{Name: "a"}, "here-a", "ff", true, true},
		"of a longer one":                {v1alpha1.ImageSource{Name: "a"}, "here-ab", "ff", false, true},
		"of the former name, cut":        {v1alpha1.ImageSource{Name: long}, "here-" + long[:26] + "-12345678", "ff", true, true},
		"of the backup's name":           {v1alpha1.ImageSource{Name: "a", URL: "s3://b@r/?backingImage=vmi-1", Backup: true}, "vmi-1", "ff", true, true},
		"of a download's name":           {v1alpha1.ImageSource{Name: "a", URL: "http://b/?backingImage=vmi-1"}, "vmi-1", "ff", false, true},
		"whose content is not known yet": {v1alpha1.ImageSource{Name: "a"}, "vmi-1", "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := rules.ImageFacts{Namespace: "here", Source: &c.source, Same: &rules.SameImage{Imported: true}}
			image := longhorn.BackingImage{}
			image.Name, image.Status.Checksum = c.image, c.checksum
			image.Annotations = map[string]string{rules.AnnotationImage: "here/" + c.source.Name}
			beside(&f, []longhorn.BackingImage{image})
			require.Equal(t, c.inTheWay, f.InTheWay == c.image)
			require.Equal(t, c.seen, f.Same.Imported)
		})
	}
}
