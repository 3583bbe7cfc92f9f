package cluster

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestFolders(t *testing.T) {
	for dir, fits := range map[string]bool{
		"/tmp/cluster": true, "/var/library": true, "/home/run": true, "/runs": true,
		"/run": false, "/run/cluster": false, "/var/run/cluster": false, "/var/lib/cluster": false, "/var/log/x": false,
	} {
		if err := (layout{dir: dir}).check(); (err == nil) != fits {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// TestCgroup: who comes later finds the cgroup of the same folder, and of no other.
func TestCgroup(t *testing.T) {
	one, other := layout{dir: "/tmp/one"}.cgroup(), layout{dir: "/tmp/other"}.cgroup()
	if one == other || one != (layout{dir: "/tmp/one"}).cgroup() {
		t.Errorf("%s and %s", one, other)
	}
	if strings.Count(one, "/") != 1 || len(one) < len("/hayloft-cluster-")+4 {
		t.Errorf("%s is not one folder of ours", one)
	}
}

func TestDescribe(t *testing.T) {
	dir := t.TempDir()
	if _, err := Describe(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("of a folder without a cluster: %v", err)
	}
	want := Description{Control: MachineInfo{Name: "control", PID: 7}, Nodes: []MachineInfo{{Name: "node-1", IP: "10.250.0.11", PID: 8}}}
	if err := want.write(filepath.Join(dir, "cluster.json")); err != nil {
		t.Fatal(err)
	}
	got, err := Describe(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, pid := range map[string]int{"control": 7, "node-1": 8} {
		if m, err := got.Machine(name); err != nil || m.PID != pid {
			t.Errorf("machine %s: %+v, %v", name, m, err)
		}
	}
	if _, err := got.Machine("node-9"); err == nil || !strings.Contains(err.Error(), "control, node-1") {
		t.Errorf("a machine that is not there: %v", err)
	}
}
