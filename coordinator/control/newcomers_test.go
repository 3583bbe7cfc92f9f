package control

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestNewcomersGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNewcomers()
		point := func(name string, status v1alpha1.VMBackupStatus) types.NamespacedName {
			b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Status: status}
			require.True(t, n.noted().Create(event.CreateEvent{Object: b}))
			return types.NamespacedName{Namespace: "ns", Name: name}
		}
		begun := point("begun", v1alpha1.VMBackupStatus{StartedAt: &metav1.Time{Time: time.Now()}})
		refused := point("refused", v1alpha1.VMBackupStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}}})
		require.Zero(t, n.turn(begun), "nobody is new")
		require.Zero(t, n.turn(refused))

		a, b := point("a", v1alpha1.VMBackupStatus{}), point("b", v1alpha1.VMBackupStatus{})
		require.Equal(t, aside, n.turn(begun))
		require.Zero(t, n.turn(a))
		require.Equal(t, aside, n.turn(begun), "there is another one")
		require.Equal(t, aside, n.turn(a), "which it is only once")
		require.Zero(t, n.turn(b))
		require.Zero(t, n.turn(begun))
		require.Zero(t, n.turn(a))

		point("c", v1alpha1.VMBackupStatus{})
		looks := 0
		for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(aside) {
			if n.turn(begun) == 0 {
				looks++
			}
		}
		require.Equal(t, 3, looks, "however many come, nobody stands aside for ever")
	})
}
