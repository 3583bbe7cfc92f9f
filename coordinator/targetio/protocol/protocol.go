// Package protocol is what the coordinator and its target worker say to each
// other: one Request as JSON on the worker's stdin, one Answer on its stdout.
//
// Neither holds a secret. The package holds types and imports neither
// backupstore nor an engine, so that the coordinator can use it.
package protocol

import (
	"encoding/json"
	"fmt"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"

	"k8s.io/apimachinery/pkg/types"
)

// Operation is what a worker is asked to do, once.
type Operation string

// The operations of a target worker.
const (
	OpProbe          Operation = "probe"
	OpCapture        Operation = "capture"
	OpFinalize       Operation = "finalize"
	OpReadDocument   Operation = "readDocument"
	OpInspectBackups Operation = "inspectBackups"
	OpMakeSecrets    Operation = "makeSecrets"
	OpDropAttempt    Operation = "dropAttempt"
	OpDeletePoint    Operation = "deletePoint"
	OpRefresh        Operation = "refresh"
)

// Request is one operation on one target, or on one point that is kept in the
// cluster; the field of its operation is set.
type Request struct {
	Operation Operation `json:"operation"`
	// TimeoutMilliseconds is how long the worker may take: it answers
	// Timeout itself then, shortly before it would be killed.
	TimeoutMilliseconds int64  `json:"timeoutMilliseconds"`
	Target              Target `json:"target"`

	Probe          *ProbeRequest          `json:"probe,omitempty"`
	Capture        *CaptureRequest        `json:"capture,omitempty"`
	Finalize       *FinalizeRequest       `json:"finalize,omitempty"`
	ReadDocument   *ReadDocumentRequest   `json:"readDocument,omitempty"`
	InspectBackups *InspectBackupsRequest `json:"inspectBackups,omitempty"`
	MakeSecrets    *MakeSecretsRequest    `json:"makeSecrets,omitempty"`
	DropAttempt    *Backup                `json:"dropAttempt,omitempty"`
	DeletePoint    *DeleteRequest         `json:"deletePoint,omitempty"`
	Refresh        *RefreshRequest        `json:"refresh,omitempty"`
	Leftovers      *LeftoversRequest      `json:"leftovers,omitempty"`
}

// Target is where documents and backups are: the part of a BackupTarget that a
// worker needs, or a point in the cluster. It names the target's Secret; the
// worker reads it.
type Target struct {
	Name string                    `json:"name,omitempty"`
	Spec v1alpha1.BackupTargetSpec `json:"spec,omitzero"`
	// InCluster is set in place of Name and Spec for a point of type Snapshot.
	// Only its document can be worked on: capture, finalize, readDocument,
	// makeSecrets and deletePoint, with the paths that it would have on a target.
	InCluster *ClusterPoint `json:"inCluster,omitempty"`
}

// ClusterPoint is a VMBackup whose document lies in a Secret beside it, which it
// owns.
type ClusterPoint struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
}

// OnTarget is the place of what lies on a BackupTarget.
func OnTarget(t *v1alpha1.BackupTarget) Target { return Target{Name: t.Name, Spec: t.Spec} }

// InCluster is the place of a point that is kept in the cluster.
func InCluster(p document.Point) Target {
	return Target{InCluster: &ClusterPoint{Namespace: p.Namespace, Name: p.Name, UID: p.UID}}
}

// String names the place in a sentence.
func (t Target) String() string {
	if t.InCluster != nil {
		return fmt.Sprintf("Secret of VMBackup %s/%s", t.InCluster.Namespace, t.InCluster.Name)
	}
	return "target " + t.Name
}

// Answer is the outcome of one request: an error, or the result of its
// operation where it has one.
type Answer struct {
	Error          *Error             `json:"error,omitempty"`
	Probe          *ProbeResult       `json:"probe,omitempty"`
	Finalize       *FinalizeResult    `json:"finalize,omitempty"`
	ReadDocument   *document.Document `json:"readDocument,omitempty"`
	InspectBackups []Inspection       `json:"inspectBackups,omitempty"`
	Refresh        *RefreshResult     `json:"refresh,omitempty"`
	Leftovers      *LeftoversResult   `json:"leftovers,omitempty"`
	// Requests that were made to the target.
	Requests int64 `json:"requests,omitempty"`
	// RemoteCPUMilliseconds were taken by the Pod of a share.
	RemoteCPUMilliseconds int64 `json:"remoteCPUMilliseconds,omitempty"`
}

// CaptureRequest asks for a draft of a point's document.
type CaptureRequest struct {
	Point document.Point `json:"point"`
	// VM in the point's namespace. When VMUID is not its UID, it is another
	// VM of the same name and nothing is captured.
	VM    string    `json:"vm"`
	VMUID types.UID `json:"vmUID"`
	// Claims are those of the disks that the point is cut of. A VM whose
	// disks are others by now is not captured.
	Claims []string `json:"claims"`
	// IncludeDisks and ExcludeDisks as in the VMBackup's spec.
	IncludeDisks []string `json:"includeDisks,omitempty"`
	ExcludeDisks []string `json:"excludeDisks,omitempty"`
	// Source is what the coordinator read when the point began; nil: the worker
	// reads it. Secrets and ConfigMaps the worker always reads itself.
	Source *CaptureSource `json:"source,omitempty"`
}

// CaptureSource are objects of a cluster as JSON, none of them a secret.
type CaptureSource struct {
	VM json.RawMessage `json:"vm"`
	// VMI is empty for a VM that does not run.
	VMI json.RawMessage `json:"vmi,omitempty"`
	// Claims, name -> object.
	Claims map[string]json.RawMessage `json:"claims"`
	// ClusterUID is the UID of the cluster's namespace kube-system.
	ClusterUID types.UID `json:"clusterUID"`
}

// FinalizeRequest asks for a point's document, made of its draft and disks.
type FinalizeRequest struct {
	Point       document.Point       `json:"point"`
	Consistency v1alpha1.Consistency `json:"consistency"`
	Disks       []document.Disk      `json:"disks"`
}

// FinalizeResult is a document that was written and read back.
type FinalizeResult struct {
	Path   string       `json:"path"`
	Digest string       `json:"digest"`
	Disks  []Inspection `json:"disks"`
	// Secrets is how many Secrets lie readable in the document, Sealed how many are
	// encrypted in it.
	Secrets int `json:"secrets"`
	Sealed  int `json:"sealed,omitempty"`
	// Notes say what the point does not hold.
	Notes []string `json:"notes,omitempty"`
}

// Inspection is what a target says about one disk's backup.
type Inspection struct {
	// Name of the disk.
	Name string `json:"name"`
	// SizeBytes is the data that the backup refers to, before compression.
	SizeBytes int64 `json:"sizeBytes"`
	// VolumeSizeBytes is what a volume must have to be restored into. It is
	// larger than the disk was when the volume was expanded and backed up
	// again since: Longhorn keeps one size for all backups of a volume.
	VolumeSizeBytes int64 `json:"volumeSizeBytes"`
	// UploadedBytes is what the backup newly wrote, compressed.
	UploadedBytes int64 `json:"uploadedBytes"`
	Incremental   bool  `json:"incremental,omitempty"`
}

// ReadDocumentRequest asks for a document without its secret values.
type ReadDocumentRequest struct {
	Path string `json:"path"`
	// Digest that the document must have; empty: any.
	Digest string `json:"digest,omitempty"`
	// Open refuses a document whose Secrets are encrypted and could not be restored
	// here.
	Open bool `json:"open,omitempty"`
}

// InspectBackupsRequest asks whether the backups of disks are there and whole.
type InspectBackupsRequest struct {
	// Namespace of the point; a backup of another namespace's volume is refused.
	Namespace string          `json:"namespace"`
	Disks     []document.Disk `json:"disks"`
	// Deep also looks for every block: one request for each 2 MiB of data.
	Deep bool `json:"deep,omitempty"`
}

// MakeSecretsRequest asks for a document's Secrets and ConfigMaps in the
// cluster.
type MakeSecretsRequest struct {
	Path string `json:"path"`
	// Digest that the document must have; empty: any.
	Digest    string `json:"digest,omitempty"`
	Namespace string `json:"namespace"`
	// Secrets and ConfigMaps map a name in the document -> the name to make.
	// What is not named is not made.
	Secrets    map[string]string `json:"secrets,omitempty"`
	ConfigMaps map[string]string `json:"configMaps,omitempty"`
	// Labels of what is made, at least one. An object that is there with the
	// same labels and content counts as made; any other is left alone and
	// refused.
	Labels map[string]string `json:"labels"`
}

// Backup names one Longhorn backup on a target.
type Backup struct {
	Volume string `json:"volume"`
	Backup string `json:"backup"`
}

// DeleteRequest asks for everything of a point to be removed.
type DeleteRequest struct {
	// DocumentPath as FinalizeResult told it; empty: there is none. If a deletion
	// was begun there before, the backups that it names are removed too: its path
	// alone finishes it.
	DocumentPath string `json:"documentPath,omitempty"`
	// Found: the document was found on the target, so its backups are looked at
	// first: one of another namespace's volume is not deleted.
	Found bool `json:"found,omitempty"`
	// DraftUID is the point's UID.
	DraftUID types.UID `json:"draftUID,omitempty"`
	Backups  []Backup  `json:"backups,omitempty"`
}
