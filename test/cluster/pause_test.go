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
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/pkg/api/v1alpha1"
)

// pauses: the container of a VM without a guest agent stands still while its disks are cut, paused by the pauser beside its
// node's agent on the node's own containerd, and goes on when that agent is killed meanwhile. The VM's hooks are run in it.
func (k *cluster) pauses(t *testing.T) {
	k.follow(t, "pause.md", "kubectl label namespace", "containerPause.enabled=true", "containerPause.enabled=true,agent.containerPause.hooks=true --wait --timeout 5m")
	k.awaitReady(t)
	k.makeVM(t, "still", k.Nodes[0].Name, 6, k.harmlessHooks)
	plain := k.startBeside(t, "still-data", k.Nodes[0].Name)

	k.makeStill(t, "still-1")
	k.awaitPoint(t, "still-1")
	struck := k.strikesWhilePaused(t, plain)
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

// strikes is how often it is tried to kill an agent that has a container paused: it may be killed before it knows.
const strikes = 3

// strikesWhilePaused kills the agent of the VM's node while its container and that of a plain pod are paused for a point, which it
// returns.
func (k *cluster) strikesWhilePaused(t *testing.T, plain *corev1.Pod) (point string) {
	t.Helper()
	const gone, none = "a pause did not end as it should", "could not pause"
	for i := range strikes {
		point := fmt.Sprintf("still-%d", 2+i)
		before := k.strike(t, point, plain)
		var said string
		await(t, patience, "the pauser to say what became of the pause", func() error {
			said = strings.TrimPrefix(k.pauserSaid(t, k.agentOn(t, k.Nodes[0].Name)), before)
			if !strings.Contains(said, gone) && !strings.Contains(said, none) {
				return fmt.Errorf("it says: %s", said)
			}
			return nil
		})
		if strings.Contains(said, gone) {
			return point
		}
		k.awaitPoint(t, point)
	}
	t.Fatalf("the agent was killed %d times, never when it knew of a pause", strikes)
	return ""
}

// strike makes a point and kills the agent when the containers have been paused for it for a while. By itself that is a tenth of
// a second: here an engine does not answer, which is stopped while the hook before the cuts waits for the guest. It returns what
// the pauser had said before.
func (k *cluster) strike(t *testing.T, point string, plain *corev1.Pod) (before string) {
	t.Helper()
	k.awaitReady(t)
	pod, vm := k.agentOn(t, k.Nodes[0].Name), k.podOf(t, "still")
	agent, guest := processOf(t, containerOf(t, pod, "agent")), processOf(t, containerOf(t, vm, "compute"))
	engine := enginePID(t, k.volumeOf(t, "still-"+disks[0]))
	tasks := []containerd.Task{k.taskOf(t, vm, "compute"), k.taskOf(t, *plain, "sh")}
	before = k.pauserSaid(t, pod)
	defer signalled(t, guest)()
	defer signalled(t, engine)()

	require.NoError(t, syscall.Kill(guest, syscall.SIGSTOP))
	k.makeStill(t, point)
	await(t, patience, "the hook before the cuts to run", func() error {
		if n := len(processesOf(t, containerOf(t, vm, "compute"))); n < 2 {
			return fmt.Errorf("%d processes are in the container: %v", n, k.point(t, point).Status.Conditions)
		}
		return nil
	})
	require.NoError(t, syscall.Kill(engine, syscall.SIGSTOP))
	require.NoError(t, syscall.Kill(guest, syscall.SIGCONT))
	var since time.Time // of the 5 s that the cuts may take
	for end := time.Now().Add(patience); since.IsZero() || time.Since(since) < time.Second; {
		require.True(t, time.Now().Before(end), "they are not paused for long: %v", k.point(t, point).Status.Conditions)
		if !paused(t, tasks) {
			since = time.Time{}
		} else if since.IsZero() {
			since = time.Now()
		}
	}
	require.NoError(t, syscall.Kill(agent, syscall.SIGKILL))
	return before
}

func paused(t *testing.T, tasks []containerd.Task) bool {
	t.Helper()
	for _, task := range tasks {
		status, err := task.Status(t.Context())
		require.NoError(t, err)
		if status.Status != containerd.Paused {
			return false
		}
	}
	return true
}

// signalled has a process go on that a test stops.
func signalled(t *testing.T, pid int) func() {
	return func() {
		t.Helper()
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Errorf("having process %d go on: %v", pid, err)
		}
	}
}

// podOf is the pod that a VM runs in.
func (k *cluster) podOf(t *testing.T, vm string) corev1.Pod {
	t.Helper()
	vmi := k.instance(t, vm)
	pods := &corev1.PodList{}
	require.NoError(t, k.c.List(t.Context(), pods, client.InNamespace(vmNamespace), client.MatchingLabels{kubevirt.CreatedByLabel: string(vmi.UID)}))
	require.Len(t, pods.Items, 1, "a VM runs in a pod")
	require.Equal(t, vmi.Status.NodeName, vmi.Status.ActivePods[pods.Items[0].UID])
	return pods.Items[0]
}

// taskOf is what runs in a container of a pod, as its node's containerd has it.
func (k *cluster) taskOf(t *testing.T, pod corev1.Pod, container string) containerd.Task {
	t.Helper()
	i := slices.IndexFunc(k.Nodes, func(m machine) bool { return m.Name == pod.Spec.NodeName })
	require.GreaterOrEqual(t, i, 0, pod.Spec.NodeName)
	c, err := containerd.New(fmt.Sprintf("/proc/%d/root/run/containerd/containerd.sock", k.Nodes[i].PID), containerd.WithDefaultNamespace("k8s.io"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	loaded, err := c.LoadContainer(t.Context(), containerOf(t, pod, container))
	require.NoError(t, err)
	task, err := loaded.Task(t.Context(), nil)
	require.NoError(t, err)
	return task
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
	found := processesOf(t, container)
	require.Len(t, found, 1, "processes of container %s", container)
	return found[0]
}

// processesOf are all processes in a container.
func processesOf(t *testing.T, container string) (found []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	require.NoError(t, err)
	for _, file := range files {
		groups, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(groups), container) {
			continue // one that cannot be read has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		require.NoError(t, err)
		found = append(found, pid)
	}
	return found
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
