package rules

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

func TestBackup(t *testing.T) {
	const (
		noTarget = `there is no BackupTarget "s3" (spec.target): create it, or name another in a new VMBackup`
		noVM     = `there is no VirtualMachine "web" in namespace ns (spec.vm): name one that exists in a new VMBackup`
	)
	for name, c := range map[string]struct {
		change func(*BackupFacts)
		want   []Refusal
	}{
		"nothing wrong": {change: func(*BackupFacts) {}},
		"migrating":     {change: func(f *BackupFacts) { f.Source.Wait = "volume v of disk root is being live-migrated" }},
		"no target":     {change: func(f *BackupFacts) { f.Target = nil }, want: []Refusal{{TargetNotFound, noTarget}}},
		"snapshot": {change: func(f *BackupFacts) {
			f.Backup.Spec.Type, f.Backup.Spec.Target, f.Target = v1alpha1.TypeSnapshot, "", nil
		}},
		"target going": {
			change: func(f *BackupFacts) { f.Target.DeletionTimestamp = gone() },
			want:   []Refusal{{TargetNotReady, `BackupTarget "s3" (spec.target) is being deleted: name another in a new VMBackup`}},
		},
		"no VM":         {change: func(f *BackupFacts) { f.Source = nil }, want: []Refusal{{Refused, noVM}}},
		"neither":       {change: func(f *BackupFacts) { f.Source, f.Target = nil, nil }, want: []Refusal{{TargetNotFound, noTarget}, {Refused, noVM}}},
		"no space":      {change: func(f *BackupFacts) { f.Space = []string{"too much"} }, want: []Refusal{{QuotaExceeded, "too much"}}},
		"two bad disks": {change: func(f *BackupFacts) { f.Source.Refusals = []string{"a", "b"} }, want: []Refusal{{Refused, "a"}, {Refused, "b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			f := BackupFacts{
				Backup: &v1alpha1.VMBackup{
					ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns"},
					Spec:       v1alpha1.VMBackupSpec{VM: "web", Type: v1alpha1.TypeBackup, Target: "s3"},
				},
				Target: &v1alpha1.BackupTarget{}, Source: &Source{},
			}
			c.change(&f)
			require.Equal(t, c.want, Backup(f))
		})
	}
}

func TestReaders(t *testing.T) {
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "p-uid"}}
	for name, c := range map[string]struct {
		change func(*v1alpha1.VMRestore)
		want   []string
	}{
		"reads":                         {func(s *v1alpha1.VMRestore) { s.Status.BackupUID = "p-uid" }, []string{"r"}},
		"is about to":                   {func(*v1alpha1.VMRestore) {}, []string{"r"}},
		"is about to, and was given up": {func(s *v1alpha1.VMRestore) { s.DeletionTimestamp = gone() }, nil},
		"reads, and was given up":       {func(s *v1alpha1.VMRestore) { s.DeletionTimestamp, s.Status.BackupUID = gone(), "p-uid" }, []string{"r"}},
		"reads an earlier one":          {func(s *v1alpha1.VMRestore) { s.Status.BackupUID = "former" }, nil},
		"another point":                 {func(s *v1alpha1.VMRestore) { s.Spec.Backup = "q" }, nil},
		"its namesake elsewhere":        {func(s *v1alpha1.VMRestore) { s.Namespace = "other" }, nil},
		"from another namespace":        {func(s *v1alpha1.VMRestore) { s.Namespace, s.Spec.BackupNamespace = "other", "ns" }, []string{"other/r"}},
		"has read":                      {func(s *v1alpha1.VMRestore) { s.Status.BackupUID, s.Status.Phase = "p-uid", v1alpha1.RestoreReady }, nil},
		"has failed":                    {func(s *v1alpha1.VMRestore) { s.Status.BackupUID, s.Status.Phase = "p-uid", v1alpha1.RestoreFailed }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Name: "r", Namespace: "ns"}, Spec: v1alpha1.VMRestoreSpec{Backup: "p"}}
			c.change(&s)
			require.Equal(t, c.want, status.Readers(b, []v1alpha1.VMRestore{s}))
		})
	}
	require.Empty(t, BackupDeletion(b, nil, nil))
	require.Equal(t, []Refusal{{BackupInUse, "VMBackup p is being read by VMRestore r, s: wait until that has ended, or delete it first"}}, BackupDeletion(b, nil, []string{"r", "s"}))
}

func TestTargetDeletion(t *testing.T) {
	target := &v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "s3"}}
	for name, c := range map[string]struct {
		change   func(*v1alpha1.VMBackup)
		restores []v1alpha1.VMRestore
		want     string
	}{
		"whole":             {change: func(b *v1alpha1.VMBackup) { b.Status.Phase = v1alpha1.BackupReady }},
		"failed":            {change: func(b *v1alpha1.VMBackup) { b.Status.Phase = v1alpha1.BackupFailed }},
		"on another target": {change: func(b *v1alpha1.VMBackup) { b.Spec.Target = "nfs" }},
		"not begun":         {change: func(*v1alpha1.VMBackup) {}, want: "VMBackup ns/p (Pending)"},
		"uploading":         {change: func(b *v1alpha1.VMBackup) { b.Status.Phase = v1alpha1.BackupUploading }, want: "VMBackup ns/p (Uploading)"},
		"being deleted": {
			change: func(b *v1alpha1.VMBackup) { b.Status.Phase, b.DeletionTimestamp = v1alpha1.BackupReady, gone() },
			want:   "VMBackup ns/p (Deleting)",
		},
		"being read": {
			change: func(b *v1alpha1.VMBackup) { b.Status.Phase = v1alpha1.BackupReady },
			restores: []v1alpha1.VMRestore{{
				ObjectMeta: metav1.ObjectMeta{Name: "r", Namespace: "ns"}, Status: v1alpha1.VMRestoreStatus{BackupUID: "p-uid"},
			}},
			want: "VMRestore r of VMBackup ns/p",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "p-uid"}, Spec: v1alpha1.VMBackupSpec{Target: "s3"}}
			c.change(&b)
			got := TargetDeletion(target, []v1alpha1.VMBackup{b}, c.restores)
			if c.want == "" {
				require.Empty(t, got)
				return
			}
			require.Equal(t, []Refusal{{TargetInUse, "BackupTarget s3 is in use by " + c.want + ": wait until that has ended, or delete it first"}}, got)
		})
	}
}

func TestQuota(t *testing.T) {
	quantity := func(s string) *resource.Quantity { q := resource.MustParse(s); return &q }
	require.Empty(t, Quota(&v1alpha1.SnapshotQuota{Spec: v1alpha1.SnapshotQuotaSpec{
		Limit: quantity("10Gi"), VMLimit: quantity("0"), VMLimits: map[string]resource.Quantity{"web": *quantity("1.5Gi")},
	}}))
	require.Equal(t, []Refusal{
		{Refused, "spec.limit: 100m is not a whole number of bytes: use a unit such as Mi or Gi"},
		{Refused, "spec.vmLimits[web]: 1500m is not a whole number of bytes: use a unit such as Mi or Gi"},
	}, Quota(&v1alpha1.SnapshotQuota{Spec: v1alpha1.SnapshotQuotaSpec{
		Limit: quantity("100m"), VMLimits: map[string]resource.Quantity{"web": *quantity("1.5")},
	}}))
}
