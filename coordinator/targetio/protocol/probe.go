package protocol

// Keeps says why deleting on a target frees no space; empty: it does, as far as
// can be seen.
type Keeps string

// What targets do with what is deleted.
const (
	KeepsVersions Keeps = "Versioning" // each version stays, behind a delete marker
	KeepsLocked   Keeps = "ObjectLock" // and none can be removed before its time
	KeepsDeleted  Keeps = "SoftDelete" // the account holds on to it for some days
)

// ProbeRequest asks for more than to try a target out.
type ProbeRequest struct {
	// Tidy has old files removed that probes have left which were killed.
	Tidy bool `json:"tidy,omitempty"`
}

// ProbeResult is what trying a target out showed, when nothing failed.
type ProbeResult struct {
	Keeps Keeps `json:"keeps,omitempty"`
	// Untidied says why what probes have left could not be removed.
	Untidied string `json:"untidied,omitempty"`
}

// Message is a sentence about a target that keeps what is deleted, "" for one
// that does not.
func (k Keeps) Message() string {
	switch k {
	case KeepsVersions:
		return "the bucket keeps a version of everything that is deleted, so deleting points frees no space: suspend its versioning, or give it a lifecycle rule that expires noncurrent versions and delete markers"
	case KeepsLocked:
		return "object lock holds on to everything that is written to the bucket, so deleting points frees no space before its retention ends: use a bucket without a default retention, or a lifecycle rule that expires noncurrent versions when they are free"
	case KeepsDeleted:
		return "the account holds on to deleted blobs (soft delete), so deleting points frees space only some days later: shorten or turn off its delete retention policy"
	}
	return ""
}
