// Package targetwork is the coordinator's way to a backup target, and to the
// documents of points that are kept in the cluster: it runs the target worker
// (coordinator/targetio) as a short-lived child for each operation, with a
// deadline, and measures what it cost.
//
// The child reads the target's Secret from Kubernetes by itself; none passes
// through here. The package links neither backupstore nor an engine.
package targetwork

import (
	"context"
	"errors"
	"time"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/document"
)

// What is asked and answered; see package protocol.
type (
	Error               = protocol.Error
	Target              = protocol.Target
	Reason              = protocol.Reason
	Backup              = protocol.Backup
	CaptureRequest      = protocol.CaptureRequest
	CaptureSource       = protocol.CaptureSource
	FinalizeRequest     = protocol.FinalizeRequest
	FinalizeResult      = protocol.FinalizeResult
	Inspection          = protocol.Inspection
	ReadDocumentRequest = protocol.ReadDocumentRequest
	MakeSecretsRequest  = protocol.MakeSecretsRequest
	DeleteRequest       = protocol.DeleteRequest
	RefreshRequest      = protocol.RefreshRequest
	RefreshResult       = protocol.RefreshResult
	Cost                = protocol.Cost
	ProbeResult         = protocol.ProbeResult
)

// DefaultTimeout bounds an operation whose context has no deadline.
const DefaultTimeout = 5 * time.Minute

// Caller runs target workers. Its methods may be called at the same time; each
// ends at the latest a few seconds after its context. A failure is an *Error,
// found with errors.As.
type Caller struct {
	// Path of the program targetio.
	Path string
	// Kubeconfig that the worker uses; empty: as the Pod it runs in.
	Kubeconfig string
	// Mounts is the folder in which NFS and CIFS targets are mounted, each under its
	// target's name; empty: none is.
	Mounts string
	// SharePods has such targets worked on through the Pods that are made for them, and
	// not at mounts.
	SharePods bool
	// Namespace of Hayloft, where the targets' Secrets are.
	Namespace string
	// Observe is told of each operation: its name, the time it took, the CPU
	// time (user and system) of the child, and its error. May be nil.
	Observe func(op string, wall, cpu time.Duration, err error)
}

// ReasonOf is the reason of a failed operation, "" for an error of another
// kind and for nil.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

// Probe lists, writes, reads back and deletes a small object, and tells whether
// what is deleted is gone. Of a target that is only read it lists and reads.
func (c *Caller) Probe(ctx context.Context, at Target) (ProbeResult, error) {
	return c.probe(ctx, at, nil)
}

// ProbeAndTidy does what Probe does, and removes old files of probes that were killed.
// It fails of no more than Probe does.
func (c *Caller) ProbeAndTidy(ctx context.Context, at Target) (ProbeResult, error) {
	return c.probe(ctx, at, &protocol.ProbeRequest{Tidy: true})
}

func (c *Caller) probe(ctx context.Context, at Target, r *protocol.ProbeRequest) (ProbeResult, error) {
	a, err := c.call(ctx, at, protocol.Request{Operation: protocol.OpProbe, Probe: r})
	if err != nil || a.Probe == nil {
		return ProbeResult{}, err
	}
	return *a.Probe, nil
}

// Capture reads the VM, its claims, Secrets and ConfigMaps from the cluster and
// writes the draft of the point's document. It can be repeated.
func (c *Caller) Capture(ctx context.Context, at Target, r CaptureRequest) error {
	_, err := c.call(ctx, at, protocol.Request{Operation: protocol.OpCapture, Capture: &r})
	return err
}

// Finalize inspects every disk's backup on the target, makes the point's
// document of its draft and the disks, reads it back and deletes the draft. It
// can be repeated.
func (c *Caller) Finalize(ctx context.Context, at Target, r FinalizeRequest) (FinalizeResult, error) {
	a, err := c.call(ctx, at, protocol.Request{Operation: protocol.OpFinalize, Finalize: &r})
	if err == nil && a.Finalize == nil {
		err = incomplete(protocol.OpFinalize)
	}
	if err != nil {
		return FinalizeResult{}, err
	}
	return *a.Finalize, nil
}

// ReadDocument reads and checks a point's document; it comes without secret
// values.
func (c *Caller) ReadDocument(ctx context.Context, at Target, r ReadDocumentRequest) (*document.Document, error) {
	a, err := c.call(ctx, at, protocol.Request{Operation: protocol.OpReadDocument, ReadDocument: &r})
	if err == nil && a.ReadDocument == nil {
		err = incomplete(protocol.OpReadDocument)
	}
	if err != nil {
		return nil, err
	}
	return a.ReadDocument, nil
}

// InspectBackups checks before a restore that every disk's backup is there,
// complete, of a volume of the point's namespace and what the document says. It does
// not look for the blocks.
func (c *Caller) InspectBackups(ctx context.Context, at Target, namespace string, disks []document.Disk) ([]Inspection, error) {
	return c.inspect(ctx, at, namespace, disks, false)
}

// InspectBlocks does what InspectBackups does and looks for every block, with
// one request for each 2 MiB of data.
func (c *Caller) InspectBlocks(ctx context.Context, at Target, namespace string, disks []document.Disk) ([]Inspection, error) {
	return c.inspect(ctx, at, namespace, disks, true)
}

func (c *Caller) inspect(ctx context.Context, at Target, namespace string, disks []document.Disk, deep bool) ([]Inspection, error) {
	a, err := c.call(ctx, at, protocol.Request{
		Operation: protocol.OpInspectBackups, InspectBackups: &protocol.InspectBackupsRequest{Namespace: namespace, Disks: disks, Deep: deep},
	})
	if err == nil && len(a.InspectBackups) != len(disks) {
		err = incomplete(protocol.OpInspectBackups)
	}
	if err != nil {
		return nil, err
	}
	return a.InspectBackups, nil
}

// MakeSecrets creates the Secrets and ConfigMaps of a document under new names.
// It can be repeated; an existing object that is not of the same labels and
// content is refused and left alone.
func (c *Caller) MakeSecrets(ctx context.Context, at Target, r MakeSecretsRequest) error {
	_, err := c.call(ctx, at, protocol.Request{Operation: protocol.OpMakeSecrets, MakeSecrets: &r})
	return err
}

// DropAttempt removes what an attempt that did not end well left in progress.
// It takes no lock, so it must have ended. A complete backup is refused, one
// that is not there is fine.
func (c *Caller) DropAttempt(ctx context.Context, at Target, volume, backup string) error {
	_, err := c.call(ctx, at, protocol.Request{Operation: protocol.OpDropAttempt, DropAttempt: &Backup{Volume: volume, Backup: backup}})
	return err
}

// DeletePoint marks a point's document, removes its backups, frees their blocks,
// and then removes document and draft. What is not there is fine, so it can be
// repeated, and anybody can finish what another has begun. It takes two seconds
// or more for each volume; Locked is transient.
func (c *Caller) DeletePoint(ctx context.Context, at Target, r DeleteRequest) error {
	_, err := c.call(ctx, at, protocol.Request{Operation: protocol.OpDeletePoint, DeletePoint: &r})
	return err
}

// Refresh lists the documents on a target and reads those that are not known.
// What it cost is told however it went.
func (c *Caller) Refresh(ctx context.Context, at Target, r RefreshRequest) (RefreshResult, Cost, error) {
	a, cost, err := c.measured(ctx, at, protocol.Request{Operation: protocol.OpRefresh, Refresh: &r})
	if err == nil && a.Refresh == nil {
		err = incomplete(protocol.OpRefresh)
	}
	if err != nil {
		return RefreshResult{}, cost, err
	}
	return *a.Refresh, cost, nil
}

func incomplete(op protocol.Operation) error {
	return &Error{Reason: protocol.Internal, Message: "the target worker's answer to " + string(op) + " lacks its result"}
}

// Leftovers looks for what nobody needs any more on a target, and removes it if the
// request says so. What it cost is told however it went.
func (c *Caller) Leftovers(ctx context.Context, at Target, r protocol.LeftoversRequest) (protocol.LeftoversResult, Cost, error) {
	a, cost, err := c.measured(ctx, at, protocol.Request{Operation: protocol.OpLeftovers, Leftovers: &r})
	if err == nil && a.Leftovers == nil {
		err = incomplete(protocol.OpLeftovers)
	}
	if err != nil {
		return protocol.LeftoversResult{}, cost, err
	}
	return *a.Leftovers, cost, nil
}
