package v1alpha1

// TargetEncryption says to whom the Secrets in new documents on a target are
// encrypted, and with what this cluster opens them.
type TargetEncryption struct {
	// Recipients are age public keys (age1...). Each one's identity alone opens
	// what is encrypted: name that of an identity that is kept offline beside this
	// cluster's, or the Secrets are lost with the cluster. Points that exist stay
	// encrypted to whom they were.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=128
	Recipients []string `json:"recipients,omitempty"`
	// IdentitySecret names a Secret in Hayloft's own namespace whose key "identity"
	// holds an age identity file: one or more secret keys (AGE-SECRET-KEY-1...),
	// each on a line. Without it this cluster makes backups, and restores none of
	// the Secrets that are encrypted.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	IdentitySecret string `json:"identitySecret,omitempty"`
}

// SecretKeyIdentity is the key of an identity Secret.
const SecretKeyIdentity = "identity"

// ConditionSecretsEncrypted of a BackupTarget is true when the Secrets in the
// documents of new points are encrypted. Its reasons:
const (
	ConditionSecretsEncrypted = "SecretsEncrypted"
	SecretsEncrypted          = "Encrypted"
	// SecretsNotReadable: they are, and this cluster could not restore them.
	SecretsNotReadable  = "EncryptedNotReadable"
	SecretsNotEncrypted = "NoRecipients"
)
