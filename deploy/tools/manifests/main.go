// Command manifests renders the chart to plain YAML with a kustomization.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"

	"hayloft.dev/deploy/tools/chart"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	fs := flag.NewFlagSet("manifests", flag.ContinueOnError)
	folder := fs.String("chart", "../chart", "the chart's folder")
	out := fs.String("out", "", "folder to write to")
	namespace := fs.String("namespace", "hayloft-system", "namespace of Hayloft")
	values := fs.String("values", "", "file of values, over the chart's own")
	version := fs.String("kube-version", "v1.34.0", "version of the cluster")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *out == "" {
		return fmt.Errorf("--out is empty: name a folder")
	}
	r := chart.Release{Name: "hayloft", Namespace: *namespace, KubeVersion: *version}
	if *values != "" {
		data, err := os.ReadFile(*values)
		if err != nil {
			return err
		}
		if err := yaml.UnmarshalStrict(data, &r.Values); err != nil {
			return fmt.Errorf("reading %s: %w", *values, err)
		}
	}
	c, err := chart.Load(*folder)
	if err != nil {
		return err
	}
	all, err := chart.Render(context.Background(), c, r)
	if err != nil {
		return err
	}
	return chart.WriteManifests(*out, *namespace, all)
}
