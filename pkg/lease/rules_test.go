package lease_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestServerRules holds the real API server to what the protocol rests on, and
// what the tests with synthetic time suppose.
func TestServerRules(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	made := func(name string) *coordinationv1.Lease {
		l := &coordinationv1.Lease{}
		l.Namespace, l.Name = b.namespace, name
		require.NoError(t, b.c.Create(b.ctx, l))
		return l
	}

	t.Run("a name is created once", func(t *testing.T) {
		l := made("once")
		again := &coordinationv1.Lease{}
		again.Namespace, again.Name = l.Namespace, l.Name
		assert.True(t, apierrors.IsAlreadyExists(b.c.Create(b.ctx, again)))
	})
	t.Run("an update of what changed since conflicts", func(t *testing.T) {
		l := made("changed")
		stale := l.DeepCopy()
		l.Labels = map[string]string{"x": "y"}
		require.NoError(t, b.c.Update(b.ctx, l))
		assert.True(t, apierrors.IsConflict(b.c.Update(b.ctx, stale)))
	})
	t.Run("an update without a change keeps the version", func(t *testing.T) {
		l := made("same")
		before := l.ResourceVersion
		require.NoError(t, b.c.Update(b.ctx, l))
		assert.Equal(t, before, l.ResourceVersion)
	})
	t.Run("an update of what was deleted conflicts and creates nothing", func(t *testing.T) {
		l := made("deleted")
		require.NoError(t, b.c.Delete(b.ctx, l.DeepCopy()))
		assert.True(t, apierrors.IsConflict(b.c.Update(b.ctx, l)))
		assert.Nil(t, b.lease("deleted"))
		// Without the UID a put creates, so the UID must always be there.
		l.UID, l.ResourceVersion = "", ""
		require.NoError(t, b.c.Update(b.ctx, l))
		assert.NotNil(t, b.lease("deleted"))
	})
	t.Run("an update of what was made anew conflicts", func(t *testing.T) {
		l := made("anew")
		require.NoError(t, b.c.Delete(b.ctx, l.DeepCopy()))
		made("anew")
		assert.True(t, apierrors.IsConflict(b.c.Update(b.ctx, l)))
	})
	t.Run("a deletion is held to its preconditions", func(t *testing.T) {
		l := made("kept")
		uid, version := types.UID("another"), "1"
		assert.True(t, apierrors.IsConflict(b.c.Delete(b.ctx, l.DeepCopy(), client.Preconditions{UID: &uid})))
		assert.True(t, apierrors.IsConflict(b.c.Delete(b.ctx, l.DeepCopy(), client.Preconditions{UID: &l.UID, ResourceVersion: &version})))
		assert.NotNil(t, b.lease("kept"))
		require.NoError(t, b.c.Delete(b.ctx, l, client.Preconditions{UID: &l.UID, ResourceVersion: &l.ResourceVersion}))
		assert.Nil(t, b.lease("kept"))
	})
	t.Run("nothing is created in a namespace that is missing", func(t *testing.T) {
		l := &coordinationv1.Lease{}
		l.Namespace, l.Name = "no-such-namespace", "x"
		assert.True(t, apierrors.IsNotFound(b.c.Create(b.ctx, l)))
	})
}
