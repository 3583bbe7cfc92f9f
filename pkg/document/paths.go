package document

import (
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// maxPointName is the longest name of a VMBackup; its CRD says the same.
const maxPointName = 63

var (
	uidPattern   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	pointPattern = regexp.MustCompile(`^hayloft/points/([^/]{1,63})/([^/]{1,63})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.json$`)
)

// PointPath is where a point's document lies, relative to the target.
func PointPath(namespace, name string, uid types.UID) (string, error) {
	if err := checkPoint(namespace, name, uid); err != nil {
		return "", err
	}
	return fmt.Sprintf("hayloft/points/%s/%s-%s.json", namespace, name, uid), nil
}

// DraftPath is where a point's draft lies until its disks are in.
func DraftPath(uid types.UID) (string, error) {
	if !uidPattern.MatchString(string(uid)) {
		return "", fmt.Errorf("%s is not the UID of a point", shown(uid))
	}
	return fmt.Sprintf("hayloft/drafts/%s.json", uid), nil
}

// CheckPath refuses a path that PointPath could not have made, nor Harvester.
func CheckPath(path string) error {
	_, err := ParsePath(path)
	return err
}

// ParsePath tells which point's document lies at a path that PointPath has made, or
// Harvester; the point's times are not in it.
func ParsePath(path string) (Point, error) {
	if ByHarvester(path) {
		return parseHarvesterPath(path)
	}
	m := pointPattern.FindStringSubmatch(path)
	if m == nil {
		return Point{}, fmt.Errorf("%s is not the path of a point's document", shown(path))
	}
	p := Point{Namespace: m[1], Name: m[2], UID: types.UID(m[3])}
	return p, checkPoint(p.Namespace, p.Name, p.UID)
}

func checkPoint(namespace, name string, uid types.UID) error {
	if len(validation.IsDNS1123Label(namespace)) > 0 {
		return fmt.Errorf("%s is not a namespace", shown(namespace))
	}
	if len(validation.IsDNS1123Subdomain(name)) > 0 || len(name) > maxPointName {
		return fmt.Errorf("%s is not the name of a point: a DNS name of at most %d characters is", shown(name), maxPointName)
	}
	if !uidPattern.MatchString(string(uid)) {
		return fmt.Errorf("%s is not the UID of a point", shown(uid))
	}
	return nil
}
