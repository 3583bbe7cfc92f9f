package main

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hayloft.dev/coordinator/targetio/cluster"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/document"
)

// powerful are types of Secrets to which Kubernetes gives a meaning of its own:
// one made from a document could give access to the cluster.
var powerful = []corev1.SecretType{corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken}

// plain are types of Kubernetes' own that hold data and mean nothing else.
var plain = []corev1.SecretType{
	corev1.SecretTypeOpaque, corev1.SecretTypeBasicAuth, corev1.SecretTypeSSHAuth, corev1.SecretTypeTLS,
	corev1.SecretTypeDockercfg, corev1.SecretTypeDockerConfigJson,
}

// typeOf is the type that a Secret of a document is made with: other programs give
// meanings to types of their own, and find Secrets by them in any namespace.
func typeOf(s document.Secret) corev1.SecretType {
	if slices.Contains(plain, s.Type) {
		return s.Type
	}
	return corev1.SecretTypeOpaque
}

// makeSecrets creates the Secrets and ConfigMaps of a document.
func (w *worker) makeSecrets(ctx context.Context, r protocol.MakeSecretsRequest) error {
	if len(r.Labels) == 0 || r.Namespace == "" {
		return refuse("Secrets are made in a namespace and with labels that tell whose they are")
	}
	d, err := w.readPoint(ctx, r.Path, r.Digest)
	if err != nil {
		return err
	}
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: r.Namespace, Name: name, Labels: r.Labels}
	}
	var secrets []document.Secret
	if len(r.Secrets) > 0 {
		if secrets, err = w.secretsOf(ctx, d); err != nil {
			return err
		}
	}
	for _, s := range secrets {
		name, wanted := r.Secrets[s.Name]
		if !wanted {
			continue
		}
		if slices.Contains(powerful, s.Type) {
			return refuse("Secret %s of the document has type %s, which gives access to a cluster: it is not made", s.Name, s.Type)
		}
		err := w.make(ctx, cluster.Secrets, &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: meta(name), Type: typeOf(s), Data: s.Data,
		})
		if err != nil {
			return err
		}
	}
	for _, c := range d.ConfigMaps {
		name, wanted := r.ConfigMaps[c.Name]
		if !wanted {
			continue
		}
		err := w.make(ctx, cluster.ConfigMaps, &corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: meta(name), Data: c.Data, BinaryData: c.BinaryData,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// make creates an object. One of the same name is fine only when it was made
// for the same purpose with the same content; nothing is ever overwritten.
func (w *worker) make(ctx context.Context, r schema.GroupVersionResource, object any) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return fmt.Errorf("preparing an object of %s: %w", r.Resource, err)
	}
	u := &unstructured.Unstructured{Object: content}
	exists, err := w.cluster.Create(ctx, r, u)
	if err != nil || !exists {
		return err
	}
	old, err := w.cluster.Get(ctx, r, u.GetNamespace(), u.GetName())
	if err != nil {
		return err
	}
	for key, value := range u.GetLabels() {
		if old.GetLabels()[key] != value {
			return &protocol.Error{Reason: protocol.Mismatch, Message: fmt.Sprintf(
				"%s %s/%s exists and is not of this restore: delete or rename it; it is not overwritten", u.GetKind(), u.GetNamespace(), u.GetName())}
		}
	}
	for _, field := range []string{"data", "binaryData"} {
		if !equality.Semantic.DeepEqual(old.Object[field], u.Object[field]) {
			return &protocol.Error{Reason: protocol.Mismatch, Message: fmt.Sprintf(
				"%s %s/%s is of this restore, but its content was changed: delete it; it is not overwritten", u.GetKind(), u.GetNamespace(), u.GetName())}
		}
	}
	return nil
}
