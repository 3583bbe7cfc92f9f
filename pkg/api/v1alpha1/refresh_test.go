package v1alpha1_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestRulesOfRefreshing(t *testing.T) {
	c, _ := apiClient(t)
	refresh := func(r v1alpha1.TargetRefresh) *v1alpha1.BackupTarget {
		return s3Target(func(b *v1alpha1.BackupTarget) { b.Spec.Refresh = &r })
	}
	for _, good := range []string{"", "0", "0s", "1s", "1.5h", "1h30m", "Never", "99999999h"} {
		require.NoError(t, c.Create(t.Context(), refresh(v1alpha1.TargetRefresh{Interval: good})), good)
	}
	for _, bad := range []string{"-1s", "-0", "300", "never", "5 m", "1ns", "m", "99999999999999999999999999999999h"} {
		require.ErrorContains(t, c.Create(t.Context(), refresh(v1alpha1.TargetRefresh{Interval: bad})), "spec.refresh.interval", bad)
	}
	for limit, good := range map[string]bool{"1m": true, "10m": true, "0.5": true, "1": true, "0": false, "-1": false, "100u": false, "1500m": false, "2": false} {
		q := resource.MustParse(limit)
		err := c.Create(t.Context(), refresh(v1alpha1.TargetRefresh{MaxCPU: &q}))
		if good {
			require.NoError(t, err, limit)
		} else {
			require.ErrorContains(t, err, "spec.refresh.maxCPU must be from 1m to 1", limit)
		}
	}
}

func TestRulesOfFoundPoints(t *testing.T) {
	c, ns := apiClient(t)
	found := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "b-"}}
	found.Spec = v1alpha1.VMBackupSpec{
		VM: "vm", Target: "t", DeletionPolicy: v1alpha1.DeletionRetain,
		Found: &v1alpha1.FoundPoint{ClusterUID: "11111111-1111-1111-1111-111111111111", UID: "22222222-2222-2222-2222-222222222222"},
	}
	willing := found.DeepCopy()
	willing.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	require.ErrorContains(t, c.Create(t.Context(), willing), "spec.deletionPolicy of a point that was found")
	require.NoError(t, c.Create(t.Context(), found))
	for says, change := range map[string]func(*v1alpha1.VMBackupSpec){
		"spec.found is immutable":                          func(s *v1alpha1.VMBackupSpec) { s.Found.UID = s.Found.ClusterUID },
		"spec.found is immutable: ":                        func(s *v1alpha1.VMBackupSpec) { s.Found = nil },
		"spec.deletionPolicy of a point that was found on": func(s *v1alpha1.VMBackupSpec) { s.DeletionPolicy = v1alpha1.DeletionDelete },
	} {
		changed := found.DeepCopy()
		change(&changed.Spec)
		require.ErrorContains(t, c.Update(t.Context(), changed), says)
	}
	own := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "b-"}, Spec: v1alpha1.VMBackupSpec{VM: "vm", Target: "t"}}
	require.NoError(t, c.Create(t.Context(), own))
	own.Spec.Found, own.Spec.DeletionPolicy = found.Spec.Found, v1alpha1.DeletionRetain
	require.ErrorContains(t, c.Update(t.Context(), own), "spec.found is immutable")
}
