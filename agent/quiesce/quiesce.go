// Package quiesce brings the guest of a running VM to rest around a cut, and lets
// it go on afterwards: KubeVirt is asked to have its agent freeze its file
// systems, or, where there is none, the node's pauser to pause its container. What
// else has its disks mounted is paused as well.
//
// It knows how to ask and what the answers mean. When to ask, how long a guest
// may rest and what a refusal means for the point is the worker's to decide.
// Another way to bring a guest to rest belongs behind the same three methods.
package quiesce

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"hayloft.dev/agent/hooks"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Paths of KubeVirt's API. The subresources are an API group of their own,
// served by virt-api through the aggregation layer.
const (
	instances    = "/apis/kubevirt.io/v1"
	subresources = "/apis/subresources.kubevirt.io/v1"
)

// KubeVirt asks through the API server. Its methods return within their
// context's deadline.
type KubeVirt struct {
	client rest.Interface
}

// New makes a KubeVirt that asks as config says.
func New(config *rest.Config) (*KubeVirt, error) {
	c, err := rest.UnversionedRESTClientFor(unversioned(config))
	if err != nil {
		return nil, fmt.Errorf("making a client for KubeVirt: %w", err)
	}
	return &KubeVirt{client: c}, nil
}

// instance are the fields of a VirtualMachineInstance that matter here.
type instance struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Status   struct {
		Phase      string               `json:"phase"`
		NodeName   string               `json:"nodeName"`
		ActivePods map[types.UID]string `json:"activePods"`
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
	} `json:"status"`
}

// Look finds out whether the VM runs, and whether its guest could be frozen.
func (k *KubeVirt) Look(ctx context.Context, g v1alpha1.CutGuest) (Guest, error) {
	data, err := k.client.Get().AbsPath(instances, "namespaces", g.Namespace, "virtualmachineinstances", g.VM).DoRaw(ctx)
	if apierrors.IsNotFound(err) {
		return Guest{}, nil
	}
	if err != nil {
		return Guest{}, fmt.Errorf("reading the instance of VM %s/%s: %w", g.Namespace, g.VM, err)
	}
	var i instance
	if err := json.Unmarshal(data, &i); err != nil {
		return Guest{}, fmt.Errorf("reading the instance of VM %s/%s: %w", g.Namespace, g.VM, err)
	}
	owner := metav1.GetControllerOf(&i.Metadata)
	if owner == nil || owner.UID != g.VMUID {
		return Guest{}, fmt.Errorf("the instance %s/%s is not of the VM that is being cut", g.Namespace, g.VM)
	}
	out := Guest{Node: i.Status.NodeName, Pods: i.Status.ActivePods, Running: i.Status.Phase != "Succeeded" && i.Status.Phase != "Failed"}
	out.Hooks, out.HooksWrong = hooks.Parse(i.Metadata.Annotations)
	for _, c := range i.Status.Conditions {
		if c.Type == "AgentConnected" && c.Status == string(metav1.ConditionTrue) {
			out.Agent = true
		}
	}
	return out, nil
}

// Freeze has the guest's file systems flushed and frozen. The guest thaws by
// itself when the deadline has passed, counted from when it was frozen.
func (k *KubeVirt) Freeze(ctx context.Context, g v1alpha1.CutGuest) error {
	body, err := json.Marshal(map[string]any{"unfreezeTimeout": metav1.Duration{Duration: time.Duration(g.DeadlineSeconds) * time.Second}})
	if err != nil {
		return fmt.Errorf("freezing the guest of VM %s/%s: %w", g.Namespace, g.VM, err)
	}
	return k.put(ctx, g, "freeze", body)
}

// Thaw lets the guest go on. One that is not frozen is left as it is.
func (k *KubeVirt) Thaw(ctx context.Context, g v1alpha1.CutGuest) error {
	return k.put(ctx, g, "unfreeze", nil)
}

func (k *KubeVirt) put(ctx context.Context, g v1alpha1.CutGuest, verb string, body []byte) error {
	r := k.client.Put().AbsPath(subresources, "namespaces", g.Namespace, "virtualmachineinstances", g.VM, verb)
	if body != nil {
		r = r.SetHeader("Content-Type", "application/json").Body(body)
	}
	if err := r.Do(ctx).Error(); err != nil {
		return fmt.Errorf("asking KubeVirt to %s the guest of VM %s/%s: %w", verb, g.Namespace, g.VM, err)
	}
	return nil
}

// unversioned is config for requests by path.
func unversioned(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.GroupVersion = nil
	c.APIPath = "/"
	c.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	return c
}
