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

// crowd is newcomers, who of those that stood aside were woken since it was asked
// last, and how many rushes are over.
type crowd struct {
	*newcomers
	woken  []string
	rushes int
}

func newCrowd() *crowd {
	c := &crowd{}
	c.newcomers = newNewcomers(func(w who) { c.woken = append(c.woken, w.key.Name) }, func() { c.rushes++ })
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
	b.Labels = map[string]string{v1alpha1.LabelSchedule: "s"}
	require.True(t, c.noted().Create(event.CreateEvent{Object: b}))
	return pointComer(b)
}

// wanted is a point that somebody asks for.
func (c *crowd) wanted(t *testing.T, name string) comer {
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	require.True(t, c.noted().Create(event.CreateEvent{Object: b}))
	return pointComer(b)
}

func TestNewcomersGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCrowd()
		begun := n.point(t, "begun", v1alpha1.VMBackupStatus{StartedAt: &metav1.Time{Time: time.Now()}})
		refused := n.point(t, "refused", v1alpha1.VMBackupStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}}})
		require.Zero(t, n.turn(begun), "nobody is new")
		require.Zero(t, n.turn(refused))

		schedule := scheduleComer(types.NamespacedName{Namespace: "ns", Name: "a"})
		n.note(schedule)
		require.Equal(t, asideMost, n.turn(begun))
		require.Zero(t, n.turn(schedule), "whose time has come")
		require.Zero(t, n.aside(schedule), "beside which there is nobody")
		a := n.point(t, "a", v1alpha1.VMBackupStatus{})
		require.Equal(t, asideMost, n.aside(schedule), "what can wait waits for its point")
		n.seen(schedule.who)
		require.Empty(t, n.wakes())
		require.Zero(t, n.turn(a))
		time.Sleep(time.Second)
		require.Equal(t, asideMost-time.Second, n.turn(begun), "the other is being looked at")
		n.seen(a.who)
		require.Equal(t, []string{"a", "begun"}, n.wakes())
		require.Zero(t, n.turn(begun))
		require.Zero(t, n.turn(schedule))
		n.seen(begun.who)
		require.Empty(t, n.wakes(), "nobody stands aside")
	})
}

func TestARushEndsWhenNobodyCameForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCrowd()
		begun := comer{who: who{key: types.NamespacedName{Name: "begun"}}}
		for i := range many {
			this := n.point(t, fmt.Sprint(i), v1alpha1.VMBackupStatus{})
			require.Equal(t, asideMost, n.turn(begun))
			require.Zero(t, n.turn(this))
			if i < many-1 {
				n.point(t, fmt.Sprint(i+1), v1alpha1.VMBackupStatus{})
			}
			n.seen(this.who)
		}
		time.Sleep(rushPause / 2)
		require.Positive(t, n.turn(begun))
		last := n.point(t, "last", v1alpha1.VMBackupStatus{})
		time.Sleep(2 * rushPause)
		require.Empty(t, n.wakes(), "another one came")
		n.seen(last.who)
		require.Empty(t, n.wakes())
		time.Sleep(rushPause)
		require.Equal(t, []string{"begun"}, n.wakes())
		require.Zero(t, n.turn(begun))
	})
}

func TestWhoIsAskedForStandsAsideForNoSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCrowd()
		begun := comer{who: who{key: types.NamespacedName{Name: "begun"}}}
		asked := comer{who: who{key: types.NamespacedName{Name: "asked"}}, asked: true}
		for i := range many {
			n.point(t, fmt.Sprint(i), v1alpha1.VMBackupStatus{})
		}
		require.Positive(t, n.turn(begun))
		require.Zero(t, n.turn(asked))
		another := n.wanted(t, "another")
		require.Zero(t, n.turn(another))
		require.Zero(t, n.aside(another), "that others are new does not matter")
		require.Positive(t, n.turn(asked), "another one is new that somebody has asked for")
		n.seen(another.who)
		require.Equal(t, []string{"asked"}, n.wakes())
		require.Zero(t, n.turn(asked))
		require.Positive(t, n.turn(begun))
	})
}

func TestARushHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCrowd()
		var all []comer
		for i := range many {
			require.Zero(t, n.rush(), "they are few")
			all = append(all, n.point(t, fmt.Sprint(i), v1alpha1.VMBackupStatus{}))
		}
		require.Equal(t, asideMost, n.rush())
		time.Sleep(time.Second)
		n.point(t, "more", v1alpha1.VMBackupStatus{})
		require.Equal(t, asideMost-time.Second, n.rush())
		for _, c := range append(all, comer{who: who{key: types.NamespacedName{Namespace: "ns", Name: "more"}}}) {
			n.seen(c.who)
		}
		require.Positive(t, n.rush(), "others may come")
		time.Sleep(2 * rushPause)
		n.wakes()
		require.Zero(t, n.rush())
		require.Equal(t, 1, n.rushes)

		for i := range many {
			n.point(t, fmt.Sprint(i), v1alpha1.VMBackupStatus{})
		}
		time.Sleep(asideMost)
		require.Zero(t, n.rush(), "they had their time")
		few := newCrowd()
		few.seen(few.point(t, "a", v1alpha1.VMBackupStatus{}).who)
		few.wakes()
		require.Zero(t, few.rushes)
	})
}

func TestNobodyStandsAsideForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCrowd()
		begun := comer{who: who{key: types.NamespacedName{Name: "begun"}}}
		n.point(t, "new", v1alpha1.VMBackupStatus{})
		looks := 0
		for began := time.Now(); time.Since(began) < 3*asideMost; {
			wait := n.turn(begun)
			if wait == 0 {
				looks++
				require.Zero(t, n.aside(begun), "it has its turn, with all that could wait")
				n.seen(begun.who)
				wait = time.Second
			}
			time.Sleep(wait)
		}
		require.Equal(t, 2, looks)
		n.turn(begun)
		n.forget(begun.who)
		n.seen(who{key: types.NamespacedName{Namespace: "ns", Name: "new"}})
		require.Empty(t, n.wakes(), "one that is gone is woken no more")
	})
}
