package control

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/words"
)

// identityOf is why the last refresh of a target found that this cluster could not
// restore the Secrets that it encrypts; not known before this leader's first.
func (r *refresher) identityOf(t *v1alpha1.BackupTarget) (fault string, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.of[t.UID]
	if e == nil || e.identityAt != t.Generation {
		return "", false
	}
	return e.identity, true
}

// tellEncryption brings into the conditions whether the Secrets in documents are
// encrypted, and returns the condition if that is news.
func (r *targets) tellEncryption(t *v1alpha1.BackupTarget, conditions *[]metav1.Condition) *metav1.Condition {
	fault, known := r.refreshes.identityOf(t)
	now := encryption(t, fault)
	was := meta.FindStatusCondition(*conditions, now.Type)
	if !known && was != nil && was.Status == now.Status && was.ObservedGeneration == t.Generation {
		return nil // a former leader has looked at the identity
	}
	if !meta.SetStatusCondition(conditions, now) {
		return nil
	}
	return &now
}

// encryption is the condition of a target; fault is why this cluster could not
// restore what it encrypts.
func encryption(t *v1alpha1.BackupTarget, fault string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionSecretsEncrypted, ObservedGeneration: t.Generation}
	e := t.Spec.Encryption
	switch {
	case e == nil || len(e.Recipients) == 0:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.SecretsNotEncrypted
		c.Message = "Secrets of VMs are not encrypted on this target: whoever can read the target can read them; name age public keys in spec.encryption.recipients"
	case fault != "":
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.SecretsNotReadable
		c.Message = cutTo("Secrets of VMs are encrypted, but this cluster cannot restore them: "+fault, 1024)
	default:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.SecretsEncrypted
		c.Message = "Secrets of VMs are encrypted to " + words.Count(len(e.Recipients), "recipient")
		if len(e.Recipients) == 1 {
			c.Message += ": whoever loses its identity loses them; add that of a key which is kept offline"
		}
	}
	return c
}

// encryptionEvent tells of a change on the target itself.
func (r *targets) encryptionEvent(t *v1alpha1.BackupTarget, c *metav1.Condition) {
	kind := corev1.EventTypeNormal
	if c.Reason != v1alpha1.SecretsEncrypted {
		kind = corev1.EventTypeWarning
	}
	r.events.Event(t, kind, fmt.Sprintf("Secrets%s", c.Reason), shorten(c.Message))
}
