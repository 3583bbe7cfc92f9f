package nfs

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/agent/engine"
	"hayloft.dev/coordinator/shares"
	"hayloft.dev/coordinator/targetio/backups"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/document"
	"hayloft.dev/pkg/target"
	"hayloft.dev/test/enginetest"
)

// limit bounds a wait in a guest that is ten times slower than its host.
const limit = 3 * time.Minute

const (
	share  = "/mnt/share" // where the kubelet would mount it
	behind = "/srv/b"     // where the server has it
)

// spec of the target, without options: those of Longhorn and of ours are used.
var spec = v1alpha1.BackupTargetSpec{NFS: &v1alpha1.NFSTarget{Server: "127.0.0.1", Path: "/b"}}

// TestNFS is run in the guest: a replica mounts the share by itself, backs a volume up
// to it and restores it, and the target worker works on the same files through the
// Pod's program, on a mount with the options that the Pod's volume has.
func TestNFS(t *testing.T) {
	if os.Getpid() != 1 {
		t.Skip("it takes a guest: make nfs")
	}
	url, err := target.URL(spec)
	require.NoError(t, err)
	credential, err := target.Credential(spec, nil)
	require.NoError(t, err)
	at := enginetest.Directory(t)
	at.URL, at.Dir, at.Credential = url, behind, credential
	mountShare(t)
	address, config := pod(t, nobody)
	s := open(t, address, config)

	v := enginetest.Start(t, enginetest.Options{SizeBytes: 16 << 20})
	v.Device().WriteBlocks(1, 0, 3)
	sum := v.Device().Sum()
	e := openEngine(v)
	require.NoError(t, e.CutSnapshot(within(t, limit), "snap", nil))
	_, err = e.StartBackup(within(t, limit), engine.BackupRequest{Snapshot: "snap", Backup: "one", TargetURL: at.URL, Credential: at.Credential})
	require.NoError(t, err)
	enginetest.Eventually(t, limit, "the backup is whole on the share", func() bool {
		b, found := at.Backup(v.Name, "one")
		return found && b.CreatedTime != ""
	})
	st, err := os.Stat(filepath.Join(behind, "backupstore"))
	require.NoError(t, err)
	require.EqualValues(t, nobody, st.Sys().(*syscall.Stat_t).Uid, "the server squashes root, as it does by default")
	t.Log("a volume was backed up over NFS")

	disk := document.Disk{Name: "root", Claim: "c", Volume: v.Name, SizeBytes: v.SizeBytes, Snapshot: "snap", Backup: "one", NumberOfReplicas: 1}
	enginetest.Eventually(t, limit, "the target worker sees the backup", func() bool {
		found, err := backups.Blocks(within(t, limit), s, "shop", disk)
		return err == nil && found.SizeBytes == 3*enginetest.BlockBytes
	})
	const path = "hayloft/points/shop/web-00000000-0000-0000-0000-000000000001.json"
	require.NoError(t, s.Write(within(t, limit), path, []byte("a document")))
	require.FileExists(t, filepath.Join(behind, path))
	var listed []string
	require.NoError(t, s.Walk(within(t, limit), "hayloft/points", func(f store.File) error { listed = append(listed, f.Path); return nil }))
	require.Equal(t, []string{path}, listed)
	require.NoError(t, s.Remove(within(t, limit), path))
	require.NoFileExists(t, filepath.Join(behind, path))

	restored := enginetest.Start(t, enginetest.Options{SizeBytes: v.SizeBytes, NoFrontend: true})
	require.NoError(t, openEngine(restored).StartRestore(within(t, limit), engine.RestoreRequest{
		BackupURL: target.BackupURL(url, v.Name, "one"), File: "volume-snap-restored.img", Credential: credential,
	}))
	enginetest.Eventually(t, limit, "the volume is restored", func() bool {
		list, err := openEngine(restored).RestoreStatus(within(t, limit))
		require.NoError(t, err)
		return len(list) == 1 && list[0].LastRestored == "one" && !list[0].Restoring
	})
	restored.Detach()
	restored.Attach(true)
	require.Equal(t, sum, restored.Device().Sum())
	t.Log("and restored")

	// A user to whom the server gives nothing.
	strange, theirs := pod(t, 1000)
	_, err = open(t, strange, theirs).List(within(t, limit), "backupstore")
	requireReason(t, err, protocol.AccessDenied)

	// A server that is away costs an operation its time; when it is back all goes on.
	require.NoError(t, threads(0))
	_, err = s.List(within(t, 5*time.Second), "backupstore")
	requireReason(t, err, protocol.Timeout)
	t.Log(err)
	require.NoError(t, export()) // it takes a minute, in which it waits for a port mapper that is not there
	t.Log("the server is back")
	enginetest.Eventually(t, limit, "the share is served again", func() bool {
		_, err := s.List(within(t, 10*time.Second), "backupstore")
		return err == nil
	})

	require.NoError(t, backups.Delete(within(t, limit), s, []protocol.Backup{{Volume: v.Name, Backup: "one"}}))
	blocks, err := filepath.Glob(filepath.Join(behind, "backupstore", "volumes", "*", "*", v.Name, "blocks", "*", "*", "*.blk"))
	require.NoError(t, err)
	require.Empty(t, blocks, "blocks are left")
}

// mountShare mounts it as the kubelet does for the Pod's claim.
func mountShare(t *testing.T) {
	t.Helper()
	made := shares.Decide(time.Now(), shares.Options{}, shares.Seen{Targets: []v1alpha1.BackupTarget{{ObjectMeta: metav1.ObjectMeta{Name: "nas"}, Spec: spec}}})
	volume := made.Create[0].(*corev1.PersistentVolume)
	nfs := volume.Spec.NFS
	out, err := exec.Command("mount", "-t", "nfs", "-o", strings.Join(volume.Spec.MountOptions, ","), nfs.Server+":"+nfs.Path, share).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() { _ = syscall.Unmount(share, syscall.MNT_DETACH) })
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, share) {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// ports of the Pods' programs; each has one of its own here.
var ports = 9481

// pod runs what runs in the Pod of the share, as a user.
func pod(t *testing.T, user uint32) (address string, config *tls.Config) {
	t.Helper()
	keys, err := shares.NewKeys(time.Now(), &corev1.Pod{})
	require.NoError(t, err)
	folder := fmt.Sprintf("/keys/%d", user)
	require.NoError(t, os.MkdirAll(folder, 0o755))
	for _, key := range []string{shares.KeyServerCert, shares.KeyServerKey, shares.KeyClientCert} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, key), keys.Data[key], 0o644))
	}
	config, err = shares.ClientTLS(keys.Data)
	require.NoError(t, err)
	address = net.JoinHostPort("127.0.0.1", fmt.Sprint(ports))
	ports++
	cmd := exec.Command(here+"/bin/targetio", "share", "--listen", address, "--root", share, "--keys", folder,
		"--source", shares.Source(spec), "--field", shares.Field(spec))
	cmd.Stderr, cmd.Env = os.Stdout, []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	enginetest.Eventually(t, limit, "the Pod's program listens", func() bool {
		c, err := net.Dial("tcp", address)
		return err == nil && c.Close() == nil
	})
	return address, config
}

func open(t *testing.T, address string, config *tls.Config) *store.Store {
	t.Helper()
	s, err := store.Open(spec, nil, store.Place{Remote: &store.Remote{Pod: "share-1", Address: address, TLS: config}})
	require.NoError(t, err)
	return s
}

func openEngine(v *enginetest.Volume) *engine.Engine {
	return engine.Open(engine.Address{Volume: v.Name, Instance: v.Instance, Addr: v.Addr})
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func requireReason(t *testing.T, err error, want protocol.Reason) {
	t.Helper()
	var e *protocol.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, want, e.Reason, "%v", err)
}
