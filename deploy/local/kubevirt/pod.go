package kubevirt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	virt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/deploy/local/disk"
	"hayloft.dev/deploy/local/guest"
)

// podEnd is how much longer than its grace a pod may take to go; a kubelet that is away would be waited for for ever.
const podEnd = 15 * time.Second

// podGuest is a guest in a pod of the cluster.
type podGuest struct {
	client    client.Client
	pod       *corev1.Pod
	relay     *disk.Relay
	giveUp    context.CancelFunc
	isStopped atomic.Bool // that the pod is gone is no failure then
	done      chan struct{}
	err       error // how it ended; written before done is closed
}

// runPod makes the pod of a guest on a node. The kubelet starts it.
func (g *guests) runPod(ctx context.Context, vmi *virt.VirtualMachineInstance, node, image string, o guest.Options) (running, error) {
	self, err := filepath.Abs(g.self)
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	control := filepath.Dir(o.Control)
	o.Sockets = filepath.Join(control, "disks")
	volumes := make([]string, len(o.Disks))
	for i, d := range o.Disks {
		volumes[i] = d.Volume
	}
	relay, err := disk.NewRelay(o.Sockets, volumes...)
	if err != nil {
		return nil, err
	}
	pod := launcherPod(vmi, node, image, self, control)
	pod.Spec.Containers[0].Args = guest.Args(o)
	if err := g.client.Create(ctx, pod); err != nil {
		relay.Close()
		return nil, fmt.Errorf("making the guest's pod: %w", err)
	}
	ctx, giveUp := context.WithCancel(context.WithoutCancel(ctx)) // the guest outlives the call that starts it
	p := &podGuest{client: g.client, pod: pod, relay: relay, giveUp: giveUp, done: make(chan struct{})}
	go p.follow(ctx)
	return p, nil
}

// launcherPod is what virt-controller makes of an instance, as far as somebody looks at it.
func launcherPod(vmi *virt.VirtualMachineInstance, node, image, self, control string) *corev1.Pod {
	mount := func(name, path string, kind corev1.HostPathType) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}}}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: vmi.Namespace, GenerateName: "virt-launcher-" + vmi.Name + "-", Annotations: vmi.Annotations,
			Labels:          map[string]string{virt.AppLabel: "virt-launcher", virt.CreatedByLabel: string(vmi.UID)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(vmi, virt.VirtualMachineInstanceGroupVersionKind)},
		},
		Spec: corev1.PodSpec{
			NodeName: node, RestartPolicy: corev1.RestartPolicyNever,
			AutomountServiceAccountToken: new(false), EnableServiceLinks: new(false),
			SecurityContext: &corev1.PodSecurityContext{RunAsUser: new(int64(0))}, // as this program, whose files these are
			Containers: []corev1.Container{{
				Name: "compute", Image: image, ImagePullPolicy: corev1.PullNever, Command: []string{"/guest"},
				VolumeMounts: []corev1.VolumeMount{{Name: "guest", MountPath: "/guest", ReadOnly: true}, {Name: "control", MountPath: control}},
			}},
			Volumes: []corev1.Volume{mount("guest", self, corev1.HostPathFile), mount("control", control, corev1.HostPathDirectory)},
		},
	}
}

// follow looks after the pod until it has ended. Nobody else watches it, and a guest's end is seen by its disks first.
func (p *podGuest) follow(ctx context.Context) {
	defer close(p.done)
	defer p.giveUp()
	defer p.relay.Close()
	for {
		pod := &corev1.Pod{}
		err := p.client.Get(ctx, client.ObjectKeyFromObject(p.pod), pod)
		switch {
		case apierrors.IsNotFound(err):
			if !p.isStopped.Load() {
				p.err = errors.New("the guest's pod was deleted")
			}
			return
		case ctx.Err() != nil:
			p.err = errors.New("the guest's pod does not end")
			return
		case err != nil: // the API server is asked again
		case pod.Status.Phase == corev1.PodSucceeded:
			return
		case pod.Status.Phase == corev1.PodFailed:
			p.err = fmt.Errorf("the guest's pod failed: %s", howEnded(pod))
			return
		}
		time.Sleep(waitInterval)
	}
}

func howEnded(pod *corev1.Pod) string {
	for _, c := range pod.Status.ContainerStatuses {
		if end := c.State.Terminated; end != nil {
			return fmt.Sprintf("exit code %d, %s", end.ExitCode, end.Reason)
		}
	}
	return pod.Status.Reason
}

func (p *podGuest) Done() <-chan struct{} { return p.done }

func (p *podGuest) Err() error {
	<-p.done
	return p.err
}

// Stop deletes the pod, one that has ended too.
func (p *podGuest) Stop(grace time.Duration) {
	p.isStopped.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), grace+podEnd)
	defer cancel()
	// What it is refused for, the end of the instance does: it owns the pod.
	_ = p.client.Delete(ctx, p.pod, client.GracePeriodSeconds(int64(grace/time.Second)))
	select {
	case <-p.done:
	case <-ctx.Done():
		p.giveUp()
		<-p.done
	}
}
