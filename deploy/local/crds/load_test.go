package crds_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"hayloft.dev/deploy/local/crds"
)

const two = `# only a comment
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: as.x.dev}
spec:
  group: x.dev
  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1]}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: bs.x.dev}
spec: {group: x.dev}
status: {storedVersions: [v1]}
`

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		return path
	}
	good := write("good/two.yaml", two[len("# only a comment\n---\n"):])
	write("good/notes.txt", "not read")
	commented := write("commented.yaml", two)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))

	for name, c := range map[string]struct {
		paths []string
		names []string
		err   string
	}{
		"file":               {paths: []string{good}, names: []string{"as.x.dev", "bs.x.dev"}},
		"folder":             {paths: []string{filepath.Dir(good)}, names: []string{"as.x.dev", "bs.x.dev"}},
		"none asked for":     {},
		"missing":            {paths: []string{filepath.Join(dir, "nowhere")}, err: "no such file"},
		"empty folder":       {paths: []string{filepath.Join(dir, "empty")}, err: "there are none in"},
		"comment document":   {paths: []string{commented}, names: []string{"as.x.dev", "bs.x.dev"}},
		"another kind":       {paths: []string{write("pod.yaml", "kind: Pod\nmetadata: {name: a}\n")}, err: `a "Pod" named "a"`},
		"not yaml":           {paths: []string{write("bad.yaml", "a: [")}, err: "bad.yaml"},
		"good and bad files": {paths: []string{good, filepath.Join(dir, "bad.yaml")}, err: "bad.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := crds.Load(c.paths...)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			var names []string
			for _, crd := range found {
				names = append(names, crd.Name)
				require.Empty(t, crd.Status)
				if crd.Spec.Conversion != nil {
					require.Equal(t, apiextensionsv1.NoneConverter, crd.Spec.Conversion.Strategy, "there is nobody to ask")
				}
			}
			require.Equal(t, c.names, names)
		})
	}
}
