package backups

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/longhorn/backupstore"

	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/api/v1alpha1"
)

// labelStatus is Longhorn's label of a backup: as JSON, what its volume was in
// Kubernetes when it was backed up (longhorn-manager, api/snapshot.go).
const labelStatus = "KubernetesStatus"

// checkOwner refuses a backup of a volume of another namespace than the document's
// that names it. Who may write a document could else have the disks of others
// restored where he may read them, or deleted with a point of his own. A backup that
// says nothing of its namespace, as of a volume that no claim had, is taken.
func checkOwner(namespace string, b *backupstore.Backup) error {
	owner, _, _ := strings.Cut(b.Labels[v1alpha1.LabelVM], "/")
	if raw := b.Labels[labelStatus]; owner == "" && raw != "" {
		var status struct {
			Namespace string `json:"namespace"`
		}
		if json.Unmarshal([]byte(raw), &status) != nil {
			return damaged("label %s of backup %s cannot be read as JSON", labelStatus, b.Name)
		}
		owner = status.Namespace
	}
	if owner != "" && owner != namespace {
		return fault(protocol.Mismatch, "backup %s is of a volume of namespace %q, but the document that names it is of namespace %s: it is not touched", b.Name, owner, namespace)
	}
	return nil
}

// CheckOwners refuses backups of volumes of other namespaces. One that is not there
// is fine.
func CheckOwners(ctx context.Context, s *store.Store, namespace string, backups []protocol.Backup) error {
	for _, b := range backups {
		if err := check(b); err != nil {
			return err
		}
		cfg, err := readBackup(ctx, s, b.Volume, b.Backup)
		switch {
		case errors.Is(err, store.ErrMissing) || isDamaged(err):
			continue // nothing can be restored of it
		case err != nil:
			return err
		}
		if err := checkOwner(namespace, cfg); err != nil {
			return err
		}
	}
	return nil
}
