package stack

import (
	"fmt"
	"os"
	"path/filepath"
)

// auditPolicy has the API server note the requests of Hayloft's accounts, and nobody else's. A watch is noted when it
// begins, since it may not end before the server does.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ["system:serviceaccounts:` + HayloftNamespace + `"]}
- {level: None}
`

// auditFlags are flags of kube-apiserver for the log that was asked for.
func (u *up) auditFlags() ([]string, error) {
	if u.AuditLog == "" {
		return nil, nil
	}
	policy := filepath.Join(u.layout.dir, "audit.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, fmt.Errorf("writing the audit policy: %w", err)
	}
	return []string{"--", "--audit-policy-file=" + policy, "--audit-log-path=" + u.AuditLog}, nil
}
