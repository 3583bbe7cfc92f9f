package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func TestLonghornDropsTheTemplateOnly(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "k8s"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "k8s", "crds.yaml"), []byte(
		"metadata:\n  labels: {{- include \"longhorn.labels\" . | nindent 4 }}\n    longhorn-manager: \"\"\n  name: a\n"), 0o644))
	data, err := longhorn(dir)
	require.NoError(t, err)
	require.Equal(t, "metadata:\n  labels:\n    longhorn-manager: \"\"\n  name: a\n", string(data))
}

func TestStringMap(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.go")
	require.NoError(t, os.WriteFile(file, []byte("package x\n\nvar Other = map[string]string{\"a\": \"no\"}\n"+
		"var Wanted map[string]string = map[string]string{\n\t\"a\": `one\n` + \"`\" + ` two`,\n\t\"b\": \"three\\n\",\n}\n"), 0o644))
	found, err := stringMap(file, "Wanted")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "one\n` two", "b": "three\n"}, found)

	_, err = stringMap(file, "Missing")
	require.ErrorContains(t, err, "has no map Missing")
}

// What is put together must be what KubeVirt's own objects need: a VirtualMachine has the status subresource, an
// instance has none, so that a writer of its status writes the whole object.
func TestKubevirtKinds(t *testing.T) {
	status := map[string]bool{}
	for _, k := range kubevirtKinds() {
		document, err := k.definition("openAPIV3Schema: {type: object}")
		require.NoError(t, err)
		var crd apiextensionsv1.CustomResourceDefinition
		require.NoError(t, yaml.UnmarshalStrict(document, &crd))
		require.NotEmpty(t, crd.Spec.Versions)
		stored := 0
		for _, version := range crd.Spec.Versions {
			require.Equal(t, "object", version.Schema.OpenAPIV3Schema.Type)
			if version.Storage {
				stored++
			}
			status[crd.Name] = version.Subresources != nil
		}
		require.Equal(t, 1, stored, crd.Name)
	}
	require.Equal(t, map[string]bool{
		"virtualmachines.kubevirt.io":                                 true,
		"virtualmachineinstances.kubevirt.io":                         false,
		"virtualmachineinstancemigrations.kubevirt.io":                true,
		"virtualmachineinstancetypes.instancetype.kubevirt.io":        false,
		"virtualmachineclusterinstancetypes.instancetype.kubevirt.io": false,
		"virtualmachinepreferences.instancetype.kubevirt.io":          false,
		"virtualmachineclusterpreferences.instancetype.kubevirt.io":   false,
	}, status)
}
