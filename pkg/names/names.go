// Package names makes the names that Hayloft gives to things outside its own
// API: engine snapshots, Longhorn backups and volumes, leases and jobs.
//
// A name is a function of what the thing is for, so that a second maker meets
// the first one's work, and it is never used for two different things: the
// engine picks an incremental's base by snapshot name, and overwrites a backup
// of the same name, both without an error. It holds no other rules.
package names

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"
)

// Prefix of every name that Hayloft gives on engines and targets.
const Prefix = "hl-"

// space is the namespace of the name-based UUIDs made here; its value is
// arbitrary and must never change.
var space = uuid.MustParse("5f0ae1f5-5f55-4d9f-9a6c-1c2b8f6f7a0e")

// Snapshot is the engine snapshot of one disk in the cut-th cut of a point.
func Snapshot(point types.UID, cut int32, disk string) string {
	return fmt.Sprintf("%s%s-c%d-%s", Prefix, point, cut, disk)
}

var snapshotName = regexp.MustCompile(`^hl-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-c([1-9][0-9]{0,8})-(.+)$`)

// SnapshotPoint tells which point an engine snapshot was cut for; false when
// the snapshot is not Hayloft's.
func SnapshotPoint(snapshot string) (types.UID, bool) {
	m := snapshotName.FindStringSubmatch(snapshot)
	if m == nil {
		return "", false
	}
	return types.UID(m[1]), true
}

// SnapshotCut tells in which cut of which point an engine snapshot of a disk was
// taken; false when the snapshot is not Hayloft's of a disk of that name.
func SnapshotCut(snapshot, disk string) (point types.UID, cut int32, ok bool) {
	m := snapshotName.FindStringSubmatch(snapshot)
	if m == nil || m[3] != disk {
		return "", 0, false
	}
	n, err := strconv.ParseInt(m[2], 10, 32)
	return types.UID(m[1]), int32(n), err == nil
}

// Backup is the Longhorn backup of one disk of a point, in one attempt.
func Backup(point types.UID, disk string, attempt int32) string {
	return fmt.Sprintf("%s%s-a%d-%s", Prefix, point, attempt, disk)
}

var backupName = regexp.MustCompile(`^hl-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-a([1-9][0-9]{0,8})-(.+)$`)

// BackupPoint tells which point a Longhorn backup was made for; false when the
// backup is not Hayloft's.
func BackupPoint(backup string) (types.UID, bool) {
	m := backupName.FindStringSubmatch(backup)
	if m == nil {
		return "", false
	}
	return types.UID(m[1]), true
}

// Volume is the Longhorn volume made for one attempt to restore one disk. It
// is 39 characters long: Longhorn puts volume names into label values (63) and
// socket paths (108).
func Volume(restore types.UID, disk string, attempt int32) string {
	return Prefix + uuid.NewSHA1(space, fmt.Appendf(nil, "%s/%s/%d", restore, disk, attempt)).String()
}

// RestoreDisk is the name of the restored replica's snapshot file: one per
// volume, since a volume is restored into once.
func RestoreDisk(volume string) string {
	return "volume-snap-" + volume + ".img"
}

// VolumeLease is the Lease of a Longhorn volume.
func VolumeLease(volume string) string { return "volume-" + volume }

// SessionLease is the heartbeat Lease of an agent session.
func SessionLease(session string) string { return "session-" + session }

// Job is the NodeJob for one kind of work ("cut", "backup", "restore", "clone",
// "remove") of an owner, for one disk ("" for all) and attempt.
func Job(kind string, owner types.UID, disk string, attempt int32) string {
	parts := []string{kind, string(owner)}
	if disk != "" {
		parts = append(parts, Short(disk))
	}
	return fmt.Sprintf("%s-%d", strings.Join(parts, "-"), attempt)
}

// Short is a 10 character digest of s, for names whose readable form would be
// too long or hold characters that a DNS label may not.
func Short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:5])
}

// Scheduled is the VMBackup that a VMSchedule makes of a VM for a nominal time:
// sorted by time below its VM for people, and told from those of every other
// schedule, VM and time by a digest, where a long name of the VM is cut.
func Scheduled(schedule types.UID, vm string, nominal time.Time) string {
	tail := nominal.UTC().Format("-20060102-150405-") + Short(fmt.Sprintf("%s/%s/%d", schedule, vm, nominal.Unix()))
	if room := maxPoint - len(tail); len(vm) > room {
		vm = strings.TrimRight(vm[:room], "-.")
	}
	return vm + tail
}

// maxPoint is the longest name of a VMBackup, by the rule in its CRD.
const maxPoint = 63

// PointSecret is the Secret that holds the document of a point of type Snapshot.
func PointSecret(point types.UID) string { return "hayloft-point-" + string(point) }

// TicketPrefix begins the id of every attachment ticket of ours. Longhorn
// never collects tickets, so whoever sees one must be able to tell whose it is.
const TicketPrefix = "hayloft-"

// Ticket is the attachment ticket of a session that holds a volume's lease at
// an epoch.
func Ticket(session string, epoch int64) string {
	return fmt.Sprintf("%s%s-%d", TicketPrefix, session, epoch)
}

// ParseTicket tells whose ticket an id is; false when it is not ours.
func ParseTicket(id string) (session string, epoch int64, ok bool) {
	rest, found := strings.CutPrefix(id, TicketPrefix)
	i := strings.LastIndexByte(rest, '-')
	if !found || i <= 0 {
		return "", 0, false
	}
	epoch, err := strconv.ParseInt(rest[i+1:], 10, 64)
	if err != nil || epoch < 1 {
		return "", 0, false
	}
	return rest[:i], epoch, true
}
