package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
)

// RefreshRequest asks what documents are on a target, by difference to what is
// known: what is known by path and version is not read again.
type RefreshRequest struct {
	// Known documents, as Known makes them, in any order.
	Known []string `json:"known,omitempty"`
	// Confirm are paths of documents that former listings lacked: if this one
	// lacks them too, each is asked for by itself. At most MaxConfirmed.
	Confirm []string `json:"confirm,omitempty"`
	// MaxDocuments ends a listing that finds more, as one that is not whole.
	MaxDocuments int `json:"maxDocuments"`
	// MaxRead bounds the documents that are read.
	MaxRead int `json:"maxRead"`
	// CPUMilliseconds is the CPU time after which no further document is read. A
	// worker that takes much more is ended by the kernel.
	CPUMilliseconds int64 `json:"cpuMilliseconds"`
}

// MaxConfirmed bounds RefreshRequest.Confirm.
const MaxConfirmed = 100

// AnyVersion is the version of a known document that is taken as it is now.
const AnyVersion = "*"

// VersionOf makes a short version of a file's size and of what its target calls
// its version.
func VersionOf(size int64, version string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", size, version))
	return hex.EncodeToString(sum[:8])
}

// Known is a document that need not be read while its version is this one.
func Known(path, version string) string { return version + " " + path }

// ParseKnown splits what Known has made.
func ParseKnown(s string) (path, version string) {
	version, path, _ = strings.Cut(s, " ")
	return path, version
}

// RefreshResult is what a whole listing found. Of a listing that is not whole
// there is none, but an error.
type RefreshResult struct {
	// Listed documents, Unchanged ones among them.
	Listed    int `json:"listed"`
	Unchanged int `json:"unchanged"`
	// Seen are documents whose version was not known (AnyVersion), with their
	// version, as Known makes them.
	Seen []string `json:"seen,omitempty"`
	// Read are documents that were read and are whole.
	Read []FoundDocument `json:"read,omitempty"`
	// Faults are files that are not whole documents.
	Faults []FaultyDocument `json:"faults,omitempty"`
	// Strange is how many files are not named as documents are; the first of them
	// are among the Faults, without a version.
	Strange int `json:"strange,omitempty"`
	// Unread is how many documents are new or changed and were not read.
	Unread int `json:"unread,omitempty"`
	// Gone are the known paths that were not listed.
	Gone []string `json:"gone,omitempty"`
	// Absent are the paths to confirm that the target says it does not have.
	Absent []string `json:"absent,omitempty"`
	// Identity is why this cluster could not restore the Secrets that it encrypts;
	// empty: it can, or encrypts none.
	Identity string `json:"identity,omitempty"`
}

// Cost of one operation, as the worker's caller measured it.
type Cost struct {
	// CPU time of the worker, its children and the Pod of a share, user and system;
	// unknown when it was not Reaped, since it hangs in a system call.
	CPU    time.Duration
	Reaped bool
	Wall   time.Duration
	// Requests to the target, as far as the worker could tell.
	Requests int64
}

// FoundDocument is what a document says of its point, without the VM and its
// Secrets.
type FoundDocument struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	// Changed: the path was known with another version.
	Changed     bool                 `json:"changed,omitempty"`
	Digest      string               `json:"digest"`
	Origin      document.Origin      `json:"origin"`
	Point       document.Point       `json:"point"`
	Consistency v1alpha1.Consistency `json:"consistency"`
	Disks       []document.Disk      `json:"disks"`
	// Secrets is how many Secrets lie readable in the document, Sealed how many are
	// encrypted in it.
	Secrets int `json:"secrets,omitempty"`
	Sealed  int `json:"sealed,omitempty"`
}

// FaultyDocument is a file among the documents that is none, and why.
type FaultyDocument struct {
	Path string `json:"path"`
	// Version is empty for what is to be looked at again: it could not be read.
	Version string `json:"version,omitempty"`
	Changed bool   `json:"changed,omitempty"`
	// Reason: Damaged, Mismatch, Invalid (a format that is not known), or Removing
	// for a point whose deletion has begun.
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
}
