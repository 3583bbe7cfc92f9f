package control

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"hayloft.dev/pkg/api/v1alpha1"
)

// crowd is newcomers, and who of those that stood aside were woken since it was asked
// last.
type crowd struct {
	*newcomers
	woken []string
}

func newCrowd() *crowd {
	c := &crowd{}
	c.newcomers = newNewcomers(func(who comer) { c.woken = append(c.woken, who.key.Name) })
	return c
}

func (c *crowd) wakes() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.woken
	c.woken = nil
	slices.Sort(out)
	return out
}

func (c *crowd) point(t *testing.T, name string, status v1alpha1.VMBackupStatus) comer {
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Status: status}
	require.True(t, c.noted().Create(event.CreateEvent{Object: b}))
	return comer{key: types.NamespacedName{Namespace: "ns", Name: name}}
}

func TestNewcomersGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCrowd()
		begun := n.point(t, "begun", v1alpha1.VMBackupStatus{StartedAt: &metav1.Time{Time: time.Now()}})
		refused := n.point(t, "refused", v1alpha1.VMBackupStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}}})
		require.Zero(t, n.turn(begun), "nobody is new")
		require.Zero(t, n.turn(refused))

		schedule := comer{schedule: true, key: types.NamespacedName{Namespace: "ns", Name: "a"}}
		n.note(schedule)
		require.Equal(t, asideMost, n.turn(begun))
		require.Zero(t, n.turn(schedule), "whose time has come")
		require.Zero(t, n.aside(schedule), "beside which there is nobody")
		a := n.point(t, "a", v1alpha1.VMBackupStatus{})
		require.Equal(t, asideMost, n.aside(schedule), "what can wait waits for its point")
		n.seen(schedule)
		require.Empty(t, n.wakes())
		require.Zero(t, n.turn(a))
		time.Sleep(time.Second)
		require.Equal(t, asideMost-time.Second, n.turn(begun), "the other is being looked at")
		n.seen(a)
		require.Equal(t, []string{"a", "begun"}, n.wakes())
		require.Zero(t, n.turn(begun))
		require.Zero(t, n.turn(schedule))
		n.seen(begun)
		require.Empty(t, n.wakes(), "nobody stands aside")
	})
}

func TestARushEndsWhenNobodyCameForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCrowd()
		begun := comer{key: types.NamespacedName{Name: "begun"}}
		for i := range many {
			who := n.point(t, fmt.Sprint(i), v1alpha1.VMBackupStatus{})
			require.Equal(t, asideMost, n.turn(begun))
			require.Zero(t, n.turn(who))
			if i < many-1 {
				n.point(t, fmt.Sprint(i+1), v1alpha1.VMBackupStatus{})
			}
			n.seen(who)
		}
		time.Sleep(rushPause / 2)
		require.Positive(t, n.turn(begun))
		last := n.point(t, "last", v1alpha1.VMBackupStatus{})
		time.Sleep(2 * rushPause)
		require.Empty(t, n.wakes(), "another one came")
		n.seen(last)
		require.Empty(t, n.wakes())
		time.Sleep(rushPause)
		require.Equal(t, []string{"begun"}, n.wakes())
		require.Zero(t, n.turn(begun))
	})
}

func TestNobodyStandsAsideForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCrowd()
		begun := comer{key: types.NamespacedName{Name: "begun"}}
		n.point(t, "new", v1alpha1.VMBackupStatus{})
		looks := 0
		for began := time.Now(); time.Since(began) < 3*asideMost; {
			wait := n.turn(begun)
			if wait == 0 {
				looks++
				wait = time.Second
			}
			time.Sleep(wait)
		}
		require.Equal(t, 2, looks)
		n.turn(begun)
		n.forget(begun)
		n.seen(comer{key: types.NamespacedName{Namespace: "ns", Name: "new"}})
		require.Empty(t, n.wakes(), "one that is gone is woken no more")
	})
}
