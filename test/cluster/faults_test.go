package cluster

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// fault befalls a backup of a VM that runs, in its middle. The point becomes ready all the same.
type fault struct {
	name string
	meet func(t *testing.T, g *gate, vm, point string)
}

// befall has faults befall backups of a VM to the target behind a gate, one after the other. It returns the points that came of
// it: point -> disk -> SHA-256.
func (k *cluster) befall(t *testing.T, g *gate, vm string, faults ...fault) map[string]map[string]string {
	t.Helper()
	points := map[string]map[string]string{}
	for i, f := range faults {
		point := fmt.Sprintf("%s-%d", vm, i+1)
		t.Run(f.name, func(t *testing.T) {
			want := k.rewrite(t, vm, 100+i)
			f.meet(t, g, vm, point)
			points[point] = want
		})
	}
	return points
}

// during backs a VM up and does something while its blocks are held; the point must become ready all the same.
func (k *cluster) during(t *testing.T, g *gate, vm, point string, meanwhile func()) {
	t.Helper()
	g.close()
	defer g.open()
	k.run(t, "hayloft", "backup", "create", vm, "--name", point, "--target", g.target, "-n", vmNamespace)
	g.awaitHeld(t)
	meanwhile()
	require.Equal(t, v1alpha1.BackupUploading, k.point(t, point).Status.Phase, "it is in its middle")
	g.open()
	k.awaitPoint(t, point)
}

func (k *cluster) point(t *testing.T, name string) *v1alpha1.VMBackup {
	t.Helper()
	b := &v1alpha1.VMBackup{}
	require.NoError(t, k.c.Get(t.Context(), client.ObjectKey{Namespace: vmNamespace, Name: name}, b))
	return b
}

func (k *cluster) awaitPoint(t *testing.T, name string) {
	t.Helper()
	await(t, upTimeout, "point "+name, func() error {
		b := k.point(t, name)
		require.NotEqual(t, v1alpha1.BackupFailed, b.Status.Phase, "%v", b.Status.Conditions)
		if b.Status.Phase != v1alpha1.BackupReady {
			return fmt.Errorf("it is %s: %v", b.Status.Phase, b.Status.Conditions)
		}
		return nil
	})
}

// pods are those of a component, newest state.
func (k *cluster) pods(t *testing.T, component string) []corev1.Pod {
	t.Helper()
	pods := &corev1.PodList{}
	require.NoError(t, k.c.List(t.Context(), pods, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/component": component}))
	return pods.Items
}

// killsAgent: the agent that steers a backup is killed; the transfer goes on, and the next agent adopts it.
func (k *cluster) killsAgent(t *testing.T, g *gate, vm, point string) {
	k.during(t, g, vm, point, func() {
		pod := k.agentOn(t, k.instance(t, vm).Status.NodeName)
		require.NoError(t, k.c.Delete(t.Context(), &pod, client.GracePeriodSeconds(0)))
		await(t, patience, "the killed agent's pod to go", func() error {
			err := k.c.Get(t.Context(), client.ObjectKeyFromObject(&pod), &corev1.Pod{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %w", err)
			}
			return nil
		})
		k.awaitReady(t)
	})
}

// drains: the node where a VM runs is drained in the middle of its backup. The VM migrates, and what goes on elsewhere with it is
// the backup.
func (k *cluster) drains(t *testing.T, g *gate, vm, point string) {
	node := k.instance(t, vm).Status.NodeName
	k.during(t, g, vm, point, func() {
		k.setUnschedulable(t, node, true)
		defer k.setUnschedulable(t, node, false)
		m := k.migrate(t, vm) // as KubeVirt does where it is asked to evict the VM's pod
		await(t, upTimeout, "the drained node's pods to go", func() error { return k.evict(t, node) })
		k.awaitMigrated(t, m)
	})
	k.awaitReady(t)
}

func (k *cluster) setUnschedulable(t *testing.T, node string, is bool) {
	t.Helper()
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"unschedulable":%v}}`, is))
	require.NoError(t, k.c.Patch(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, patch))
}

// evict asks for the eviction of what does not belong to a DaemonSet, as `kubectl drain` does, and says what is left. VMs in pods
// cannot migrate here and stay, and with them Longhorn's instance managers, which have a budget of none while volumes need them.
func (k *cluster) evict(t *testing.T, node string) error {
	t.Helper()
	pods := &corev1.PodList{}
	require.NoError(t, k.c.List(t.Context(), pods))
	left := 0
	for _, pod := range pods.Items {
		if pod.Spec.NodeName != node || len(pod.OwnerReferences) == 0 || pod.OwnerReferences[0].Kind == "DaemonSet" || pod.Labels[kubevirt.AppLabel] != "" || pod.Namespace == harness.LonghornNamespace {
			continue
		}
		left++
		err := k.kube.PolicyV1().Evictions(pod.Namespace).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsTooManyRequests(err) { // the budget says not yet
			return err
		}
	}
	if left > 0 {
		return fmt.Errorf("%d are left", left)
	}
	return nil
}

// cutsOff: the node whose agent steers a backup is cut off the network; another agent goes on. Healed, the node is used
// again, and nothing was done twice.
func (k *cluster) cutsOff(t *testing.T, g *gate, vm, point string) {
	node := k.instance(t, vm).Status.NodeName
	k.during(t, g, vm, point, func() {
		before := k.sessions(t, point)
		k.run(t, "cluster/hayloft-cluster", "cut", "--dir", k.Dir, node)
		await(t, upTimeout, "another agent to take over", func() error {
			for name, session := range k.sessions(t, point) {
				if session == before[name] || session == "" {
					return fmt.Errorf("job %s is with session %q", name, session)
				}
			}
			return nil
		})
	})
	k.run(t, "cluster/hayloft-cluster", "heal", "--dir", k.Dir, node)
	k.awaitReady(t)
	await(t, upTimeout, "doctor to find nothing wrong", func() error {
		out, err := k.try(t, "hayloft", "doctor")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// sessions are those that work on a point's unfinished jobs: job -> session.
func (k *cluster) sessions(t *testing.T, point string) map[string]string {
	t.Helper()
	jobs := &v1alpha1.NodeJobList{}
	require.NoError(t, k.c.List(t.Context(), jobs, client.InNamespace(namespace)))
	sessions := map[string]string{}
	for _, job := range jobs.Items {
		if job.Spec.Owner.Name == point && (job.Status.State == v1alpha1.JobPending || job.Status.State == v1alpha1.JobRunning) {
			sessions[job.Name] = job.Status.Session
		}
	}
	require.NotEmpty(t, sessions, "jobs of %s", point)
	return sessions
}

// nextTag is of the images that the release is upgraded to.
const nextTag = imageTag + "-next"

// upgrades: the release is upgraded to other images in the middle of a backup, by the command of docs/upgrade.md.
func (k *cluster) upgrades(t *testing.T, g *gate, vm, point string) {
	for _, node := range k.Nodes {
		for _, image := range []string{"agent", "coordinator"} {
			name := "hayloft.dev/" + image + ":"
			k.run(t, "cluster/hayloft-cluster", "enter", "--dir", k.Dir, node.Name, "--", "ctr", "--namespace", "k8s.io", "images", "tag", name+imageTag, name+nextTag)
		}
	}
	k.during(t, g, vm, point, func() {
		k.follow(t, "upgrade.md", "helm upgrade", "-f values.yaml", "-f "+k.values(t, nextTag)+" --wait --timeout 5m")
		k.awaitReady(t)
		k.requireImages(t, nextTag)
	})
}

// upgradesAndBack: then all is paused and resumed, and the upgrade taken back, by the page's other commands.
func (k *cluster) upgradesAndBack(t *testing.T, g *gate, vm, point string) {
	k.upgrades(t, g, vm, point)
	k.follow(t, "upgrade.md", "hayloft upgrade check")
	k.follow(t, "upgrade.md", "helm rollback", "-n hayloft-system", "-n hayloft-system --wait --timeout 5m")
	k.awaitReady(t)
	k.requireImages(t, imageTag)
}

// requireImages: every agent and every coordinator is of images with this tag.
func (k *cluster) requireImages(t *testing.T, tag string) {
	t.Helper()
	for _, component := range []string{"agent", "coordinator"} {
		for _, pod := range k.pods(t, component) {
			if pod.DeletionTimestamp == nil {
				require.True(t, strings.HasSuffix(pod.Spec.Containers[0].Image, ":"+tag), "pod %s is of %s", pod.Name, pod.Spec.Containers[0].Image)
			}
		}
	}
}

// awaitReady waits until every agent and every coordinator is ready.
func (k *cluster) awaitReady(t *testing.T) {
	t.Helper()
	await(t, upTimeout, "agents and coordinators", func() error {
		agents, coordinators := &appsv1.DaemonSet{}, &appsv1.Deployment{}
		if err := k.c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "hayloft-agent"}, agents); err != nil {
			return err
		}
		if err := k.c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "hayloft-coordinator"}, coordinators); err != nil {
			return err
		}
		seen := agents.Status.ObservedGeneration == agents.Generation && coordinators.Status.ObservedGeneration == coordinators.Generation
		if a, c := agents.Status.NumberReady, coordinators.Status.ReadyReplicas; !seen || int(a) != len(k.Nodes) || c != 2 {
			return fmt.Errorf("%d agents and %d coordinators are ready", a, c)
		}
		return nil
	})
}
