package store

import (
	"time"

	"hayloft.dev/coordinator/targetio/protocol"
)

// The files of a share over HTTP: what a Pod serves of the share that is mounted into
// it (Serve), and what the target worker asks it for (remote). Each request has the
// path on the target as its query's "path".
const (
	wireList   = "/v1/list"   // GET: wireNames
	wireWalk   = "/v1/walk"   // GET: lines of wireFile, the last one of which says how it ended
	wireStat   = "/v1/stat"   // GET: wireInfo
	wireRead   = "/v1/read"   // GET: the content
	wireWrite  = "/v1/write"  // PUT: of the content
	wireRemove = "/v1/remove" // DELETE
)

const (
	// headerCPU of an answer is the CPU time, in milliseconds, that was taken since the
	// answer before; headerLimit of a request is what may be taken in all.
	headerCPU   = "Hayloft-Cpu-Milliseconds"
	headerLimit = "Hayloft-Cpu-Limit-Milliseconds"
)

type wireNames struct {
	Names []string `json:"names"`
}

type wireInfo struct {
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

// wireFile is one file, or the end of a walk.
type wireFile struct {
	Path    string `json:"path,omitempty"`
	Size    int64  `json:"size,omitempty"`
	Version string `json:"version,omitempty"`

	End *wireEnd `json:"end,omitempty"`
}

type wireEnd struct {
	Error           *protocol.Error `json:"error,omitempty"`
	CPUMilliseconds int64           `json:"cpuMilliseconds"`
}

// wireFailure is the body of an answer whose status is not 200.
type wireFailure struct {
	// Missing: the path is certainly not there.
	Missing bool            `json:"missing,omitempty"`
	Error   *protocol.Error `json:"error,omitempty"`
}
