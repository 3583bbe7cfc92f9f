// Package chart renders Hayloft's Helm chart with Helm itself and writes what it
// rendered for kubectl and kustomize. The chart is in deploy/chart; nothing here
// knows what is in it.
package chart

import (
	"context"
	"fmt"

	"helm.sh/helm/v3/pkg/action"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hayloft.dev/deploy/tools/objects"
)

// Release is what is rendered.
type Release struct {
	Name, Namespace string
	Values          map[string]any // over those of values.yaml
	// KubeVersion is the cluster's, such as v1.34.0.
	KubeVersion string
}

// Load reads a chart from its folder.
func Load(folder string) (*helmchart.Chart, error) {
	c, err := loader.LoadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("loading the chart %s: %w", folder, err)
	}
	return c, nil
}

// Render does what `helm template` does: it asks no cluster.
func Render(ctx context.Context, c *helmchart.Chart, r Release) ([]*unstructured.Unstructured, error) {
	version, err := chartutil.ParseKubeVersion(r.KubeVersion)
	if err != nil {
		return nil, fmt.Errorf("the cluster's version %q: %w", r.KubeVersion, err)
	}
	install := action.NewInstall(&action.Configuration{})
	install.ReleaseName, install.Namespace = r.Name, r.Namespace
	install.DryRun, install.DryRunOption, install.ClientOnly, install.Replace = true, "client", true, true
	install.KubeVersion = version
	rendered, err := install.RunWithContext(ctx, c, r.Values)
	if err != nil {
		return nil, fmt.Errorf("rendering the chart %s: %w", c.Name(), err)
	}
	return decode(rendered)
}

func decode(r *release.Release) ([]*unstructured.Unstructured, error) {
	all, err := objects.Decode([]byte(r.Manifest))
	if err != nil {
		return nil, fmt.Errorf("reading what the chart was rendered to: %w", err)
	}
	return all, nil
}
