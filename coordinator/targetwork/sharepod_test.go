package targetwork_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/shares"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/enginetest"
	"hayloft.dev/test/harness"
)

// podAddresses gives each Pod of a test an address of its own: the port is the same
// for all.
var podAddresses atomic.Int32

// sharePod is the Pod of a share as the kubelet would run it: the real program, with
// its keys, on what is mounted at Root. The Pod's object is in the API server.
type sharePod struct {
	*corev1.Pod
	Root string
	keys *corev1.Secret
	cmd  *exec.Cmd
}

// pod makes a Pod's object; nothing runs accounts here, so it gets one.
func (w *world) pod(t *testing.T, name string, at targetwork.Target, node string) *corev1.Pod {
	t.Helper()
	_, err := w.client.CoreV1().ServiceAccounts(w.Namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	p, err := w.client.CoreV1().Pods(w.Namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{shares.LabelShare: shares.Key(at.Name, at.Spec)}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "share", Image: "i"}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return p
}

func (w *world) sharePod(t *testing.T, at targetwork.Target, root string) *sharePod {
	t.Helper()
	n := podAddresses.Add(1)
	ip := fmt.Sprintf("127.97.%d.%d", os.Getpid()%250+1, n)
	p := w.pod(t, fmt.Sprintf("hayloft-share-%d", n), at, "node")
	keys, err := shares.NewKeys(time.Now(), p)
	require.NoError(t, err)
	_, err = w.client.CoreV1().Secrets(w.Namespace).Create(t.Context(), keys, metav1.CreateOptions{})
	require.NoError(t, err)
	folder := t.TempDir()
	for _, key := range []string{shares.KeyServerCert, shares.KeyServerKey, shares.KeyClientCert} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, key), keys.Data[key], 0o600))
	}
	program := harness.TestedBinary(t, "targetio")
	s := &sharePod{Pod: p, Root: root, keys: keys}
	s.cmd = exec.Command(program, "share", "--listen", net.JoinHostPort(ip, fmt.Sprint(shares.Port)), "--root", root,
		"--keys", folder, "--source", shares.Source(at.Spec), "--field", shares.Field(at.Spec))
	s.cmd.Env, s.cmd.Stderr = []string{}, os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}},
	}
	s.Pod, err = w.client.CoreV1().Pods(w.Namespace).UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
	require.NoError(t, err)
	enginetest.Eventually(t, limit, "the Pod listens", func() bool {
		c, err := net.Dial("tcp", s.address())
		return err == nil && c.Close() == nil
	})
	return s
}

func (s *sharePod) address() string { return net.JoinHostPort(s.Status.PodIP, fmt.Sprint(shares.Port)) }

// children are the processes that serve connections.
func (s *sharePod) children(t *testing.T) []byte {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.cmd.Process.Pid, s.cmd.Process.Pid))
	require.NoError(t, err)
	found, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.cmd.Process.Pid))
	require.NoError(t, err)
	for _, f := range found {
		more, err := os.ReadFile(f)
		if err == nil {
			children = append(children, more...)
		}
	}
	return children
}

func nfsShare() targetwork.Target {
	return onShare(v1alpha1.BackupTargetSpec{NFS: &v1alpha1.NFSTarget{Server: "nas", Path: "/export"}})
}

// The life of a point on a share that is mounted into a Pod: documents and Longhorn's
// own files, through the real program and its channel.
func TestPointThroughThePodOfAShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SharePods = true
	if os.Getuid() != 0 {
		t.Skip("mounting a file system takes root")
	}
	engineTarget := enginetest.Directory(t)
	root := engineTarget.Dir
	require.NoError(t, syscall.Mount("tmpfs", root, "tmpfs", 0, "size=64m"))
	mounted := true
	t.Cleanup(func() {
		if mounted {
			require.NoError(t, syscall.Unmount(root, syscall.MNT_DETACH))
		}
	})
	at := nfsShare()
	pod := w.sharePod(t, at, root)
	volume := enginetest.Start(t, enginetest.Options{})
	volume.Device().WriteBlocks(1, 0, 5)
	v := w.makeVM(t, "web", volume)

	leave(t, root, uuid.NewString(), 2*time.Hour)
	require.NoError(t, outcome(w.ProbeAndTidy(within(t, limit), at)))
	requireNoFiles(t, root)
	require.NoError(t, w.Capture(within(t, limit), at, v.capture()))
	_, err := w.Finalize(within(t, limit), at, v.finalize())
	failed(t, err, protocol.NotFound, "disk disk-0")
	v.backUp(t, engineTarget, volume)
	result, err := w.Finalize(within(t, limit), at, v.finalize())
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(root, result.Path))
	d, err := w.ReadDocument(within(t, limit), at, readPoint(result.Path, result.Digest))
	require.NoError(t, err)
	require.Equal(t, v.disks, d.Disks)

	refresh := targetwork.RefreshRequest{MaxDocuments: 10, MaxRead: 10, CPUMilliseconds: 60_000}
	found, cost, err := w.Refresh(within(t, limit), at, refresh)
	require.NoError(t, err)
	require.Len(t, found.Read, 1)
	require.NotZero(t, cost.Requests)
	refresh.Known = []string{protocol.Known(found.Read[0].Path, found.Read[0].Version)}
	refresh.MaxDocuments = 1
	found, _, err = w.Refresh(within(t, limit), at, refresh)
	require.NoError(t, err)
	require.Equal(t, 1, found.Unchanged)
	other := filepath.Join(root, filepath.Dir(result.Path), "other-00000000-0000-0000-0000-000000000000.json")
	require.NoError(t, os.WriteFile(other, []byte("no document"), 0o600))
	_, _, err = w.Refresh(within(t, limit), at, refresh)
	failed(t, err, protocol.Invalid, "more than 1 documents")
	require.NoError(t, os.Remove(other))

	_, err = w.InspectBlocks(within(t, limit), at, v.point.Namespace, v.disks)
	require.NoError(t, err)
	require.NoError(t, w.DeletePoint(within(t, limit), at, targetwork.DeleteRequest{DocumentPath: result.Path, DraftUID: v.point.UID, Backups: v.deletion().Backups}))
	require.NoFileExists(t, filepath.Join(root, result.Path))
	require.Empty(t, onTarget(t, engineTarget, volume.Name, "blocks", "*", "*", "*.blk"), "blocks are left")
	enginetest.Eventually(t, limit, "no process is left of connections that ended", func() bool { return len(pod.children(t)) == 0 })

	// Errors come through with their reasons.
	fill(t, root)
	failed(t, outcome(w.Probe(within(t, limit), at)), protocol.NoSpace, "free space")
	require.NoError(t, syscall.Unmount(root, syscall.MNT_DETACH))
	mounted = false
	failed(t, outcome(w.Probe(within(t, limit), at)), protocol.NotFound, "nas:/export (spec.nfs) is not mounted at "+root)
}

// A share whose server hangs costs the operation its time and the Pod a process. When
// it is back everything goes on in the same Pod.
func TestHungShare(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting a file system takes root")
	}
	w := newWorld(t)
	w.SharePods = true
	root := t.TempDir()
	// A file system whose server never answers, not even the first request.
	server, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { _ = server.Close() }()
	require.NoError(t, syscall.Mount("nas", root, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server.Fd())))
	unmounted := false
	t.Cleanup(func() {
		if !unmounted {
			_ = syscall.Unmount(root, syscall.MNT_DETACH|syscall.MNT_FORCE)
		}
	})
	at := nfsShare()
	pod := w.sharePod(t, at, root)
	_, err = w.Probe(within(t, 5*time.Second), at)
	failed(t, err, protocol.Timeout, "") // on a busy machine the worker has no time left to say more
	require.True(t, transient(err))
	enginetest.Eventually(t, limit, "the process that hung is gone", func() bool { return len(pod.children(t)) == 0 })

	require.NoError(t, syscall.Unmount(root, syscall.MNT_DETACH|syscall.MNT_FORCE))
	unmounted = true
	require.NoError(t, syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(root, syscall.MNT_DETACH)) })
	require.NoError(t, outcome(w.Probe(within(t, limit), at)))
}

// Only who has the client's key is served, and only paths on the share.
func TestStrangersAtThePodOfAShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root := tmpfs(t, "rw")
	require.NoError(t, os.WriteFile(filepath.Join(root, "f"), []byte("content"), 0o600))
	pod := w.sharePod(t, nfsShare(), root)
	get := func(config *tls.Config, path string) (int, string, error) {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		answer, err := c.Get("https://" + pod.address() + "/v1/read?path=" + path)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		return answer.StatusCode, string(body), err
	}
	own, err := shares.ClientTLS(pod.keys.Data)
	require.NoError(t, err)
	status, body, err := get(own, "f")
	require.NoError(t, err)
	require.Equal(t, []any{200, "content"}, []any{status, body})
	for _, path := range []string{"../f", "/etc/passwd", "a/../../f", ""} {
		status, body, err := get(own, path)
		require.NoError(t, err, path)
		require.Equal(t, 500, status, path)
		require.Contains(t, body, "is not a path on a target")
	}
	another, err := shares.NewKeys(time.Now(), &corev1.Pod{})
	require.NoError(t, err)
	stranger, err := shares.ClientTLS(another.Data)
	require.NoError(t, err)
	_, _, err = get(stranger, "f")
	require.ErrorContains(t, err, "certificate signed by unknown authority", "a Pod with other keys is not asked")
	stranger.RootCAs = own.RootCAs
	_, _, err = get(stranger, "f")
	require.ErrorContains(t, err, "tls: ")
	nobody := own.Clone()
	nobody.Certificates = nil
	_, _, err = get(nobody, "f")
	require.ErrorContains(t, err, "certificate required")
	// A connection that says nothing, as the kubelet's, costs no process.
	silent, err := net.Dial("tcp", pod.address())
	require.NoError(t, err)
	defer func() { _ = silent.Close() }()
	enginetest.Eventually(t, limit, "no process is left", func() bool { return len(pod.children(t)) == 0 })
}

// Where no Pod has the share mounted, the cause is told: what is wrong with the server,
// or what Kubernetes says.
func TestShareThatIsNotMountedIntoAPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SharePods = true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	on := func(server string, options ...string) targetwork.Target {
		return onShare(v1alpha1.BackupTargetSpec{NFS: &v1alpha1.NFSTarget{Server: server, Path: "/export", Options: options}})
	}
	failed(t, outcome(w.Probe(within(t, limit), on("no-such-host.invalid"))), protocol.Unreachable, "correct spec.nfs.server, or have the name resolved")
	closed := enginetest.FreeAddr(t, 1, 1)
	_, nobody, err := net.SplitHostPort(closed)
	require.NoError(t, err)
	failed(t, outcome(w.Probe(within(t, limit), on("127.0.0.1", "soft", "port="+nobody))), protocol.Unreachable, "connection refused")
	at := on("127.0.0.1", "soft", "port="+port)
	failed(t, outcome(w.Probe(within(t, limit), at)), protocol.NotFound, "it has no Pod yet")
	failed(t, outcome(w.Probe(within(t, limit), onShare(v1alpha1.BackupTargetSpec{
		CIFS: &v1alpha1.CIFSTarget{Server: "s", Share: "x"}, CredentialSecret: w.secret(t, map[string]string{"CIFS_USERNAME": "u", "CIFS_PASSWORD": canary}),
	}))), protocol.NotFound, "name a claim that holds the share")

	p := w.pod(t, "hayloft-share-x-1", at, "")
	failed(t, outcome(w.Probe(within(t, limit), at)), protocol.NotFound, "is not ready: it is starting")
	w.asItself(t) // whose right to read events is needed here alone
	for i, message := range []string{"an older one", "MountVolume.SetUp failed for volume \"x\":\nmount.nfs: access denied by server"} {
		_, err = w.client.CoreV1().Events(w.Namespace).Create(t.Context(), &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "e-"}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: w.Namespace, Name: p.Name, UID: p.UID},
			Type: corev1.EventTypeWarning, Reason: "FailedMount", Message: message, LastTimestamp: metav1.NewTime(time.Now().Add(time.Duration(i) * time.Minute)),
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	failed(t, outcome(w.Probe(within(t, limit), at)), protocol.NotFound, "FailedMount: MountVolume.SetUp failed for volume \"x\": mount.nfs: access denied by server")
	p.Status.Phase = corev1.PodPending
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available"}}
	_, err = w.client.CoreV1().Pods(w.Namespace).UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
	require.NoError(t, err)
	failed(t, outcome(w.Probe(within(t, limit), at)), protocol.NotFound, "Unschedulable: 0/3 nodes are available")
}
