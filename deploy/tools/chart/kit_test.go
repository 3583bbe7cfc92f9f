package chart

import (
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"hayloft.dev/deploy/tools/objects"
)

const (
	folder      = "../../chart"
	kubeVersion = "v1.34.4"
)

func TestMain(m *testing.M) {
	log.SetFlags(0)
	log.SetOutput(quiet{}) // Helm tells each symbolic link that it follows
	os.Exit(m.Run())
}

type quiet struct{}

func (quiet) Write(p []byte) (int, error) {
	if !strings.HasPrefix(string(p), "found symbolic link") {
		return os.Stderr.Write(p)
	}
	return len(p), nil
}

// cases are the values that everything is tried with: name -> values.
func cases(t *testing.T) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{"default": {}}
	for _, name := range []string{"everything", "nothing"} {
		data, err := os.ReadFile(filepath.Join(folder, "ci", name+"-values.yaml"))
		require.NoError(t, err)
		var values map[string]any
		require.NoError(t, yaml.UnmarshalStrict(data, &values))
		all[name] = values
	}
	return all
}

func load(t *testing.T) *helmchart.Chart {
	t.Helper()
	c, err := Load(folder)
	require.NoError(t, err)
	return c
}

// render returns key -> object.
func render(t *testing.T, namespace string, values map[string]any) map[string]*unstructured.Unstructured {
	t.Helper()
	all, err := Render(t.Context(), load(t), Release{Name: "hayloft", Namespace: namespace, Values: values, KubeVersion: kubeVersion})
	require.NoError(t, err)
	return byKey(t, all)
}

func byKey(t *testing.T, all []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	t.Helper()
	of := map[string]*unstructured.Unstructured{}
	for _, o := range all {
		require.NotContains(t, of, objects.Key(o), "once each")
		of[objects.Key(o)] = o
	}
	return of
}

// content is an object without what the chart adds to a plain manifest.
func content(o *unstructured.Unstructured) map[string]any {
	o = o.DeepCopy()
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	for _, key := range []string{"name", "instance", "version", "managed-by"} {
		delete(labels, "app.kubernetes.io/"+key)
	}
	delete(labels, "helm.sh/chart")
	delete(annotations, "helm.sh/resource-policy")
	if o.SetLabels(labels); len(labels) == 0 {
		o.SetLabels(nil)
	}
	if o.SetAnnotations(annotations); len(annotations) == 0 {
		o.SetAnnotations(nil)
	}
	return o.Object
}
