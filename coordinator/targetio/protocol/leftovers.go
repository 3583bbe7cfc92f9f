package protocol

import "k8s.io/apimachinery/pkg/types"

// OpLeftovers looks for what nobody needs any more, and removes it where asked to.
const OpLeftovers Operation = "leftovers"

// LeftoverKind is what a leftover is.
type LeftoverKind string

// The kinds of leftovers.
const (
	LeftInProgress LeftoverKind = "InProgress" // a transfer that never ended: no block of its volume is freed while it is there
	LeftNoDocument LeftoverKind = "NoDocument" // a complete backup that no document names
	LeftDraft      LeftoverKind = "Draft"      // a draft of a point that is gone
)

// LeftoversRequest asks for what nobody needs any more. All that it says of this
// cluster must have been read live, before the request.
type LeftoversRequest struct {
	// Cluster is this one.
	Cluster types.UID `json:"cluster"`
	// Living are the UIDs of the points that this cluster has VMBackups of, Named
	// the backups that these name, and Documents where those that are whole have
	// theirs: where one of these is missing, the listing is not trusted and nothing
	// is removed.
	Living    []types.UID `json:"living,omitempty"`
	Named     []string    `json:"named,omitempty"`
	Documents []string    `json:"documents,omitempty"`
	// MinAgeMilliseconds is how old something must be until it may be removed.
	MinAgeMilliseconds int64 `json:"minAgeMilliseconds"`
	// Remove what may be removed.
	Remove bool `json:"remove,omitempty"`
	// Brief reads no documents: of points that have one, backups that it may not name
	// are left out. When the CPU time is over, the rest is not judged. It is for
	// counting, and does not go with Remove.
	Brief bool `json:"brief,omitempty"`
	// MaxTold bounds the leftovers that are told of one by one.
	MaxTold int `json:"maxTold"`
	// CPUMilliseconds as in RefreshRequest.
	CPUMilliseconds int64 `json:"cpuMilliseconds"`
}

// LeftoversResult is what was found, and what became of it.
type LeftoversResult struct {
	InProgress int `json:"inProgress,omitempty"`
	NoDocument int `json:"noDocument,omitempty"`
	Drafts     int `json:"drafts,omitempty"`
	// Removable of them may be removed, Removed ones were.
	Removable int `json:"removable,omitempty"`
	Removed   int `json:"removed,omitempty"`
	// Unjudged backups were not looked at: see Brief.
	Unjudged int `json:"unjudged,omitempty"`
	// Kept is why nothing was removed though it was asked for.
	Kept string     `json:"kept,omitempty"`
	Told []Leftover `json:"told,omitempty"`
}

// Leftover is one of them.
type Leftover struct {
	Kind LeftoverKind `json:"kind"`
	// Path of a draft, else Volume and Backup.
	Path   string    `json:"path,omitempty"`
	Volume string    `json:"volume,omitempty"`
	Backup string    `json:"backup,omitempty"`
	Point  types.UID `json:"point,omitempty"`
	// Keep is why it is not to be removed.
	Keep string `json:"keep,omitempty"`
	// Removed: it is gone.
	Removed bool `json:"removed,omitempty"`
}
