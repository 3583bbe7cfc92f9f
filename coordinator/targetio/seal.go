package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hayloft.dev/coordinator/targetio/cluster"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/seal"
)

// seal encrypts the Secrets of a document, draft or not, to the target's
// recipients, if it has any and the document holds readable ones.
func (w *worker) seal(d *document.Document) error {
	if w.encryption == nil || len(w.encryption.Recipients) == 0 || d.SecretsEncrypted {
		return nil
	}
	plain, err := d.Plain()
	if err != nil || plain == nil {
		return err
	}
	sealed, err := seal.Seal(plain, w.encryption.Recipients)
	if err != nil {
		return refuse("spec.encryption.recipients: %v", err)
	}
	d.Seal(sealed, slices.Clone(w.encryption.Recipients))
	return nil
}

// secretsOf are a document's Secrets with their values, decrypted if need be.
func (w *worker) secretsOf(ctx context.Context, d *document.Document) ([]document.Secret, error) {
	if !d.SecretsEncrypted {
		return d.Secrets, nil
	}
	keys, fault, err := w.identities(ctx)
	if err != nil {
		return nil, err
	}
	if fault != "" {
		return nil, notReadable(d, fault)
	}
	plain, err := seal.Open(d.Sealed, keys, document.MaxBytes)
	switch {
	case errors.Is(err, seal.ErrNoMatch):
		return nil, notReadable(d, fmt.Sprintf("the identities in Secret %s/%s are those of %s", w.namespace, w.encryption.IdentitySecret, strings.Join(keys.Recipients(), ", ")))
	case err != nil:
		return nil, &protocol.Error{Reason: protocol.Damaged, Message: fmt.Sprintf("the Secrets of point %s/%s: %v", d.Point.Namespace, d.Point.Name, err)}
	}
	secrets, err := d.Opened(plain)
	if err != nil {
		return nil, &protocol.Error{Reason: protocol.Mismatch, Message: err.Error()}
	}
	return secrets, nil
}

func notReadable(d *document.Document, why string) error {
	return &protocol.Error{Reason: protocol.NoIdentity, Message: fmt.Sprintf(
		"the point's Secrets are encrypted to %s, and %s: give this cluster the identity of one of them (the target's spec.encryption.identitySecret), or restore without the Secrets (spec.withoutSecrets)",
		strings.Join(d.Recipients, ", "), why)}
}

// identities reads what this cluster opens documents with; a fault says what is
// wrong with that.
func (w *worker) identities(ctx context.Context) (keys *seal.Identities, fault string, err error) {
	if w.encryption == nil || w.encryption.IdentitySecret == "" {
		return nil, "the target names no identity", nil
	}
	name := w.encryption.IdentitySecret
	s, err := w.cluster.Secret(ctx, w.namespace, name)
	if cluster.IsNotFound(err) {
		return nil, fmt.Sprintf("Secret %s/%s (spec.encryption.identitySecret) does not exist", w.namespace, name), nil
	}
	if err != nil {
		return nil, "", err
	}
	keys, err = seal.ParseIdentities(s.Data[v1alpha1.SecretKeyIdentity])
	if err != nil {
		return nil, fmt.Sprintf("Secret %s/%s (spec.encryption.identitySecret), key %q: %v", w.namespace, name, v1alpha1.SecretKeyIdentity, err), nil
	}
	for _, line := range strings.Fields(string(s.Data[v1alpha1.SecretKeyIdentity])) {
		if strings.HasPrefix(strings.ToUpper(line), "AGE-SECRET-KEY-") {
			w.secrets = append(w.secrets, line)
		}
	}
	return keys, "", nil
}

// checkIdentity says why this cluster could not restore the Secrets that it
// encrypts from now on; empty: it can, or encrypts none.
func (w *worker) checkIdentity(ctx context.Context) (string, error) {
	if w.encryption == nil || len(w.encryption.Recipients) == 0 && w.encryption.IdentitySecret == "" {
		return "", nil
	}
	keys, fault, err := w.identities(ctx)
	if err != nil || fault != "" {
		return fault, err
	}
	ours := func(r string) bool { return slices.Contains(keys.Recipients(), r) }
	if len(w.encryption.Recipients) > 0 && !slices.ContainsFunc(w.encryption.Recipients, ours) {
		return fmt.Sprintf("no identity in Secret %s/%s is that of a recipient in spec.encryption.recipients", w.namespace, w.encryption.IdentitySecret), nil
	}
	return "", nil
}
