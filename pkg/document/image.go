package document

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"hayloft.dev/pkg/api/v1alpha1"
)

// HarvesterImageDir holds Harvester's files of the images that Longhorn has backed up
// to the target, by namespace (harvester, pkg/controller/master/backup,
// backup_backing_image.go).
const HarvesterImageDir = "harvester/vmimages"

// MaxImageBytes bounds such a file, which has a few hundred.
const MaxImageBytes = 64 << 10

var harvesterImagePattern = regexp.MustCompile(`^harvester/vmimages/([^/]{1,63})/([^/]{1,253})\.cfg$`)

// maxURL bounds a URL.
const maxURL = 2048

// ParseHarvesterImage reads one of Harvester's files of images: what the image is
// made of, and the checksum of its content.
func ParseHarvesterImage(path string, data []byte) (v1alpha1.BackingImage, error) {
	m := harvesterImagePattern.FindStringSubmatch(path)
	if m == nil {
		return v1alpha1.BackingImage{}, fmt.Errorf("%s is not the path of an image of Harvester's", shown(path))
	}
	if len(data) > MaxImageBytes {
		return v1alpha1.BackingImage{}, fmt.Errorf("image of Harvester's: it is larger than the %d bytes that are allowed", MaxImageBytes)
	}
	if _, err := tree(data); err != nil {
		return v1alpha1.BackingImage{}, fmt.Errorf("image of Harvester's: %w", err)
	}
	var file struct {
		Name, Namespace, URL, DisplayName, Checksum string
	}
	if json.Unmarshal(data, &file) != nil {
		return v1alpha1.BackingImage{}, errors.New("image of Harvester's: it is not what Harvester writes")
	}
	if file.Name != m[2] || file.Namespace != m[1] {
		return v1alpha1.BackingImage{}, fmt.Errorf("image of Harvester's: it is of %s/%s, not of what its name says", shown(file.Namespace), shown(file.Name))
	}
	out := v1alpha1.BackingImage{
		Name: BackedImage(file.URL), Checksum: file.Checksum,
		Source: &v1alpha1.ImageSource{Namespace: file.Namespace, Name: file.Name, DisplayName: file.DisplayName, URL: file.URL, Backup: true},
	}
	if len(validation.IsValidLabelValue(file.DisplayName)) > 0 {
		out.Source.DisplayName = ""
	}
	return out, checkImage(&out)
}

// BackedImage is the backing image that a URL of Longhorn's backup of one names, ""
// if it names none.
func BackedImage(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Query().Get("backingImage")
}

func checkImage(b *v1alpha1.BackingImage) error {
	if err := dnsName("backing image", b.Name); err != nil {
		return err
	}
	if !hexDigits.MatchString(b.Checksum) {
		return fmt.Errorf("%s is not a checksum of a backing image", shown(b.Checksum))
	}
	s := b.Source
	if s == nil {
		return nil
	}
	if len(validation.IsDNS1123Label(s.Namespace)) > 0 {
		return fmt.Errorf("%s is not a namespace of an image", shown(s.Namespace))
	}
	if err := dnsName("image", s.Name); err != nil {
		return err
	}
	// Harvester has it as a label too.
	if len(validation.IsValidLabelValue(s.DisplayName)) > 0 {
		return fmt.Errorf("%s is not a display name of an image", shown(s.DisplayName))
	}
	return checkImageURL(s)
}

// ImageURL refuses a URL that Longhorn could not fetch an image from, or that holds
// credentials, which belong into no document.
func ImageURL(raw string) error {
	return checkImageURL(&v1alpha1.ImageSource{URL: raw})
}

func checkImageURL(s *v1alpha1.ImageSource) error {
	if s.URL == "" {
		return nil
	}
	schemes := []string{"http", "https"}
	if s.Backup {
		schemes = []string{"s3", "nfs", "cifs", "azblob"}
	}
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || len(s.URL) > maxURL || strings.ContainsFunc(s.URL, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("the URL of an image is not one") // it could hold credentials
	case !slices.Contains(schemes, u.Scheme):
		return fmt.Errorf("the URL of an image begins with %s, not with one of %s", shown(u.Scheme), strings.Join(schemes, ", "))
	case u.Host == "":
		return errors.New("the URL of an image names no host")
	case s.Backup && BackedImage(s.URL) == "":
		return errors.New("the URL of the backup of an image names no image")
	case !s.Backup && (u.User != nil || u.RawQuery != "" || u.Fragment != ""):
		return errors.New("the URL of an image has a user or a query, which may be credentials")
	}
	return nil
}
