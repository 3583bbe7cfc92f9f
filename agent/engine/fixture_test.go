package engine_test

import (
	"context"
	"flag"
	"io"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	replicaclient "github.com/longhorn/longhorn-engine/pkg/replica/client"
	"hayloft.dev/agent/engine"
	"hayloft.dev/test/enginetest"
)

// limit bounds what a test waits for on a busy machine.
const limit = time.Minute

const block = enginetest.BlockBytes

func TestMain(m *testing.M) {
	// The data path's client logs every connection that a test closes.
	logrus.SetOutput(io.Discard)
	// Of whoever runs the tests: the SDK would trust it in place of what a test says.
	if err := os.Unsetenv("AWS_CA_BUNDLE"); err != nil {
		panic(err)
	}
	flag.Parse()
	// Tests mostly wait, for two seconds at each of backupstore's locks.
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := f.Value.Set("8"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func open(v *enginetest.Volume) *engine.Engine {
	return engine.Open(engine.Address{Volume: v.Name, Instance: v.Instance, Addr: v.Addr})
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// fresh is a name that nobody else uses.
func fresh(prefix string) string { return prefix + "-" + uuid.NewString()[:8] }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cut cuts a snapshot of the volume under a fresh name.
func cut(t *testing.T, v *enginetest.Volume) string {
	t.Helper()
	name := fresh("snap")
	must(t, open(v).CutSnapshot(within(t, limit), name, nil))
	return name
}

// start starts a backup of a snapshot under a fresh name.
func start(t *testing.T, v *enginetest.Volume, target *enginetest.Target, snapshot string) (string, engine.BackupStarted) {
	t.Helper()
	name := fresh("backup")
	started, err := open(v).StartBackup(within(t, limit), engine.BackupRequest{
		Snapshot: snapshot, Backup: name, TargetURL: target.URL, Credential: target.Credential,
	})
	must(t, err)
	return name, started
}

// whole waits until a backup is whole on the target.
func whole(t *testing.T, v *enginetest.Volume, target *enginetest.Target, backup string) enginetest.Backup {
	t.Helper()
	var b enginetest.Backup
	enginetest.Eventually(t, limit, "backup "+backup+" is whole on the target", func() bool {
		var found bool
		b, found = target.Backup(v.Name, backup)
		return found && b.CreatedTime != ""
	})
	return b
}

// backUp backs a snapshot up and returns the backup's name.
func backUp(t *testing.T, v *enginetest.Volume, target *enginetest.Target, snapshot string) string {
	t.Helper()
	name, _ := start(t, v, target, snapshot)
	whole(t, v, target, name)
	return name
}

func restoreRequest(target *enginetest.Target, from *enginetest.Volume, backup string) engine.RestoreRequest {
	return engine.RestoreRequest{
		BackupURL:  target.BackupURL(from.Name, backup),
		File:       "volume-snap-" + fresh("restored") + ".img",
		Credential: target.Credential,
	}
}

// restored waits until every replica reports the backup as restored.
func restored(t *testing.T, v *enginetest.Volume, backup string) {
	t.Helper()
	enginetest.Eventually(t, limit, "every replica has restored "+backup, func() bool {
		list, err := open(v).RestoreStatus(within(t, limit))
		must(t, err)
		for _, r := range list {
			if r.State == engine.StateError {
				t.Fatalf("replica %s: %s", r.Address, r.Error)
			}
			if r.LastRestored != backup || r.Restoring {
				return false
			}
		}
		return true
	})
}

// restoredSum restores a backup into a fresh volume of two replicas, attaches
// it again with a front end and returns its sha256.
func restoredSum(t *testing.T, target *enginetest.Target, from *enginetest.Volume, backup string, o enginetest.Options) string {
	t.Helper()
	o.SizeBytes, o.Replicas, o.NoFrontend = from.SizeBytes, 2, true
	v := enginetest.Start(t, o)
	must(t, open(v).StartRestore(within(t, limit), restoreRequest(target, from, backup)))
	restored(t, v, backup)
	v.Detach()
	v.Attach(true)
	return v.Device().Sum()
}

// raw is a client to one replica without any of the guards under test.
func raw(t *testing.T, v *enginetest.Volume, replica int) *replicaclient.ReplicaClient {
	t.Helper()
	c, err := replicaclient.NewReplicaClient(v.Replicas[replica].Addr, v.Name, "")
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// rawBackup asks the first replica for a backup as a naive caller would.
func rawBackup(t *testing.T, v *enginetest.Volume, target *enginetest.Target, snapshot, backup string, threads int) error {
	t.Helper()
	_, err := raw(t, v, 0).CreateBackup(backup, snapshot, target.URL, v.Name, "", "", "lz4", threads, "", nil, target.Credential, nil)
	return err
}
