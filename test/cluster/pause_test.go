package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/pkg/api/v1alpha1"
)

// strikes is how often it is tried to kill an agent while a container is paused: the engine that keeps it so is stopped while
// a hook runs, and may be stopped too late.
const strikes = 5

// pauses: the container of a VM without a guest agent stands still while its disks are cut, paused by the pauser beside its
// node's agent on the node's own containerd, and goes on when that agent is killed meanwhile. The VM's hooks are run in it.
func (k *cluster) pauses(t *testing.T) {
	k.follow(t, "pause.md", "kubectl label namespace", "containerPause.enabled=true", "containerPause.enabled=true,agent.containerPause.hooks=true --wait --timeout 5m")
	k.awaitReady(t)
	k.makeVM(t, "still", kubevirt.RunStrategyAlways, k.Nodes[0].Name, 6, k.harmlessHooks)
	plain := k.startBeside(t, "still-data", k.Nodes[0].Name)

	k.makeStill(t, "still-1")
	k.awaitPoint(t, "still-1")
	struck := k.strikesWhilePaused(t)
	k.awaitWrites(t, "still")
	k.awaitPoint(t, struck)
	for _, name := range []string{"still-1", struck} {
		b := k.point(t, name)
		require.Equal(t, v1alpha1.ConsistencyPaused, b.Status.Consistency, "%s: %s", name, b.Status.ConsistencyMessage)
		require.NotNil(t, b.Status.FrozenMilliseconds, name)
		t.Logf("%s: paused for %d ms, %s", name, *b.Status.FrozenMilliseconds, b.Status.ConsistencyMessage)
		require.Contains(t, b.Status.ConsistencyMessage, "paused: container sh of pod "+plain.Name, "what has a claim of the VM mounted is paused with it")
		require.Len(t, b.Status.Hooks, 2, name)
		for _, h := range b.Status.Hooks {
			require.False(t, h.Failed, "%s: hook %s: %s", name, h.Hook, h.Message)
		}
	}
	left := k.run(t, "cluster/hayloft-cluster", "enter", "--dir", k.Dir, k.Nodes[0].Name, "--",
		"ctr", "-n", "k8s.io", "containers", "ls", "-q", `labels."hayloft.dev/paused-at"`)
	require.Empty(t, left, "containers with a record of a pause")
	t.Run("restored", func(t *testing.T) {
		for _, name := range []string{"still-1", struck} {
			t.Run(name, beside(func(t *testing.T) { k.requireNoneAhead(t, name) }))
		}
	})
	require.NoError(t, k.c.Delete(t.Context(), plain))
	k.loseVM(t, "still")
}

// startBeside starts a pod on a node that writes to the volume of a claim, for all that the node's containerd can tell. No CSI
// driver is here, so it is the pod's own folder, under the name of the claim's PersistentVolume: by a subPath the kubelet
// mounts a part of either from the same place.
func (k *cluster) startBeside(t *testing.T, claim, node string) *corev1.Pod {
	t.Helper()
	volume := k.volumeOf(t, claim)
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = vmNamespace, "beside"
	pod.Spec = corev1.PodSpec{
		NodeName: node, AutomountServiceAccountToken: new(false), TerminationGracePeriodSeconds: new(int64(0)),
		Volumes: []corev1.Volume{{Name: volume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		Containers: []corev1.Container{{
			Name: "sh", Image: guestImage, ImagePullPolicy: corev1.PullNever,
			VolumeMounts: []corev1.VolumeMount{{Name: volume, MountPath: "/data", SubPath: "part"}},
		}},
	}
	require.NoError(t, k.c.Create(t.Context(), pod))
	await(t, patience, "pod "+pod.Name, func() error {
		if err := k.c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("it is %s", pod.Status.Phase)
		}
		return nil
	})
	return pod
}

// harmlessHooks are run in the VM's container around a cut. They only ask its guest something.
func (k *cluster) harmlessHooks(vm *kubevirt.VirtualMachine) {
	command, err := json.Marshal([]string{"/guest", "vm", "freezes", vm.Namespace + "/" + vm.Name, "--dir", k.storage.Dir})
	if err != nil {
		panic(err) // of strings there is none
	}
	vm.Spec.Template.ObjectMeta.Annotations = map[string]string{hooks.Before + "/command": string(command), hooks.After + "/command": string(command)}
}

// makeStill makes a point for which the VM must be paused.
func (k *cluster) makeStill(t *testing.T, name string) {
	t.Helper()
	b := &v1alpha1.VMBackup{}
	b.Namespace, b.Name = vmNamespace, name
	b.Spec = v1alpha1.VMBackupSpec{
		VM: "still", Target: target,
		Quiesce: v1alpha1.Quiesce{Policy: v1alpha1.QuiesceRequired, Method: v1alpha1.QuiescePause},
	}
	require.NoError(t, k.c.Create(t.Context(), b))
}

// strikesWhilePaused kills the agent of the VM's node while the container is paused for a point, and returns the point. The
// pause lasts since an engine does not answer: by itself it is a tenth of a second.
func (k *cluster) strikesWhilePaused(t *testing.T) (point string) {
	t.Helper()
	const gone, well, none = "a pause did not end as it should", "paused and let go", "could not pause"
	engine := enginePID(t, k.volumeOf(t, "still-"+disks[0]))
	defer func() { _ = syscall.Kill(engine, syscall.SIGCONT) }()
	for i := range strikes {
		k.awaitReady(t)
		pod := k.agentOn(t, k.Nodes[0].Name)
		agent := processOf(t, containerOf(t, pod, "agent"))
		before := k.pauserSaid(t, pod)
		told, broken := k.toldOf(t, "still")
		point := fmt.Sprintf("still-%d", 2+i)
		k.makeStill(t, point)
		for is := ""; is != pausedTopic; {
			select {
			case event := <-told:
				// The hook before the cuts runs: until the container is paused, engines are asked for nothing.
				if is = event.Topic; is == hookTopic {
					require.NoError(t, syscall.Kill(engine, syscall.SIGSTOP))
				}
			case err := <-broken:
				require.NoError(t, err, "listening to containerd")
			case <-time.After(patience):
				t.Fatalf("nothing is paused: %v", k.point(t, point).Status.Conditions)
			}
		}
		require.NoError(t, syscall.Kill(agent, syscall.SIGKILL))
		require.NoError(t, syscall.Kill(engine, syscall.SIGCONT))
		var said string
		await(t, patience, "the pauser to say what became of the pause", func() error {
			said = strings.TrimPrefix(k.pauserSaid(t, pod), before)
			if !strings.Contains(said, gone) && !strings.Contains(said, well) && !strings.Contains(said, none) {
				return fmt.Errorf("it says: %s", said)
			}
			return nil
		})
		if strings.Contains(said, gone) {
			return point
		}
		k.awaitPoint(t, point)
	}
	t.Fatalf("the agent was killed %d times, never while the container was paused", strikes)
	return ""
}

// Topics of containerd's events.
const (
	hookTopic   = "/tasks/exec-started" // nothing but hooks is run in a VM's container
	pausedTopic = "/tasks/paused"
)

// toldOf tells at once when a hook begins in the container of a VM's pod and when it is paused, as its node's containerd does.
func (k *cluster) toldOf(t *testing.T, vm string) (told <-chan *events.Envelope, broken <-chan error) {
	t.Helper()
	vmi := k.instance(t, vm)
	pods := &corev1.PodList{}
	require.NoError(t, k.c.List(t.Context(), pods, client.InNamespace(vmNamespace), client.MatchingLabels{kubevirt.CreatedByLabel: string(vmi.UID)}))
	require.Len(t, pods.Items, 1, "a VM runs in a pod")
	pod := pods.Items[0]
	require.Equal(t, vmi.Status.NodeName, vmi.Status.ActivePods[pod.UID])
	for _, node := range k.Nodes {
		if node.Name != pod.Spec.NodeName {
			continue
		}
		c, err := containerd.New(fmt.Sprintf("/proc/%d/root/run/containerd/containerd.sock", node.PID), containerd.WithDefaultNamespace("k8s.io"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		filter := func(topic string) string { return fmt.Sprintf("topic==%q,event.container_id==%q", topic, containerOf(t, pod, "compute")) }
		return c.Subscribe(t.Context(), filter(hookTopic), filter(pausedTopic))
	}
	t.Fatalf("there is no node %q", pod.Spec.NodeName)
	return nil, nil
}

func (k *cluster) agentOn(t *testing.T, node string) corev1.Pod {
	t.Helper()
	for _, pod := range k.pods(t, "agent") {
		if pod.Spec.NodeName == node && pod.DeletionTimestamp == nil {
			return pod
		}
	}
	t.Fatalf("no agent is on node %s", node)
	return corev1.Pod{}
}

// pauserSaid is the log of the pauser in an agent's pod.
func (k *cluster) pauserSaid(t *testing.T, pod corev1.Pod) string {
	t.Helper()
	log, err := k.kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "pauser"}).DoRaw(t.Context())
	require.NoError(t, err)
	return string(log)
}

// containerOf is the id of a pod's container.
func containerOf(t *testing.T, pod corev1.Pod, name string) string {
	t.Helper()
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == name {
			id, is := strings.CutPrefix(c.ContainerID, "containerd://")
			require.True(t, is, "container %s of pod %s: %q", name, pod.Name, c.ContainerID)
			return id
		}
	}
	t.Fatalf("pod %s has no container %s", pod.Name, name)
	return ""
}

// processOf is the only process in a container, by its id on this machine.
func processOf(t *testing.T, container string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	require.NoError(t, err)
	var found []int
	for _, file := range files {
		groups, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(groups), container) {
			continue // one that cannot be read has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		require.NoError(t, err)
		found = append(found, pid)
	}
	require.Len(t, found, 1, "processes of container %s", container)
	return found[0]
}

// awaitWrites waits until a VM's guest has written once more.
func (k *cluster) awaitWrites(t *testing.T, vm string) {
	t.Helper()
	written := func() (sequence uint64) {
		var state struct{ Sequence uint64 }
		require.NoError(t, json.Unmarshal([]byte(k.guest(t, "status", vm)), &state))
		return state.Sequence
	}
	before := written()
	await(t, patience, "the guest of "+vm+" to write", func() error {
		if now := written(); now <= before {
			return fmt.Errorf("it is at %d", now)
		}
		return nil
	})
}

// requireNoneAhead restores a point of a VM that kept writing: no disk is ahead of the one before it, and none more than a
// round behind.
func (k *cluster) requireNoneAhead(t *testing.T, point string) {
	t.Helper()
	restored := k.restore(t, point, point+"-back")
	sequences := make([]int, len(disks))
	for name, line := range k.read(t, "sequence", restored) {
		require.Contains(t, line, "whole=true damaged=0", name)
		_, err := fmt.Sscanf(line, "sequence=%d", &sequences[slices.Index(disks, name)])
		require.NoError(t, err, line)
	}
	first, second := sequences[0], sequences[1]
	t.Logf("%s: the first disk ends with write %d, the second with %d", point, first, second)
	require.Positive(t, second)
	require.LessOrEqual(t, second, first, "the second disk is not ahead of the first")
	require.LessOrEqual(t, first-second, 1, "no round is missing on the second disk")
	k.removeRestored(t, point+"-back", restored)
}
