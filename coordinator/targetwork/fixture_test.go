package targetwork_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"hayloft.dev/coordinator/targetwork"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/enginetest"
	"hayloft.dev/test/harness"
)

// limit bounds one operation on a busy machine.
const limit = time.Minute

// canary is the target's secret key; it must show up nowhere.
const canary = "enginetest-secret"

func TestMain(m *testing.M) {
	if parentMode() {
		return
	}
	os.Exit(m.Run())
}

// world is a cluster, and a worker in it.
type world struct {
	*targetwork.Caller
	client *kubernetes.Clientset
	// vms is the namespace of the VMs.
	vms string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	config := harness.APIServer(t)
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return &world{
		Caller: &targetwork.Caller{Path: harness.TestedBinary(t, "targetio"), Kubeconfig: harness.Kubeconfig(t), Namespace: harness.Namespace(t, config)},
		client: client,
		vms:    harness.Namespace(t, config),
	}
}

// asItself has the worker act as the coordinator's account, with the rights of
// deploy/rbac and no others. The test stays an administrator.
func (w *world) asItself(t *testing.T) {
	t.Helper()
	config := harness.APIServer(t)
	harness.Account(t, config, "hayloft-coordinator", w.Namespace, harness.Namespace(t, config))
	w.Kubeconfig = harness.TokenKubeconfig(t, config, harness.Token(t, config, w.Namespace, "hayloft-coordinator"))
}

// credential makes a target's Secret and returns its name.
func (w *world) credential(t *testing.T, key, secret string) string {
	t.Helper()
	s, err := w.client.CoreV1().Secrets(w.Namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "target-"},
		StringData: map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return s.Name
}

// s3 is a BackupTarget for a test's S3 target.
func (w *world) s3(t *testing.T, s *enginetest.Target) targetwork.Target {
	t.Helper()
	bt := targetwork.Target{Spec: v1alpha1.BackupTargetSpec{
		S3:               &v1alpha1.S3Target{Endpoint: s.Credential["AWS_ENDPOINTS"], Insecure: true, Bucket: "backups", Region: "us-east-1"},
		CredentialSecret: w.credential(t, s.Credential["AWS_ACCESS_KEY_ID"], s.Credential["AWS_SECRET_ACCESS_KEY"]),
	}}
	bt.Name = "s3"
	return bt
}

func directory(path string) targetwork.Target {
	bt := targetwork.Target{Spec: v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: path}}}
	bt.Name = "directory"
	return bt
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// failed asserts an error's reason and part of its sentence.
func failed(t *testing.T, err error, reason targetwork.Reason, says string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, reason, targetwork.ReasonOf(err), "%v", err)
	require.ErrorContains(t, err, says)
	require.NotContains(t, err.Error(), canary)
}

// transient tells whether the same operation may succeed later.
func transient(err error) bool {
	var e *targetwork.Error
	return errors.As(err, &e) && e.Transient
}

// longhorn runs the engine's own command line on a volume.
func longhorn(t *testing.T, v *enginetest.Volume, target *enginetest.Target, args ...string) string {
	t.Helper()
	cmd := exec.Command(enginetest.Program(t, "longhorn"), append([]string{"--url", v.Addr, "--volume-name", v.Name, "--engine-instance-name", v.Instance}, args...)...)
	cmd.Env = os.Environ()
	if target != nil {
		for k, value := range target.Credential {
			cmd.Env = append(cmd.Env, k+"="+value)
		}
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "longhorn %s: %s", strings.Join(args, " "), out)
	return string(out)
}

func snapshot(t *testing.T, v *enginetest.Volume, name string) {
	t.Helper()
	longhorn(t, v, nil, "snapshot", "create", name)
}

func startBackup(t *testing.T, v *enginetest.Volume, target *enginetest.Target, snapshot, backup string) {
	t.Helper()
	longhorn(t, v, target, "backup", "create", snapshot, "--dest", target.URL, "--backup-name", backup)
}

// backUp backs up and waits until the backup is complete on the target.
func backUp(t *testing.T, v *enginetest.Volume, target *enginetest.Target, snapshot, backup string) {
	t.Helper()
	startBackup(t, v, target, snapshot, backup)
	enginetest.Eventually(t, limit, "backup "+backup+" is complete", func() bool {
		b, found := target.Backup(v.Name, backup)
		return found && b.CreatedTime != ""
	})
	// The lock goes a moment later; a test that deletes needs it gone.
	enginetest.Eventually(t, limit, "the lock of "+backup+" is gone", func() bool { return len(locks(t, target, v.Name)) == 0 })
}

// locks are the lock files of a volume on the target.
func locks(t *testing.T, target *enginetest.Target, volume string) []string {
	t.Helper()
	return onTarget(t, target, volume, "locks", "*.lck")
}

// onTarget finds files of a volume on the target.
func onTarget(t *testing.T, target *enginetest.Target, volume string, path ...string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(append([]string{target.Dir, "backupstore", "volumes", "*", "*", volume}, path...)...))
	require.NoError(t, err)
	return found
}

// readPoint asks for a document.
func readPoint(path, digest string) targetwork.ReadDocumentRequest {
	return targetwork.ReadDocumentRequest{Path: path, Digest: digest}
}

// outcome is what a probe says when only that matters.
func outcome(_ targetwork.ProbeResult, err error) error { return err }
