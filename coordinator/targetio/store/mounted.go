package store

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"hayloft.dev/coordinator/shares"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// share is an NFS export or a CIFS share that somebody has mounted for this
// process. Where it is not, what is written would stay behind on a disk that has
// nothing to do with the target.
type share struct {
	directory
	field, source string // as in the target's spec, and as the kernel shows it
}

func newShare(spec v1alpha1.BackupTargetSpec, dir string, requests *atomic.Int64) (backend, error) {
	if dir == "" {
		return nil, &protocol.Error{Reason: protocol.Invalid, Message: fmt.Sprintf(
			"%s is a share, and the coordinator was not told where shares are mounted for it: start it with --target-mounts", shares.Field(spec))}
	}
	return shareAt(dir, shares.Source(spec), shares.Field(spec), requests), nil
}

func shareAt(root, source, field string, requests *atomic.Int64) share {
	s := share{directory: directory{root: root, requests: requests}, field: field, source: source}
	s.directory.mounted = s.mounted
	return s
}

// mounted asks the kernel, which answers also while the server does not.
func (s share) mounted() error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fileError("reading what is mounted", err)
	}
	kind, source, found := mountAt(string(data), s.root)
	switch {
	case !found:
		return &protocol.Error{Reason: protocol.NotFound, Transient: true, Message: fmt.Sprintf(
			"%s (%s) is not mounted at %s where the target worker runs: mount it there", s.source, s.field, s.root)}
	case network(kind) && strings.TrimRight(source, "/") != strings.TrimRight(s.source, "/"):
		return &protocol.Error{Reason: protocol.Mismatch, Message: fmt.Sprintf(
			"%s is mounted at %s, and %s is %s: mount that there, or correct the target", source, s.root, s.field, s.source)}
	}
	return nil
}

func network(kind string) bool {
	return strings.HasPrefix(kind, "nfs") || kind == "cifs" || strings.HasPrefix(kind, "smb")
}

// mountAt finds the file system that is mounted at a place, the last one if there
// are several, in the form of proc_pid_mountinfo(5).
func mountAt(mountinfo, place string) (kind, source string, found bool) {
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		where, what := strings.Fields(before), strings.Fields(after)
		if !ok || len(where) < 5 || len(what) < 2 || unescaped(where[4]) != strings.TrimRight(place, "/") {
			continue
		}
		kind, source, found = what[0], unescaped(what[1]), true
	}
	return kind, source, found
}

// unescaped turns the kernel's \040 into a blank, and so on.
func unescaped(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
