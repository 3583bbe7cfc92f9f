package kinds_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/pkg/api/v1alpha1"
)

func TestFind(t *testing.T) {
	for word, want := range map[string]string{
		"backup": "VMBackup", "backups": "VMBackup", "vmbackup": "VMBackup", "VMBackups": "VMBackup", "hb": "VMBackup",
		"restores": "VMRestore", "hbt": "BackupTarget", "backuptargets": "BackupTarget", "job": "NodeJob", "quotas": "SnapshotQuota", "hq": "SnapshotQuota",
	} {
		k, ok := kinds.Find(word)
		assert.True(t, ok, word)
		assert.Equal(t, want, k.Kind, word)
	}
	_, ok := kinds.Find("pods")
	assert.False(t, ok)
}

// Every kind is in the API's scheme under its name, and the mapper knows where
// the API serves it.
func TestKindsAreThoseOfTheAPI(t *testing.T) {
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	for _, k := range kinds.All() {
		gvk, err := apiutil.GVKForObject(k.New(), scheme)
		require.NoError(t, err)
		assert.Equal(t, k.GVK(), gvk)
		m, err := kinds.Mapper().RESTMapping(k.GVK().GroupKind(), "v1alpha1")
		require.NoError(t, err)
		assert.Equal(t, k.Resource, m.Resource.Resource)
		assert.Equal(t, k.Scope == kinds.Cluster, m.Scope.Name() == "root")
	}
}
