// Package stack brings the local stack up and down: a real API server and controller manager, a real S3 server, the
// definitions, accounts and objects that Hayloft expects to find in a cluster, the stand-ins for Longhorn and KubeVirt
// that its caller hands in, and Hayloft's own programs. It knows no rules of Longhorn, of KubeVirt or of backups.
package stack

import (
	"fmt"
	"os"
	"path/filepath"
)

// Names of things in the cluster.
const (
	HayloftNamespace  = "hayloft-system"
	LonghornNamespace = "longhorn-system"
)

const loopback = "127.0.0.1"

// Node is a simulated node: a name and a loopback address that its engines and replicas listen on.
type Node struct {
	Name string `json:"name"`
	IP   string `json:"ip"`
}

// Nodes are the stack's nodes. Two stacks on one machine share the addresses and differ in ports.
func Nodes() []Node {
	nodes := make([]Node, 3)
	for i := range nodes {
		nodes[i] = Node{Name: fmt.Sprintf("node-%d", i+1), IP: fmt.Sprintf("127.0.0.%d", 11+i)}
	}
	return nodes
}

// layout is where things are below a stack's folder.
type layout struct{ dir string }

func (l layout) path(name string) string { return filepath.Join(l.dir, name) }

func (l layout) lock() string        { return l.path("lock") }
func (l layout) description() string { return l.path("stack.json") }
func (l layout) kubeconfig() string  { return l.path("kubeconfig") }
func (l layout) logs() string        { return l.path("logs") }
func (l layout) kube() string        { return l.path("kube") }
func (l layout) s3() string          { return l.path("s3") }
func (l layout) nodes() string       { return l.path("nodes") }
func (l layout) guests() string      { return l.path("guests") }

func (l layout) apiAuthority() string { return l.path("api-ca.crt") }
func (l layout) apiToken() string     { return l.path("api-token") }

func (l layout) accounts() string              { return l.path("kubeconfigs") }
func (l layout) account(program string) string { return filepath.Join(l.accounts(), program) }

// clear removes what an earlier stack left, and nothing else that may be in the folder.
func (l layout) clear() error {
	if err := os.RemoveAll(l.logs()); err != nil {
		return fmt.Errorf("clearing the folder: %w", err)
	}
	return l.clearAllButLogs()
}

// clearAllButLogs removes keys, volumes and all else that is of no use without a running stack.
func (l layout) clearAllButLogs() error {
	for _, path := range []string{l.description(), l.kubeconfig(), l.accounts(), l.apiAuthority(), l.apiToken(), l.kube(), l.s3(), l.nodes(), l.guests()} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("clearing the folder: %w", err)
		}
	}
	return nil
}
