package doctor

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

// going is an API server from which a point goes in the middle of the last look: its
// job is listed still, it is not any more.
type going struct {
	client.WithWatch
	looks int
}

func (g *going) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}

func (g *going) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	switch list := into.(type) {
	case *v1alpha1.NodeJobList:
		list.Items = make([]v1alpha1.NodeJob, 1)
		list.Items[0].Name, list.Items[0].Spec.Owner.UID = "remove-1", "b1"
		list.Items[0].CreationTimestamp = metav1.Now()
	case *v1alpha1.VMBackupList:
		if g.looks++; g.looks == 1 {
			list.Items = make([]v1alpha1.VMBackup, 1)
			list.Items[0].UID = "b1"
		}
	}
	return nil
}

func (g *going) Create(context.Context, client.Object, ...client.CreateOption) error {
	return errors.New("no")
}

func TestPointThatGoesMeanwhileLeavesNoJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &going{}
		f, err := Gather(t.Context(), Options{Client: g, Now: time.Now})
		require.NoError(t, err)
		require.Equal(t, 2, g.looks)
		require.Len(t, f.Jobs, 1)
		require.Empty(t, jobs(f))
	})
}
