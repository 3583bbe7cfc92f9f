// Package cluster is what the target worker may do in Kubernetes: read objects
// by exact name, create Secrets and ConfigMaps, and change and delete objects as
// they were read. It watches nothing, and lists nothing but the Pods of one share
// and what Kubernetes says of them.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"hayloft.dev/coordinator/targetio/protocol"
)

// The resources that a worker touches.
var (
	VirtualMachines         = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachines"}
	VirtualMachineInstances = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"}
	Claims                  = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
	Secrets                 = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	ConfigMaps              = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	Pods                    = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	Events                  = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	namespaces              = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

// Client reads and creates by exact name.
type Client struct{ api dynamic.Interface }

// New connects by a kubeconfig, or as the Pod it runs in when that is empty.
func New(kubeconfig string) (*Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading how to reach the Kubernetes API: %w", err)
	}
	// A worker sends a handful of requests and ends.
	config.QPS = -1
	api, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("preparing a client of the Kubernetes API: %w", err)
	}
	return &Client{api: api}, nil
}

// Get reads one object. namespace is empty for what has none.
func (c *Client) Get(ctx context.Context, r schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	u, err := c.api.Resource(r).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, failure(fmt.Sprintf("reading %s %s", r.Resource, key(namespace, name)), err)
	}
	return u, nil
}

// maxListed bounds a listing.
const maxListed = 100

// List reads the objects of a namespace that both selectors pick, at most a hundred.
func (c *Client) List(ctx context.Context, r schema.GroupVersionResource, namespace, labels, fields string) ([]unstructured.Unstructured, error) {
	l, err := c.api.Resource(r).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels, FieldSelector: fields, Limit: maxListed})
	if err != nil {
		return nil, failure(fmt.Sprintf("listing %s in %s", r.Resource, namespace), err)
	}
	return l.Items, nil
}

// Create makes one object; exists is true when its name is taken.
func (c *Client) Create(ctx context.Context, r schema.GroupVersionResource, u *unstructured.Unstructured) (exists bool, err error) {
	_, err = c.api.Resource(r).Namespace(u.GetNamespace()).Create(ctx, u, metav1.CreateOptions{FieldManager: "hayloft"})
	if apierrors.IsAlreadyExists(err) {
		return true, nil
	}
	if err != nil {
		return false, failure(fmt.Sprintf("creating %s %s", r.Resource, key(u.GetNamespace(), u.GetName())), err)
	}
	return false, nil
}

// Update writes an object that was read, unless somebody changed it since.
func (c *Client) Update(ctx context.Context, r schema.GroupVersionResource, u *unstructured.Unstructured) error {
	_, err := c.api.Resource(r).Namespace(u.GetNamespace()).Update(ctx, u, metav1.UpdateOptions{FieldManager: "hayloft"})
	if err != nil {
		return failure(fmt.Sprintf("changing %s %s", r.Resource, key(u.GetNamespace(), u.GetName())), err)
	}
	return nil
}

// Delete removes an object that was read, unless somebody changed it since. One
// that is gone is fine.
func (c *Client) Delete(ctx context.Context, r schema.GroupVersionResource, u *unstructured.Unstructured) error {
	uid, version := u.GetUID(), u.GetResourceVersion()
	err := c.api.Resource(r).Namespace(u.GetNamespace()).Delete(ctx, u.GetName(), metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return failure(fmt.Sprintf("deleting %s %s", r.Resource, key(u.GetNamespace(), u.GetName())), err)
	}
	return nil
}

// Secret reads one Secret.
func (c *Client) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	u, err := c.Get(ctx, Secrets, namespace, name)
	if err != nil {
		return nil, err
	}
	s := &corev1.Secret{}
	return s, Decode(u, s)
}

// UID of the cluster: that of its namespace kube-system.
func (c *Client) UID(ctx context.Context) (types.UID, error) {
	u, err := c.Get(ctx, namespaces, "", metav1.NamespaceSystem)
	if err != nil {
		return "", err
	}
	return u.GetUID(), nil
}

// Decode turns an object into its type. The error does not show the content.
func Decode(u *unstructured.Unstructured, into any) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into); err != nil {
		return &protocol.Error{Reason: protocol.Internal, Message: fmt.Sprintf("%s %s is not of the form that its kind has", u.GetKind(), key(u.GetNamespace(), u.GetName()))}
	}
	return nil
}

// IsNotFound tells that the object does not exist.
func IsNotFound(err error) bool {
	var e *protocol.Error
	return errors.As(err, &e) && e.Reason == protocol.NotFound
}

// failure gives the API server's refusal its reason. Trouble of the API server
// is not the target's, so it is Internal and may pass.
func failure(action string, err error) *protocol.Error {
	e := &protocol.Error{Reason: protocol.Internal, Message: fmt.Sprintf("%s in Kubernetes: %v", action, err)}
	var network net.Error
	switch {
	case apierrors.IsNotFound(err):
		e.Reason = protocol.NotFound
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		e.Reason = protocol.AccessDenied
		e.Message += ": give the target worker's account that right"
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		e.Reason = protocol.Invalid
	case apierrors.IsConflict(err), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), apierrors.IsTooManyRequests(err),
		apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err), errors.As(err, &network):
		e.Transient = true
	}
	return e
}

func key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}
