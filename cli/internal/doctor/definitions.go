package doctor

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"hayloft.dev/deploy"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/version"
)

// neighbours are the kinds of others that Hayloft cannot work without.
var neighbours = map[string]string{
	"volumes.longhorn.io":           "v1beta2",
	"engines.longhorn.io":           "v1beta2",
	"replicas.longhorn.io":          "v1beta2",
	"volumeattachments.longhorn.io": "v1beta2",
	"virtualmachines.kubevirt.io":   "v1",
}

// definitions looks whether all kinds are there, in the version that this program
// was made with.
func definitions(f *Facts) []Finding {
	if !f.known("definitions") {
		return f.unread("definitions")
	}
	shipped, err := shippedDefinitions()
	if err != nil {
		return []Finding{{Level: Unchecked, What: "this program's own definitions cannot be read", Why: err.Error(), Do: "use another build of it"}}
	}
	var out []Finding
	for _, name := range sorted(shipped) {
		there := f.Definitions[name]
		if there == nil {
			out = append(out, Finding{
				Level: Problem, What: "there is no definition " + name, Why: "the cluster does not know this kind of object",
				Do: "apply deploy/crds of this version",
			})
			continue
		}
		out = append(out, served(there, v1alpha1.GroupVersion.Version)...)
		ours, theirs := fields(shipped[name]), fields(there)
		if lacks := less(ours, theirs); len(lacks) > 0 {
			out = append(out, Finding{
				Level: Problem, What: fmt.Sprintf("definition %s lacks %s", name, listed(lacks)),
				Why: "it is older than this program (" + version.Version + "): what is written there is lost", Do: "apply deploy/crds of the version that runs",
			})
		} else if extra := less(theirs, ours); len(extra) > 0 {
			out = append(out, Finding{
				Level: Warning, What: fmt.Sprintf("definition %s has %s, which this program does not know", name, listed(extra)),
				Why: "it is newer than this program (" + version.Version + ")", Do: "use the command line of the version that runs",
			})
		}
	}
	for _, name := range sorted(neighbours) {
		there := f.Definitions[name]
		if there == nil {
			out = append(out, Finding{
				Level: Problem, What: "there is no definition " + name, Why: "Hayloft works on Longhorn's volumes of KubeVirt's VMs",
				Do: "install what defines it",
			})
			continue
		}
		out = append(out, served(there, neighbours[name])...)
	}
	return out
}

// served looks whether a definition is established and has a version.
func served(o *unstructured.Unstructured, want string) (out []Finding) {
	found := false
	versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	for _, v := range versions {
		if m, is := v.(map[string]any); is && m["name"] == want && m["served"] == true {
			found = true
		}
	}
	if !found {
		out = append(out, Finding{
			Level: Problem, What: fmt.Sprintf("definition %s does not serve %s", o.GetName(), want), Why: "every request for it fails",
			Do: "install a version that serves it",
		})
	}
	established := false
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if m, is := c.(map[string]any); is && m["type"] == "Established" && m["status"] == "True" {
			established = true
		}
	}
	switch {
	case o.GetDeletionTimestamp() != nil:
		out = append(out, Finding{
			Level: Problem, What: fmt.Sprintf("definition %s is being deleted", o.GetName()), Why: "all its objects go with it",
			Do: "finish it with hayloft uninstall, then install again",
		})
	case !established:
		out = append(out, Finding{
			Level: Problem, What: fmt.Sprintf("definition %s is not established", o.GetName()), Why: "the cluster does not serve it",
			Do: "look at its status.conditions",
		})
	}
	return out
}

// shippedDefinitions are those that this program was built with, by name.
func shippedDefinitions() (map[string]*unstructured.Unstructured, error) {
	files, err := fs.Glob(deploy.Manifests, "crds/*.yaml")
	if err != nil {
		return nil, err
	}
	out := map[string]*unstructured.Unstructured{}
	for _, file := range files {
		data, err := deploy.Manifests.ReadFile(file)
		if err != nil {
			return nil, err
		}
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(data, &o.Object); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		out[o.GetName()] = o
	}
	return out, nil
}

// fields are the paths of all fields that a definition's own version has.
func fields(o *unstructured.Unstructured) map[string]bool {
	out := map[string]bool{}
	versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	for _, v := range versions {
		m, is := v.(map[string]any)
		if !is || m["name"] != v1alpha1.GroupVersion.Version {
			continue
		}
		if schema, found, _ := unstructured.NestedMap(m, "schema", "openAPIV3Schema"); found {
			walk(schema, "", out)
		}
	}
	return out
}

func walk(schema map[string]any, at string, out map[string]bool) {
	if properties, is := schema["properties"].(map[string]any); is {
		for name, p := range properties {
			path := strings.TrimPrefix(at+"."+name, ".")
			out[path] = true
			if below, is := p.(map[string]any); is {
				walk(below, path, out)
			}
		}
	}
	for _, inner := range []string{"items", "additionalProperties"} {
		if below, is := schema[inner].(map[string]any); is {
			walk(below, at, out)
		}
	}
}

// less are the paths of a that b does not have, the highest of each branch only.
func less(a, b map[string]bool) (out []string) {
	for path := range a {
		parent, _, nested := cutLast(path)
		if !b[path] && (!nested || b[parent]) {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

func cutLast(path string) (parent, last string, nested bool) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}
