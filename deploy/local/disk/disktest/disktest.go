// Package disktest gives tests real volumes: Longhorn engines and replicas without Kubernetes. It is for tests only.
package disktest

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"hayloft.dev/deploy/local/longhorn/instance"
	"hayloft.dev/deploy/local/proc"
)

// Volume is a volume whose engine runs with its front end on.
type Volume struct {
	Name string
	Size int64 // bytes
	// Kill ends the engine as a crash would and returns when it is gone.
	Kill func()
}

// Start makes a blank volume of size bytes with two replicas, which ends with the test.
func Start(t testing.TB, size int64) Volume {
	t.Helper()
	binary := Binary(t, "longhorn")
	// Sockets of all volumes are in one folder of the machine, so the name is unlike any other test's.
	name := "test-" + uuid.NewString()
	dir := t.TempDir()
	table := proc.NewTable(filepath.Join(dir, "logs"))
	var engine *proc.Process
	set := instance.NewSet(func(c instance.Command) (instance.Process, error) {
		p, err := table.Start(proc.Spec{Kind: c.Kind, Name: c.Name, Path: binary, Args: c.Args, Labels: c.Labels})
		if err != nil {
			return nil, err // not a nil *proc.Process in an interface
		}
		if c.Kind == "engine" {
			engine = p
		}
		return p, nil
	}, func(string, string) {})
	t.Cleanup(func() {
		set.StopAll()
		table.StopAll(context.Background()) // the test's own context has ended
		if err := instance.RemoveSocket(name); err != nil {
			t.Error(err)
		}
	})
	var replicas []string
	for _, r := range []struct{ name, ip string }{{"r1", "127.0.0.2"}, {"r2", "127.0.0.3"}} {
		info, err := set.StartReplica(t.Context(), instance.Replica{
			Name: name + "-" + r.name, Volume: name, IP: r.ip, Dir: filepath.Join(dir, r.name), Size: size, SnapshotMaxCount: 250,
		})
		if err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, info.Address())
	}
	_, err := set.StartEngine(t.Context(), instance.Engine{
		Name: name + "-e", Volume: name, IP: "127.0.0.1", Size: size, Replicas: replicas, Frontend: true, SnapshotMaxCount: 250,
	})
	if err != nil {
		t.Fatal(err)
	}
	return Volume{Name: name, Size: size, Kill: func() { engine.Kill() }}
}

// Binary is the path of a program in the repository's bin/local; the test fails when it was not built.
func Binary(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		path := filepath.Join(dir, "bin", "local", name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
		if dir == filepath.Dir(dir) {
			t.Fatalf("bin/local/%s is in no folder above the test: build it first", name)
		}
		dir = filepath.Dir(dir)
	}
}
