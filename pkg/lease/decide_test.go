package lease

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestDecide(t *testing.T) {
	alive, dead := verdict{}, verdict{ended: true}
	for name, tc := range map[string]struct {
		claim  string
		view   volumeView
		holder verdict
		want   action
	}{
		"no lease":                          {"", volumeView{}, alive, create},
		"no lease after an unanswered try":  {"7", volumeView{}, alive, create},
		"free":                              {"", volumeView{exists: true}, alive, take},
		"free, with somebody's claim":       {"7", volumeView{exists: true, claim: "7"}, alive, take},
		"held by a living session":          {"", volumeView{exists: true, holder: "other", claim: "1"}, alive, wait},
		"held by a living session, my try":  {"7", volumeView{exists: true, holder: "other", claim: "7"}, alive, wait},
		"held by an ended session":          {"", volumeView{exists: true, holder: "other", claim: "1"}, dead, take},
		"mine from an earlier call":         {"7", volumeView{exists: true, holder: "me", claim: "6"}, alive, take},
		"mine, first look":                  {"", volumeView{exists: true, holder: "me", claim: "6"}, alive, take},
		"mine, claim wiped, first look":     {"", volumeView{exists: true, holder: "me"}, alive, take},
		"this very acquisition was stored":  {"7", volumeView{exists: true, holder: "me", claim: "7"}, alive, own},
		"the verdict on others is not mine": {"7", volumeView{exists: true, holder: "me", claim: "7"}, dead, own},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, decide("me", tc.claim, tc.view, tc.holder))
		})
	}
}

// at is an instant so many seconds after a common start.
func at(seconds float64) time.Time {
	return epochStart.Add(time.Duration(seconds * float64(time.Second)))
}

var epochStart = time.Now()

func TestValidity(t *testing.T) {
	fresh := validity{duration: 15 * time.Second, renewed: at(0)}
	assert.True(t, fresh.at(at(9.999)))
	assert.False(t, fresh.at(at(10)), "two thirds of the duration")

	for name, tc := range map[string]struct {
		sent, now float64
		ok        bool
		end       float64
	}{
		"counts from when it was sent":           {sent: 5, now: 8, ok: true, end: 15},
		"answer at the last moment":              {sent: 5, now: 9.999, ok: true, end: 15},
		"answer when the session was over":       {sent: 5, now: 10, ok: false, end: 10},
		"answer long after, a frozen process":    {sent: 5, now: 60, ok: false, end: 10},
		"an older renewal does not shorten it":   {sent: -3, now: 1, ok: true, end: 10},
		"sent after the end cannot be a revival": {sent: 11, now: 11.1, ok: false, end: 10},
	} {
		t.Run(name, func(t *testing.T) {
			v, ok := fresh.renew(at(tc.sent), at(tc.now))
			assert.Equal(t, tc.ok, ok)
			assert.Equal(t, at(tc.end), v.end())
		})
	}
}

func TestSighting(t *testing.T) {
	type step struct {
		version string
		said    time.Duration
		now     float64
	}
	for name, tc := range map[string]struct {
		floor time.Duration
		steps []step
		asked float64
		ended bool
	}{
		"first sight begins the silence": {
			steps: []step{{"a", 15 * time.Second, 100}}, asked: 114.999,
		},
		"silent for the whole duration": {
			steps: []step{{"a", 15 * time.Second, 100}, {"a", 15 * time.Second, 108}, {"a", 15 * time.Second, 115}}, asked: 115, ended: true,
		},
		"a change begins it again": {
			steps: []step{{"a", 15 * time.Second, 100}, {"b", 15 * time.Second, 114}}, asked: 128.9,
		},
		"every change, also back to an old version": {
			steps: []step{{"a", 15 * time.Second, 100}, {"b", 15 * time.Second, 110}, {"a", 15 * time.Second, 120}}, asked: 134,
		},
		"a longer duration of theirs is waited for": {
			floor: 15 * time.Second,
			steps: []step{{"a", time.Minute, 100}}, asked: 159,
		},
		"a shorter one of theirs is not believed": {
			floor: 15 * time.Second,
			steps: []step{{"a", time.Second, 100}}, asked: 114,
		},
		"one that shrank is not believed": {
			steps: []step{{"a", 30 * time.Second, 100}, {"b", time.Second, 101}}, asked: 130,
		},
		"one that shrank still ends": {
			steps: []step{{"a", 30 * time.Second, 100}, {"b", time.Second, 101}}, asked: 131, ended: true,
		},
		"an absurd one is cut to the longest that a session may have": {
			steps: []step{{"a", 1000 * time.Hour, 100}}, asked: 100 + MaxDuration.Seconds(), ended: true,
		},
		"and not below": {
			steps: []step{{"a", 1000 * time.Hour, 100}}, asked: 99 + MaxDuration.Seconds(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s sighting
			for _, step := range tc.steps {
				s = s.see(step.version, step.said, tc.floor, at(step.now))
			}
			assert.Equal(t, tc.ended, s.ended(at(tc.asked)))
		})
	}
}

// A holder's validity must be over before anybody can find its session ended,
// whatever the order of the instants in between.
func TestFencedBeforeTakenOver(t *testing.T) {
	const d = 15 * time.Second
	for sent := 0.0; sent < 5; sent++ { // the last renewal: sent, stored, first seen by the other
		for stored := sent; stored < sent+4; stored++ {
			for seen := stored; seen < stored+20; seen++ {
				v := validity{duration: d, renewed: at(sent)}
				s := sighting{}.see("last", d, d, at(seen))
				assert.GreaterOrEqual(t, s.silent().Sub(v.end()), d/3)
			}
		}
	}
}
