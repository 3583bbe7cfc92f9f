package protocol

// Reason is a class of failures.
type Reason string

// The reasons of failed operations.
const (
	Unreachable        Reason = "Unreachable"        // no connection, name not found, TLS refused, server trouble
	Timeout            Reason = "Timeout"            // no answer within the operation's time
	InvalidCredentials Reason = "InvalidCredentials" // key unknown, signature refused, Secret missing
	AccessDenied       Reason = "AccessDenied"       // known, but not allowed
	BucketNotFound     Reason = "BucketNotFound"     // the bucket does not exist
	NotFound           Reason = "NotFound"           // directory, document, backup or cluster object is missing
	InProgress         Reason = "InProgress"         // a backup that is not complete on the target
	Locked             Reason = "Locked"             // another process, perhaps a dead one, holds the volume's lock
	Removing           Reason = "Removing"           // a point whose deletion has begun
	Damaged            Reason = "Damaged"            // there, but not readable as what it should be
	Mismatch           Reason = "Mismatch"           // readable, but not what was asked for
	NoIdentity         Reason = "NoIdentity"         // Secrets that are encrypted to others, or whose identity is missing
	NoSpace            Reason = "NoSpace"            // full or over quota
	ReadOnly           Reason = "ReadOnly"           // the target is only read
	Invalid            Reason = "Invalid"            // the request or the target's spec makes no sense
	Internal           Reason = "Internal"           // the worker or the cluster failed, not the target
)

// Error is why an operation failed.
type Error struct {
	Reason Reason `json:"reason"`
	// Message is a sentence for people, without secrets.
	Message string `json:"message"`
	// Transient failures may go away by themselves: the same request can be
	// made again.
	Transient bool `json:"transient,omitempty"`
}

// Error is the message.
func (e *Error) Error() string { return e.Message }
