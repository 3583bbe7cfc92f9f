package control

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

// lister answers each list after a second with what it has.
type lister struct {
	client.Reader
	lists int
	names []string
	more  string
	err   error
}

func (l *lister) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	l.lists++
	time.Sleep(time.Second)
	list := into.(*v1alpha1.VMScheduleList)
	list.Continue = l.more
	for _, name := range l.names {
		list.Items = append(list.Items, v1alpha1.VMSchedule{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return l.err
}

func schedulesList() client.ObjectList {
	list := &v1alpha1.VMScheduleList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("VMScheduleList"))
	return list
}

func TestOneListServesMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &lister{names: []string{"a", "b"}}
		r := newRushed(server)
		get := func(name string, pays bool) (client.Object, error) {
			return r.get(t.Context(), schedulesList(), client.ObjectKey{Namespace: "ns", Name: name}, pays)
		}
		_, err := get("a", false)
		require.ErrorIs(t, err, errNotListed)
		for range 3 {
			go func() { _, _ = get("b", true) }()
		}
		o, err := get("a", true)
		require.NoError(t, err)
		require.Equal(t, "a", o.GetName())
		require.Equal(t, 1, server.lists)

		_, err = get("a", false)
		require.ErrorIs(t, err, errNotListed, "it was asked for a second ago")
		go func() { _, _ = get("b", true) }()
		synctest.Wait()
		o, err = get("none", false)
		require.NoError(t, err, "another one asks for it now")
		require.Nil(t, o)
		require.Equal(t, 2, server.lists)

		server.err = errors.New("busy")
		_, err = get("a", true)
		require.ErrorContains(t, err, "busy")
		server.err, server.more = nil, "there is more"
		_, err = get("a", true)
		require.ErrorIs(t, err, errNotListed)
		require.Equal(t, 4, server.lists)
		r.over()
		require.Empty(t, r.of)
	})
}

func TestWhenAListPays(t *testing.T) {
	for _, c := range []struct {
		coming, existing int
		pays             bool
	}{{0, 0, false}, {3, 3, false}, {4, 4, true}, {50, 200, true}, {50, 201, false}, {500, 500, true}, {500, 501, false}} {
		require.Equal(t, c.pays, listPays(c.coming, c.existing), "%+v", c)
	}
}
