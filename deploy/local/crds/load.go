// Package crds reads CustomResourceDefinitions from files and installs them in an API server, returning only when
// objects of theirs can be made. It does not say which definitions a stack has.
package crds

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Load reads every definition in the given files, and in the *.yaml files of the given folders. Documents of another
// kind are an error, and so is a path without any definition: a stack with half its kinds fails in strange places.
func Load(paths ...string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	var all []*apiextensionsv1.CustomResourceDefinition
	for _, path := range paths {
		files, err := yamlFiles(path)
		if err != nil {
			return nil, fmt.Errorf("reading definitions: %w", err)
		}
		before := len(all)
		for _, file := range files {
			found, err := loadFile(file)
			if err != nil {
				return nil, fmt.Errorf("reading definitions in %s: %w", file, err)
			}
			all = append(all, found...)
		}
		if len(all) == before {
			return nil, fmt.Errorf("reading definitions: there are none in %s", path)
		}
	}
	return all, nil
}

func yamlFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	return filepath.Glob(filepath.Join(path, "*.yaml"))
}

func loadFile(name string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var found []*apiextensionsv1.CustomResourceDefinition
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		crd, err := parse(document)
		if err != nil {
			return nil, err
		}
		if crd != nil {
			found = append(found, crd)
		}
	}
}

// parse returns nil for a document that holds nothing but comments.
func parse(document []byte) (*apiextensionsv1.CustomResourceDefinition, error) {
	data, err := yaml.YAMLToJSON(document) // once: KubeVirt's schemas are a megabyte
	if err != nil {
		return nil, err
	}
	if bytes.Equal(data, []byte("null")) {
		return nil, nil
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := json.Unmarshal(data, crd); err != nil {
		return nil, err
	}
	if crd.Kind != "CustomResourceDefinition" || crd.Name == "" {
		return nil, fmt.Errorf("a %q named %q where a CustomResourceDefinition is expected", crd.Kind, crd.Name)
	}
	crd.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
	// No conversion webhook runs here. Every kind is stored in the one version that is used, so none is missed.
	if c := crd.Spec.Conversion; c != nil && c.Strategy == apiextensionsv1.WebhookConverter {
		crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
	}
	return crd, nil
}
