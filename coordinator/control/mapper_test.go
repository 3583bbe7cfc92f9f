package control

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// countedMapper is a mapper that counts how often it is asked.
type countedMapper struct {
	meta.RESTMapper
	times int
}

func (a *countedMapper) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	a.times++
	return a.RESTMapper.RESTMapping(kind, versions...)
}

func TestKindsAreFoundOutOnce(t *testing.T) {
	kinds := meta.NewDefaultRESTMapper(nil)
	below := &countedMapper{RESTMapper: kinds}
	m := &mapper{RESTMapper: below}
	kind := schema.GroupVersionKind{Group: "longhorn.io", Version: "v1beta2", Kind: "Volume"}
	for range 2 {
		_, err := m.RESTMapping(kind.GroupKind(), kind.Version)
		require.True(t, meta.IsNoMatchError(err))
	}
	require.Equal(t, 2, below.times, "it may come")
	kinds.Add(kind, meta.RESTScopeNamespace)
	for range 3 {
		found, err := m.RESTMapping(kind.GroupKind(), kind.Version)
		require.NoError(t, err)
		require.Equal(t, "volumes", found.Resource.Resource)
	}
	require.Equal(t, 3, below.times)
	_, err := m.RESTMapping(kind.GroupKind(), "v1")
	require.Error(t, err, "another version is another question")
	require.Equal(t, 4, below.times)
}
