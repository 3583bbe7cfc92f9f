package cluster

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	target     = "s3"
	secretName = "s3-keys"
	storageDir = "storage" // in the cluster's folder
)

// storage is what runs beside the cluster, in the control plane's network: S3, and the local stack's stand-ins for
// longhorn-manager and KubeVirt with real engines and replicas.
type storage struct {
	Dir string
	S3  struct{ Endpoint, Bucket, Region, AccessKey, SecretKey string }
}

// startStorage starts it, with flags of `hayloft-local beside`. Pods reach the engines of a node at an address beside the
// node's.
func (k *cluster) startStorage(t *testing.T, flags ...string) {
	t.Helper()
	args := []string{
		"--target", fmt.Sprint(k.Control.PID), "--net", "--", bin(t, "local/hayloft-local"), "beside", "--dir", filepath.Join(k.Dir, storageDir),
		"--real-timing", "--kubeconfig", k.Inner, "--address", k.Control.IP,
	}
	args = append(args, flags...)
	for i, node := range k.Nodes {
		address := fmt.Sprintf("10.250.0.%d", 101+i)
		k.inControl(t, "ip", "address", "add", address+"/24", "dev", "bridge")
		args = append(args, "--node", node.Name+"="+address)
	}
	gone := k.begin(t, "storage-output", exec.Command("nsenter", args...))
	await(t, upTimeout, "the storage", func() error { return k.readStorage(t, gone) })
}

// readStorage takes up where the storage is.
func (k *cluster) readStorage(t *testing.T, gone chan struct{}) error {
	t.Helper()
	err := k.takeUp(t, gone, "storage-output", filepath.Join(storageDir, "stack.json"), &k.storage)
	k.storage.Dir = filepath.Join(k.Dir, storageDir)
	return err
}

// inControl runs a command of the real machine in the control plane's network.
func (k *cluster) inControl(t *testing.T, command ...string) {
	t.Helper()
	out, err := exec.Command("nsenter", append([]string{"--target", fmt.Sprint(k.Control.PID), "--net", "--"}, command...)...).CombinedOutput()
	require.NoError(t, err, string(out))
}

// makeTarget tells Hayloft of the S3 server, by the commands of docs/install.md.
func (k *cluster) makeTarget(t *testing.T) {
	t.Helper()
	s3 := k.storage.S3
	said := k.follow(t, "install.md", "kubectl create secret",
		"AWS_ACCESS_KEY_ID=...", "AWS_ACCESS_KEY_ID="+s3.AccessKey, "AWS_SECRET_ACCESS_KEY=...", "AWS_SECRET_ACCESS_KEY="+s3.SecretKey,
		`endpoint: "https://s3.example.org", bucket: backups, region: eu-1`, fmt.Sprintf("endpoint: %q, insecure: true, bucket: %q, region: %q", s3.Endpoint, s3.Bucket, s3.Region),
		"-n shop", "-n "+vmNamespace)
	require.Contains(t, said, "nothing is wrong")
	k.run(t, "hayloft", "target", "test", target)
}

// disk works on the disk of a claim that no VM uses.
func (k *cluster) disk(t *testing.T, op, claim string, args ...string) string {
	t.Helper()
	return strings.TrimSpace(k.run(t, "local/hayloft-local", append([]string{"disk", op, "--namespace", vmNamespace, "--claim", claim}, args...)...))
}

// guest talks to the guest of a running VM.
func (k *cluster) guest(t *testing.T, op, vm string, args ...string) string {
	t.Helper()
	return strings.TrimSpace(k.run(t, "local/hayloft-local", append([]string{"vm", op, vmNamespace + "/" + vm, "--dir", k.storage.Dir}, args...)...))
}
