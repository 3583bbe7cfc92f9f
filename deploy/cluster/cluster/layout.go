package cluster

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Description is cluster.json: what a test or a person needs to use a running cluster.
type Description struct {
	Kubeconfig string        `json:"kubeconfig"` // of the admin, through loopback
	Inner      string        `json:"inner"`      // kubeconfig of the admin for programs in the control plane's network
	Logs       string        `json:"logs"`
	Control    MachineInfo   `json:"control"`
	Nodes      []MachineInfo `json:"nodes"`
}

// MachineInfo tells of a running machine.
type MachineInfo struct {
	Name string `json:"name"`
	IP   string `json:"ip"`
	PID  int    `json:"pid"` // whose namespaces are the machine's
}

// Machine is the machine of that name.
func (d Description) Machine(name string) (MachineInfo, error) {
	names := make([]string, 0, len(d.Nodes)+1)
	for _, m := range append([]MachineInfo{d.Control}, d.Nodes...) {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return MachineInfo{}, fmt.Errorf("there is no machine %q; there are %s", name, strings.Join(names, ", "))
}

// layout is where things are below a cluster's folder.
type layout struct{ dir string }

func (l layout) path(name string) string { return filepath.Join(l.dir, name) }

func (l layout) lock() string        { return l.path("lock") }
func (l layout) description() string { return l.path("cluster.json") }
func (l layout) kubeconfig() string  { return l.path("kubeconfig") }
func (l layout) logs() string        { return l.path("logs") }
func (l layout) kube() string        { return l.path("kube") }
func (l layout) machines() string    { return l.path("machines") }

func (l layout) machine(name string) string { return filepath.Join(l.machines(), name) }

// inner is the admin's kubeconfig of those who run in the control plane's network.
func (l layout) inner() string { return filepath.Join(l.kube(), "admin.kubeconfig") }

func (l layout) authority() string { return filepath.Join(l.kube(), "pki", "ca.crt") }

// cgroup is of this folder's cluster alone, so that what one that was killed left is found again.
func (l layout) cgroup() string {
	return fmt.Sprintf("/hayloft-cluster-%.4x", sha256.Sum256([]byte(l.dir)))
}

// check refuses folders that a machine would not see, as it has its own there.
func (l layout) check() error {
	for _, own := range []string{"/run", "/var/run", "/var/lib", "/var/log", "/proc"} {
		if l.dir == own || strings.HasPrefix(l.dir, own+"/") {
			return fmt.Errorf("the cluster's folder is %s: choose one that is not below %s", l.dir, own)
		}
	}
	return nil
}

func (l layout) clear() error {
	if err := os.RemoveAll(l.logs()); err != nil {
		return fmt.Errorf("clearing the folder: %w", err)
	}
	return l.clearAllButLogs()
}

// clearAllButLogs removes what is of no use without a running cluster.
func (l layout) clearAllButLogs() error {
	for _, path := range []string{l.description(), l.kubeconfig(), l.kube(), l.machines()} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("clearing the folder: %w", err)
		}
	}
	return nil
}

// Describe reads what a running cluster says of itself.
func Describe(dir string) (Description, error) {
	var d Description
	data, err := os.ReadFile(layout{dir: dir}.description())
	if errors.Is(err, os.ErrNotExist) {
		return d, fmt.Errorf("no cluster is ready in %s", dir)
	}
	if err == nil {
		err = json.Unmarshal(data, &d)
	}
	if err != nil {
		return d, fmt.Errorf("reading about the cluster in %s: %w", dir, err)
	}
	return d, nil
}

// write writes the file whole or not at all, since others wait for it to appear.
func (d Description) write(path string) error {
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("describing the cluster: %w", err)
	}
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("describing the cluster: %w", err)
	}
	return os.Rename(path+".new", path)
}
