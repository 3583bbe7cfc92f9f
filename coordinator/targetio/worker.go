package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"hayloft.dev/coordinator/targetio/backups"
	"hayloft.dev/coordinator/targetio/cluster"
	"hayloft.dev/coordinator/targetio/incluster"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

// documents is where the documents of points lie: on a target, or in the
// cluster. What is not there is store.ErrMissing; removing that is fine.
type documents interface {
	Read(ctx context.Context, path string, limit int64) ([]byte, error)
	Write(ctx context.Context, path string, data []byte) error
	Remove(ctx context.Context, path string) error
}

// worker does one operation.
type worker struct {
	cluster   *cluster.Client
	namespace string
	// encryption is the target's; nil without any.
	encryption *v1alpha1.TargetEncryption
	// mounts is the folder that has each share under the name of its target; with pods
	// each is worked on through a Pod instead.
	mounts    string
	pods      bool
	documents documents
	// store is the target; nil for a point that is kept in the cluster.
	store *store.Store
	// secrets are values that no message may show.
	secrets []string
}

func (w *worker) do(ctx context.Context, r *protocol.Request, answer *protocol.Answer) error {
	if err := w.open(ctx, r.Target); err != nil {
		return err
	}
	var err error
	switch {
	case w.store == nil && onTargetsOnly(r.Operation):
		return refuse("operation %q is for targets, not for a point in the cluster", r.Operation)
	case r.Operation == protocol.OpProbe:
		answer.Probe, err = w.probe(ctx, r)
		return err
	case r.Operation == protocol.OpCapture && r.Capture != nil:
		return w.capture(ctx, *r.Capture)
	case r.Operation == protocol.OpFinalize && r.Finalize != nil:
		answer.Finalize, err = w.finalize(ctx, *r.Finalize)
		return err
	case r.Operation == protocol.OpReadDocument && r.ReadDocument != nil:
		d, err := w.readPoint(ctx, r.ReadDocument.Path, r.ReadDocument.Digest)
		if err == nil {
			err = w.complete(ctx, d)
		}
		if err == nil && r.ReadDocument.Open {
			_, err = w.secretsOf(ctx, d)
		}
		if err == nil {
			answer.ReadDocument = d.Public()
		}
		return err
	case r.Operation == protocol.OpInspectBackups && r.InspectBackups != nil:
		answer.InspectBackups, err = w.inspect(ctx, *r.InspectBackups)
		return err
	case r.Operation == protocol.OpMakeSecrets && r.MakeSecrets != nil:
		return w.makeSecrets(ctx, *r.MakeSecrets)
	case r.Operation == protocol.OpDropAttempt && r.DropAttempt != nil:
		return backups.Drop(ctx, w.store, *r.DropAttempt)
	case r.Operation == protocol.OpDeletePoint && r.DeletePoint != nil:
		return w.deletePoint(ctx, *r.DeletePoint)
	case r.Operation == protocol.OpRefresh && r.Refresh != nil:
		answer.Refresh, err = w.refresh(ctx, *r.Refresh)
		return err
	case r.Operation == protocol.OpLeftovers && r.Leftovers != nil:
		answer.Leftovers, err = w.leftovers(ctx, *r.Leftovers)
		return err
	}
	return refuse("operation %q is not known, or what it needs is missing", r.Operation)
}

func onTargetsOnly(op protocol.Operation) bool {
	switch op {
	case protocol.OpProbe, protocol.OpInspectBackups, protocol.OpDropAttempt, protocol.OpRefresh, protocol.OpLeftovers:
		return true
	}
	return false
}

// open reads the target's Secret and prepares the target.
func (w *worker) open(ctx context.Context, t protocol.Target) error {
	if t.InCluster != nil {
		var err error
		w.documents, err = incluster.Open(w.cluster, *t.InCluster)
		return err
	}
	w.encryption = t.Spec.Encryption
	var data map[string][]byte
	if name := t.Spec.CredentialSecret; name != "" {
		secret, err := w.cluster.Secret(ctx, w.namespace, name)
		if cluster.IsNotFound(err) {
			return &protocol.Error{Reason: protocol.InvalidCredentials, Message: fmt.Sprintf(
				"target %s names Secret %s, which does not exist in namespace %s: create it with the keys of its kind, such as %s and %s for S3",
				t.Name, name, w.namespace, target.AccessKeyID, target.SecretAccessKey)}
		}
		if err != nil {
			return err
		}
		data = secret.Data
	}
	for key, value := range data {
		if s := strings.TrimSpace(string(value)); s != "" {
			w.secrets = append(w.secrets, target.Secrets(map[string]string{key: s})...)
		}
	}
	place, err := w.place(ctx, t)
	if err != nil {
		return err
	}
	if w.store, err = store.Open(t.Spec, data, place); err != nil {
		return err
	}
	w.documents = w.store
	return nil
}

// inspect looks at one disk after another, to say which one is not whole.
func (w *worker) inspect(ctx context.Context, r protocol.InspectBackupsRequest) ([]protocol.Inspection, error) {
	if len(r.Disks) == 0 || r.Namespace == "" {
		return nil, refuse("there are no disks to inspect, or it is not said of which namespace they are")
	}
	out := make([]protocol.Inspection, 0, len(r.Disks))
	for _, disk := range r.Disks {
		var found protocol.Inspection
		var err error
		if r.Deep {
			found, err = backups.Blocks(ctx, w.store, r.Namespace, disk)
		} else {
			found, err = backups.Inspect(ctx, w.store, r.Namespace, disk, false)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, found)
	}
	return out, nil
}

func refuse(format string, args ...any) *protocol.Error {
	return &protocol.Error{Reason: protocol.Invalid, Message: fmt.Sprintf(format, args...)}
}

// asError keeps an error's reason; one without a reason is Internal.
func asError(err error) protocol.Error {
	var e *protocol.Error
	if !errors.As(err, &e) {
		return protocol.Error{Reason: protocol.Internal, Message: err.Error()}
	}
	return *e
}
