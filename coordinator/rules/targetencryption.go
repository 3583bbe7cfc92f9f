package rules

import (
	"fmt"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/seal"
)

// encryption are the reasons against the recipients of a target.
func encryption(t *v1alpha1.BackupTarget) (out []Refusal) {
	if t.Spec.Encryption == nil {
		return nil
	}
	for i, r := range t.Spec.Encryption.Recipients {
		if err := seal.CheckRecipient(r); err != nil {
			out = append(out, refusal(Refused, "spec.encryption.recipients[%d]: %v; hayloft key generate makes a pair", i, err))
		}
	}
	return out
}

// TargetWarnings are what whoever makes or changes a target should know.
func TargetWarnings(t *v1alpha1.BackupTarget) []string {
	if e := t.Spec.Encryption; e != nil && len(e.Recipients) > 0 {
		return nil
	}
	return []string{fmt.Sprintf("BackupTarget %s has no spec.encryption.recipients: Secrets of VMs lie on it as readable as the target is", t.Name)}
}
