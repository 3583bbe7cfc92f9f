package stack

import (
	"encoding/json"
	"fmt"
	"os"

	"hayloft.dev/deploy/local/s3"
)

// Description is stack.json: what a test or a person needs to use a running stack.
type Description struct {
	Kubeconfig   string            `json:"kubeconfig"`  // of the admin
	Kubeconfigs  map[string]string `json:"kubeconfigs"` // program, for agents agent-NODE -> path
	Logs         string            `json:"logs"`
	S3           s3.Server         `json:"s3"`
	Target       string            `json:"target"` // name of the BackupTarget
	Nodes        []Node            `json:"nodes"`
	Control      string            `json:"control"`                // URL; GET /processes
	Webhook      *Service          `json:"webhook,omitempty"`      // of the coordinators, unless it is left out
	API          *API              `json:"api,omitempty"`          // of the coordinators, unless there are none
	Agents       []string          `json:"agents,omitempty"`       // URLs of metrics, in the order of nodes
	Coordinators []string          `json:"coordinators,omitempty"` // URLs
}

// write writes the file whole or not at all, since others wait for it to appear. It holds keys.
func (d Description) write(path string) error {
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("describing the stack: %w", err)
	}
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("describing the stack: %w", err)
	}
	return os.Rename(path+".new", path)
}
