package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"hayloft.dev/coordinator/shares"
	"hayloft.dev/coordinator/targetio/cluster"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/coordinator/targetio/store"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

// place is where a target can be worked on, if it is a share.
func (w *worker) place(ctx context.Context, t protocol.Target) (store.Place, error) {
	switch {
	case !target.Mounted(t.Spec):
		return store.Place{}, nil
	case w.pods:
		r, err := w.podOf(ctx, t)
		return store.Place{Remote: r}, err
	case w.mounts != "" && t.Name != "":
		return store.Place{Mount: filepath.Join(w.mounts, t.Name)}, nil
	}
	return store.Place{}, nil
}

// podOf finds the Pod into which a share is mounted, with the keys for it.
func (w *worker) podOf(ctx context.Context, t protocol.Target) (*store.Remote, error) {
	listed, err := w.cluster.List(ctx, cluster.Pods, w.namespace, shares.LabelShare+"="+shares.Key(t.Name, t.Spec), "")
	if err != nil {
		return nil, err
	}
	var pods []corev1.Pod
	for i := range listed {
		p := corev1.Pod{}
		if err := cluster.Decode(&listed[i], &p); err != nil {
			return nil, err
		}
		pods = append(pods, p)
	}
	// The newest first: it may have been made because the one before does not answer.
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	for i := range pods {
		p := &pods[i]
		if !shares.Ready(p) {
			continue
		}
		secret, err := w.cluster.Secret(ctx, w.namespace, p.Name)
		if err != nil {
			return nil, err
		}
		config, err := shares.ClientTLS(secret.Data)
		if err != nil || !shares.Of(secret, p) {
			return nil, &protocol.Error{Reason: protocol.Internal, Transient: true, Message: fmt.Sprintf(
				"Secret %s/%s does not hold the keys of the Pod of that name (%v): it is made anew", w.namespace, p.Name, err)}
		}
		return &store.Remote{Pod: p.Name, Address: net.JoinHostPort(p.Status.PodIP, strconv.Itoa(shares.Port)), TLS: config}, nil
	}
	return nil, w.whyNot(ctx, t, pods)
}

// whyNot says why no Pod has a share mounted. What keeps it from running is told
// first, then what the server says to this process, since a kubelet tells of a mount
// that fails after minutes, and then what the kubelet has said.
func (w *worker) whyNot(ctx context.Context, t protocol.Target, pods []corev1.Pod) error {
	share := fmt.Sprintf("%s (%s) is not mounted", shares.Source(t.Spec), shares.Field(t.Spec))
	why, mounting := "it has no Pod yet, and gets one soon after the target was made", true
	if len(pods) > 0 {
		why, mounting = waitsFor(&pods[0])
		why = fmt.Sprintf("Pod %s/%s, into which it is to be, is not ready: %s", w.namespace, pods[0].Name, why)
	} else if t.Spec.CIFS != nil {
		why = "kubelets mount no CIFS by themselves, so name a claim that holds the share (the chart's coordinator.targetMounts)"
	}
	if mounting && t.Spec.NFS != nil {
		if err := answers(ctx, *t.Spec.NFS); err != nil {
			return err
		}
	}
	if mounting && len(pods) > 0 {
		if said := w.lastWarning(ctx, &pods[0]); said != "" {
			why = fmt.Sprintf("Pod %s/%s, into which it is to be, is not ready: %s", w.namespace, pods[0].Name, said)
		}
	}
	return &protocol.Error{Reason: protocol.NotFound, Transient: true, Message: share + ": " + why}
}

// lastWarning is what Kubernetes has said of a Pod, "" for nothing.
func (w *worker) lastWarning(ctx context.Context, p *corev1.Pod) string {
	listed, err := w.cluster.List(ctx, cluster.Events, w.namespace, "", fields.OneTermEqualSelector("involvedObject.uid", string(p.UID)).String())
	if err != nil {
		return "" // what the Pod says is told instead
	}
	var last corev1.Event
	for i := range listed {
		e := corev1.Event{}
		if cluster.Decode(&listed[i], &e) == nil && e.Type == corev1.EventTypeWarning && !seen(e).Before(seen(last)) {
			last = e
		}
	}
	if last.Message == "" {
		return ""
	}
	return last.Reason + ": " + cut(strings.Join(strings.Fields(last.Message), " "), 600)
}

func seen(e corev1.Event) time.Time {
	if !e.EventTime.IsZero() {
		return e.EventTime.Time
	}
	return e.LastTimestamp.Time
}

// waitsFor is what a Pod's own status says, and whether that may be the mount.
func waitsFor(p *corev1.Pod) (why string, mounting bool) {
	for _, c := range p.Status.ContainerStatuses {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "ContainerCreating":
			return strings.TrimSuffix(c.State.Waiting.Reason+": "+c.State.Waiting.Message, ": "), false
		case c.State.Terminated != nil:
			return strings.TrimSuffix(c.State.Terminated.Reason+": "+c.State.Terminated.Message, ": "), false
		case c.State.Running != nil:
			return "it runs and does not listen yet", false
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason + ": " + c.Message, false
		}
	}
	return "it is starting", true
}

// nfsPort is where NFS 4 is served, unless an option says otherwise.
const nfsPort = "2049"

// answers says what is wrong with an NFS server that nobody can connect to.
func answers(ctx context.Context, nfs v1alpha1.NFSTarget) error {
	port := nfsPort
	for _, o := range nfs.Options {
		if v, ok := strings.CutPrefix(o, "port="); ok {
			port = v
		}
	}
	address := net.JoinHostPort(strings.Trim(nfs.Server, "[]"), port)
	d := net.Dialer{Timeout: 3 * time.Second}
	c, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		return c.Close()
	}
	reason, advice := protocol.Unreachable, "correct spec.nfs.server, or start the server"
	var name *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &name):
		advice = "correct spec.nfs.server, or have the name resolved"
	case errors.As(err, &network) && network.Timeout():
		// Perhaps only nodes can reach it: what keeps the Pod is told once there is more.
		reason, advice = protocol.Timeout, "is the server away, or a firewall or network policy in between?"
	}
	return &protocol.Error{Reason: reason, Transient: true, Message: fmt.Sprintf("no Pod has %s:%s mounted (spec.nfs), and its server does not answer: %v: %s", nfs.Server, nfs.Path, err, advice)}
}
