package quota

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

const gib = 1 << 30

func quantity(s string) *resource.Quantity { q := resource.MustParse(s); return &q }

func TestAdd(t *testing.T) {
	sizes := map[string]int64{"a": 10, "b": 20, "old": 5}
	for name, c := range map[string]struct {
		points []Point
		want   Usage
	}{
		"nothing":                     {nil, Usage{VMs: map[string]int64{}}},
		"told":                        {[]Point{{VM: "web", Snapshots: []string{"a", "b"}, Complete: true, ReservedBytes: 99}}, Usage{30, map[string]int64{"web": 30}}},
		"one is not told yet":         {[]Point{{VM: "web", Snapshots: []string{"a", "new"}, Complete: true, ReservedBytes: 99}}, Usage{99, map[string]int64{"web": 99}}},
		"it took more than thought":   {[]Point{{VM: "web", Snapshots: []string{"b", "new"}, Complete: true, ReservedBytes: 7}}, Usage{20, map[string]int64{"web": 20}}},
		"not cut yet":                 {[]Point{{VM: "web", ReservedBytes: 50}}, Usage{50, map[string]int64{"web": 50}}},
		"its snapshots were removed":  {[]Point{{VM: "web", Complete: true, ReservedBytes: 50}}, Usage{VMs: map[string]int64{}}},
		"several VMs, several points": {[]Point{{VM: "web", Snapshots: []string{"a"}, Complete: true}, {VM: "db", Snapshots: []string{"b"}, Complete: true}, {VM: "web", Snapshots: []string{"old"}, Complete: true}}, Usage{35, map[string]int64{"web": 15, "db": 20}}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, Add(c.points, sizes)) })
	}
}

func TestExpected(t *testing.T) {
	require.EqualValues(t, 0, Expected(nil))
	require.EqualValues(t, 30, Expected([]Volume{{SizeBytes: 100, ActualBytes: 50, SnapshotBytes: 20}}))
	require.EqualValues(t, 100, Expected([]Volume{{SizeBytes: 100, ActualBytes: 150, SnapshotBytes: 20}}), "never more than the disk holds")
	require.EqualValues(t, 0, Expected([]Volume{{SizeBytes: 100, ActualBytes: 10, SnapshotBytes: 20}}), "the figures are of different moments")
	require.EqualValues(t, 7, Expected([]Volume{{SizeBytes: 100, ActualBytes: 5}, {SizeBytes: 100, ActualBytes: 2}}))
}

func TestRefusals(t *testing.T) {
	used := Usage{Total: 10 * gib, VMs: map[string]int64{"web": 6 * gib, "db": 4 * gib}}
	for name, c := range map[string]struct {
		spec     v1alpha1.SnapshotQuotaSpec
		expected int64
		says     []string
	}{
		"no limits":                 {v1alpha1.SnapshotQuotaSpec{}, 1000 * gib, nil},
		"zero is no limit":          {v1alpha1.SnapshotQuotaSpec{Limit: quantity("0"), VMLimit: quantity("0")}, gib, nil},
		"fits exactly":              {v1alpha1.SnapshotQuotaSpec{Limit: quantity("11Gi"), VMLimit: quantity("7Gi")}, gib, nil},
		"namespace is full":         {v1alpha1.SnapshotQuotaSpec{Limit: quantity("11Gi")}, gib + 1, []string{"SnapshotQuota q (spec.limit) lets the snapshots of this namespace take 11Gi: they take 10Gi, and this point may take 1073741825 more"}},
		"VM is full":                {v1alpha1.SnapshotQuotaSpec{VMLimit: quantity("7Gi")}, 2 * gib, []string{"(spec.vmLimit) lets the snapshots of VM web take 7Gi: they take 6Gi, and this point may take 2Gi more"}},
		"the VM's own limit counts": {v1alpha1.SnapshotQuotaSpec{VMLimit: quantity("1Gi"), VMLimits: map[string]resource.Quantity{"web": resource.MustParse("8Gi")}}, gib, nil},
		"the VM has no limit":       {v1alpha1.SnapshotQuotaSpec{VMLimit: quantity("1Gi"), VMLimits: map[string]resource.Quantity{"web": {}}}, gib, nil},
		"another VM's limit":        {v1alpha1.SnapshotQuotaSpec{VMLimits: map[string]resource.Quantity{"db": resource.MustParse("1Gi")}}, gib, nil},
		"broken already":            {v1alpha1.SnapshotQuotaSpec{Limit: quantity("9Gi")}, 0, []string{"they take 10Gi, and this point may take 0 more"}},
		"both": {
			v1alpha1.SnapshotQuotaSpec{Limit: quantity("10Gi"), VMLimits: map[string]resource.Quantity{"web": resource.MustParse("6Gi")}},
			1,
			[]string{"spec.limit", "spec.vmLimits.web"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			quotas := []v1alpha1.SnapshotQuota{{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: c.spec}}
			got := Refusals(quotas, used, "web", c.expected)
			require.Len(t, got, len(c.says))
			for i, says := range c.says {
				require.Contains(t, got[i], says)
			}
		})
	}
	two := []v1alpha1.SnapshotQuota{{Spec: v1alpha1.SnapshotQuotaSpec{Limit: quantity("100Gi")}}, {Spec: v1alpha1.SnapshotQuotaSpec{Limit: quantity("1Gi")}}}
	require.Len(t, Refusals(two, used, "web", gib), 1, "each quota must be kept")
}

func TestStatus(t *testing.T) {
	used, vms := Usage{Total: 3 * gib, VMs: map[string]int64{"web": 3 * gib}}.Status()
	require.Equal(t, "3Gi", used.String())
	require.Len(t, vms, 1)
	web := vms["web"]
	require.Equal(t, "3Gi", web.String())
}
