package cluster

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestClusterLeavesNothing: a cluster that is killed in the middle of work leaves no process and no mount, and `down`
// removes the rest.
func TestClusterLeavesNothing(t *testing.T) {
	needsCluster(t)
	t.Parallel()
	working.Wait()
	k := newCluster(t, "--images", bin(t, "images/hayloft-images.tar"))
	for _, node := range k.Nodes {
		k.runPod(t, node.Name)
	}
	namespaces := map[string]bool{}
	for _, m := range append(k.Nodes, k.Control) {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", m.PID))
		require.NoError(t, err)
		namespaces[link] = true
	}
	require.Len(t, namespaces, 3, "each machine has a network of its own")
	require.NotEmpty(t, holders(t, namespaces))
	require.NotEmpty(t, traces(t, k.Dir))

	require.NoError(t, k.program.Process.Signal(syscall.SIGKILL))
	<-k.gone
	await(t, patience, "all processes to go", func() error {
		if left := holders(t, namespaces); len(left) > 0 {
			return fmt.Errorf("%v are left", left)
		}
		return nil
	})
	require.Contains(t, k.run(t, "cluster/hayloft-cluster", "down", "--dir", k.Dir), "ended")
	require.Empty(t, traces(t, k.Dir))
	left, err := filepath.Glob(filepath.Join(k.Dir, "*"))
	require.NoError(t, err)
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	require.Subset(t, []string{"lock", "logs", "output"}, left)
	require.Contains(t, k.run(t, "cluster/hayloft-cluster", "down", "--dir", k.Dir), "no cluster is running")
}

// TestInterrupt: who interrupts these tests, while a cluster is on its way up, finds nothing left of them.
func TestInterrupt(t *testing.T) {
	needsCluster(t)
	t.Parallel()
	const held = "HAYLOFT_INTERRUPT"
	if os.Getenv(held) != "" {
		newCluster(t)
		select {} // until this process is interrupted
	}
	working.Wait()
	dir, folder := t.TempDir(), ""
	self, err := os.Executable()
	require.NoError(t, err)
	tests := exec.Command(self, "-test.run=^TestInterrupt$")
	tests.Env = append(os.Environ(), held+"=1", "TMPDIR="+dir)
	require.NoError(t, tests.Start())
	await(t, upTimeout, "a cluster to begin", func() error {
		folders, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		for _, folder = range folders {
			if len(traces(t, folder)) > 0 {
				return nil
			}
		}
		return fmt.Errorf("nothing is to be seen of it")
	})
	require.NoError(t, tests.Process.Signal(os.Interrupt))
	var exit *exec.ExitError
	require.ErrorAs(t, tests.Wait(), &exit)
	require.Equal(t, interrupted, exit.ExitCode())
	require.Empty(t, traces(t, folder))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// runPod runs a pod of an image that was made here to its end, on a node, and reads what it said from the kubelet.
func (k *cluster) runPod(t *testing.T, node string) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "says-its-version-on-" + node},
		Spec: corev1.PodSpec{
			NodeName: node, RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "hayloft", Image: "hayloft.dev/hayloft:" + imageTag, Args: []string{"--version"},
				// As the chart's are: what a machine does not give them it does not give this one.
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(128*mib, resource.BinarySI)}},
				SecurityContext: &corev1.SecurityContext{
					RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
					Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
					SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
				},
			}},
		},
	}
	_, err := k.kube.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	require.NoError(t, err)
	await(t, patience, "pod "+pod.Name, func() error {
		got, err := k.kube.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got.Status.Phase != corev1.PodSucceeded {
			return fmt.Errorf("it is %s: %v", got.Status.Phase, got.Status.ContainerStatuses)
		}
		return nil
	})
	said, err := k.logs(t.Context(), "default", pod.Name)
	require.NoError(t, err)
	require.Contains(t, said, imageTag)
}

// holders are the processes that are in one of the namespaces.
func holders(t *testing.T, namespaces map[string]bool) (all []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	require.NoError(t, err)
	for _, path := range links {
		link, err := os.Readlink(path)
		if err != nil {
			continue // it has ended
		}
		if namespaces[link] {
			all = append(all, strings.Split(path, "/")[2])
		}
	}
	return all
}

// traces are what the cluster of a folder makes outside it: cgroups, and mounts that the machine sees.
func traces(t *testing.T, folder string) []string {
	t.Helper()
	var all []string
	cgroup := fmt.Sprintf("hayloft-cluster-%.4x", sha256.Sum256([]byte(folder)))
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() && entry.Name() == cgroup {
			all = append(all, path)
			return fs.SkipDir
		}
		return err
	})
	require.NoError(t, err)
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, folder+"/") {
			all = append(all, line)
		}
	}
	return all
}
