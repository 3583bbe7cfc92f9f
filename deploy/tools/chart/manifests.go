package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"hayloft.dev/deploy/tools/objects"
)

// files of a folder of manifests, by the kinds in them, in the order in which they
// are to be applied. What is of no other kind comes last.
var files = []struct {
	name  string
	kinds []string
}{
	{"crds.yaml", []string{"CustomResourceDefinition"}},
	{"rbac.yaml", []string{"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}},
	{"policies.yaml", []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}},
	{"programs.yaml", nil},
	// With the webhook's configuration nothing of ours can be made before the
	// coordinators are there.
	{"webhook.yaml", []string{"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}},
}

// WriteManifests writes objects as plain YAML, with a kustomization over them and
// their namespace, for kubectl apply -k and as the base of others' kustomizations.
func WriteManifests(folder, namespace string, all []*unstructured.Unstructured) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("writing manifests: %w", err)
	}
	// Pods of ours need no more than "restricted"; see docs/security.md.
	of := map[string][]*unstructured.Unstructured{"namespace.yaml": {{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": namespace, "labels": map[string]any{"pod-security.kubernetes.io/enforce": "restricted"}},
	}}}}
	for _, o := range all {
		o = ownWords(o)
		name := "programs.yaml"
		for _, f := range files {
			if slices.Contains(f.kinds, o.GetKind()) {
				name = f.name
			}
		}
		of[name] = append(of[name], o)
	}
	resources := []string{"namespace.yaml"}
	for _, f := range files {
		if len(of[f.name]) > 0 {
			resources = append(resources, f.name)
		}
	}
	for _, name := range resources {
		data, err := objects.Encode(of[name])
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
			return fmt.Errorf("writing manifests: %w", err)
		}
	}
	data, err := yaml.Marshal(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources,
	})
	if err != nil {
		return fmt.Errorf("writing manifests: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), data, 0o644); err != nil {
		return fmt.Errorf("writing manifests: %w", err)
	}
	return nil
}

// ownWords is an object without what is meant for Helm.
func ownWords(o *unstructured.Unstructured) *unstructured.Unstructured {
	o = o.DeepCopy()
	for _, field := range [][]string{
		{"metadata", "labels", "helm.sh/chart"},
		{"metadata", "labels", "app.kubernetes.io/managed-by"},
		{"metadata", "annotations", "helm.sh/resource-policy"},
	} {
		unstructured.RemoveNestedField(o.Object, field...)
	}
	return o
}
