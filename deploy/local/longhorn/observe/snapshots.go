package observe

import (
	"strings"

	lh "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/longhorn/types/pkg/generated/enginerpc"
)

// Names of files in a replica's folder.
const (
	headPrefix     = "volume-head-"
	snapshotPrefix = "volume-snap-"
	fileSuffix     = ".img"

	// Head is the name under which a volume's head is listed among its snapshots.
	Head = "volume-head"
)

// snapshots turns a replica's disks into snapshots. A backing file is none.
func snapshots(disks map[string]*enginerpc.DiskInfo) map[string]*lh.SnapshotInfo {
	out := map[string]*lh.SnapshotInfo{}
	for file, disk := range disks {
		name, ok := snapshotName(file)
		if !ok {
			continue
		}
		parent, _ := snapshotName(disk.GetParent()) // "" for the oldest, whose parent is nothing or a backing file
		children := map[string]bool{}
		for child := range disk.GetChildren() {
			if childName, ok := snapshotName(child); ok {
				children[childName] = true
			}
		}
		out[name] = &lh.SnapshotInfo{
			Name: name, Parent: parent, Children: children,
			Removed: disk.GetRemoved(), UserCreated: disk.GetUserCreated(),
			Created: disk.GetCreated(), Size: disk.GetSize(), Labels: disk.GetLabels(),
		}
	}
	return out
}

// snapshotName is the name of the snapshot that a file holds; false for any other file.
func snapshotName(file string) (string, bool) {
	switch {
	case strings.HasPrefix(file, headPrefix) && strings.HasSuffix(file, fileSuffix):
		return Head, true
	case strings.HasPrefix(file, snapshotPrefix) && strings.HasSuffix(file, fileSuffix):
		return strings.TrimSuffix(strings.TrimPrefix(file, snapshotPrefix), fileSuffix), true
	}
	return "", false
}

func trim(url string) string { return strings.TrimPrefix(url, "tcp://") }
