package lease

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/names"
)

func TestSessionNamesAreLegalForEveryNodeName(t *testing.T) {
	long := strings.Repeat("a", 62) + "."
	seen := map[string]string{}
	for name, node := range map[string]string{
		"short":                 "node-1",
		"dotted":                "node-1.example.org",
		"label too long":        strings.Repeat("n", 64),
		"longest that fits":     strings.Repeat(long, 3) + strings.Repeat("b", 236-3*63),
		"one more than fits":    strings.Repeat(long, 3) + strings.Repeat("b", 237-3*63),
		"longest":               strings.Repeat(long, 4)[:252] + "z",
		"longest, other end":    strings.Repeat(long, 4)[:252] + "y",
		"cut just behind a dot": strings.Repeat("a.", 126) + "z",
	} {
		t.Run(name, func(t *testing.T) {
			require.Empty(t, validation.IsDNS1123Subdomain(node), "the test's own node name")
			o, err := Options{Namespace: "ns", Node: node}.withDefaults()
			require.NoError(t, err)
			id := sessionID(node, "0123abcd")
			l := newSession(o, id)
			assert.Empty(t, validation.IsDNS1123Subdomain(l.Name))
			assert.True(t, strings.HasSuffix(id, "-0123abcd"))
			for _, v := range l.Labels {
				assert.Empty(t, validation.IsValidLabelValue(v))
			}
			assert.Equal(t, node, l.Annotations[AnnotationNode])
			if len(node) <= 63 {
				assert.Equal(t, node, l.Labels[v1alpha1.LabelNode])
				assert.Equal(t, node+"-0123abcd", id)
			}
			assert.Empty(t, seen[id], "two nodes with one session ID")
			seen[id] = node
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Namespace: "ns", Node: "n"}
	o, err := good.withDefaults()
	require.NoError(t, err)
	assert.Equal(t, DefaultDuration, o.Duration)
	for name, spoil := range map[string]func(*Options){
		"no namespace":       func(o *Options) { o.Namespace = "" },
		"no node":            func(o *Options) { o.Node = "" },
		"illegal node":       func(o *Options) { o.Node = "Node_1" },
		"negative duration":  func(o *Options) { o.Duration = -time.Second },
		"tiny duration":      func(o *Options) { o.Duration = time.Millisecond },
		"excessive duration": func(o *Options) { o.Duration = MaxDuration + 1 },
	} {
		o := good
		spoil(&o)
		_, err := o.withDefaults()
		assert.Error(t, err, name)
	}
}

func TestAcquisition(t *testing.T) {
	created, err := acquisition("ns", "vol", "s", "1", nil)
	require.NoError(t, err)
	assert.Equal(t, names.VolumeLease("vol"), created.Name)
	assert.Equal(t, KindVolume, created.Labels[v1alpha1.LabelLease])
	assert.Equal(t, "vol", created.Annotations[AnnotationVolume])
	assert.EqualValues(t, 1, epoch(created), "the first epoch")

	stored := created.DeepCopy()
	stored.ResourceVersion, stored.UID = "5", "u"
	stored.Labels["theirs"] = "kept"
	taken, err := acquisition("ns", "vol", "other", "9", stored)
	require.NoError(t, err)
	assert.EqualValues(t, 2, epoch(taken))
	assert.Equal(t, "other", holder(taken))
	assert.Equal(t, "5", taken.ResourceVersion, "the compare-and-swap")
	assert.Equal(t, "kept", taken.Labels["theirs"])
	assert.Equal(t, "s", holder(stored), "the argument is not changed")

	back := givenBack(taken)
	assert.Empty(t, holder(back))
	assert.EqualValues(t, 2, epoch(back), "releasing keeps the epoch")
	assert.Equal(t, "5", back.ResourceVersion)
	assert.Equal(t, volumeView{exists: true}, view(back))

	last := int32(math.MaxInt32)
	_, err = acquisition("ns", "vol", "s", "1", &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{LeaseTransitions: &last}})
	assert.Error(t, err, "an epoch must never wrap around")

	// A lease that somebody wiped is still one to take.
	bare, err := acquisition("ns", "vol", "s", "1", &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "volume-vol", UID: "u"}})
	require.NoError(t, err)
	assert.EqualValues(t, 1, epoch(bare))
}

func TestDurationIsPublishedInWholeSecondsRoundedUp(t *testing.T) {
	for said, want := range map[time.Duration]time.Duration{
		600 * time.Millisecond: time.Second, time.Second: time.Second,
		1100 * time.Millisecond: 2 * time.Second, 15 * time.Second: 15 * time.Second,
	} {
		assert.Equal(t, want, duration(newSession(Options{Duration: said}, "id")))
	}
	zero := int32(0)
	assert.Equal(t, DefaultDuration, duration(&coordinationv1.Lease{}))
	assert.Equal(t, DefaultDuration, duration(&coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{LeaseDurationSeconds: &zero}}))
}
