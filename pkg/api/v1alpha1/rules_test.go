package v1alpha1_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestRulesOfPoints(t *testing.T) {
	c, ns := apiClient(t)
	point := func(change func(*v1alpha1.VMBackupSpec)) *v1alpha1.VMBackup {
		b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "b-"}}
		b.Spec = v1alpha1.VMBackupSpec{VM: "vm", Target: "t"}
		change(&b.Spec)
		return b
	}
	for says, change := range map[string]func(*v1alpha1.VMBackupSpec){
		"spec.target is required for type Backup":         func(s *v1alpha1.VMBackupSpec) { s.Target = "" },
		"spec.target does not belong to type Snapshot":    func(s *v1alpha1.VMBackupSpec) { s.Type = v1alpha1.TypeSnapshot },
		"spec.deletionPolicy Retain does not belong":      func(s *v1alpha1.VMBackupSpec) { s.Type, s.Target, s.DeletionPolicy = "Snapshot", "", "Retain" },
		"spec.includeDisks and spec.excludeDisks exclude": func(s *v1alpha1.VMBackupSpec) { s.IncludeDisks, s.ExcludeDisks = []string{"a"}, []string{"b"} },
		"spec.quiesce.policy: Unsupported value":          func(s *v1alpha1.VMBackupSpec) { s.Quiesce.Policy = "Maybe" },
		"spec.quiesce.deadlineSeconds: Invalid value: 61": func(s *v1alpha1.VMBackupSpec) { s.Quiesce.DeadlineSeconds = 61 },
		"spec.type: Unsupported value":                    func(s *v1alpha1.VMBackupSpec) { s.Type = "Copy" },
		"spec.includeDisks[1]: Duplicate value: \"a\"":    func(s *v1alpha1.VMBackupSpec) { s.IncludeDisks = []string{"a", "a"} },
	} {
		require.ErrorContains(t, c.Create(t.Context(), point(change)), says)
	}

	b := point(func(s *v1alpha1.VMBackupSpec) { s.ExcludeDisks = []string{"scratch"} })
	require.NoError(t, c.Create(t.Context(), b))
	require.Equal(t, v1alpha1.TypeBackup, b.Spec.Type)
	require.Equal(t, v1alpha1.Quiesce{Policy: v1alpha1.QuiesceBestEffort, DeadlineSeconds: 10}, b.Spec.Quiesce)
	b.Spec.Note, b.Spec.Pinned, b.Spec.Cancel = "before the upgrade", true, true
	require.NoError(t, c.Update(t.Context(), b), "note, pin and cancel may be set later")
	for says, change := range map[string]func(*v1alpha1.VMBackup){
		"spec.type is immutable":                          func(b *v1alpha1.VMBackup) { b.Spec.Type, b.Spec.Target = v1alpha1.TypeSnapshot, "" },
		"spec.includeDisks and spec.excludeDisks are imm": func(b *v1alpha1.VMBackup) { b.Spec.ExcludeDisks = nil },
		"spec.quiesce is immutable":                       func(b *v1alpha1.VMBackup) { b.Spec.Quiesce.Policy = v1alpha1.QuiesceNever },
		"spec.cancel cannot be taken back":                func(b *v1alpha1.VMBackup) { b.Spec.Cancel = false },
	} {
		changed := b.DeepCopy()
		change(changed)
		require.ErrorContains(t, c.Update(t.Context(), changed), says)
	}
	require.NoError(t, c.Create(t.Context(), point(func(s *v1alpha1.VMBackupSpec) { s.Type, s.Target = v1alpha1.TypeSnapshot, "" })))
}

func TestRulesOfRestores(t *testing.T) {
	c, ns := apiClient(t)
	restore := func(change func(*v1alpha1.VMRestoreSpec)) *v1alpha1.VMRestore {
		r := &v1alpha1.VMRestore{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "r-"}}
		r.Spec = v1alpha1.VMRestoreSpec{Backup: "b", NewVM: "vm"}
		change(&r.Spec)
		return r
	}
	replace := &v1alpha1.Replace{VM: "vm"}
	for says, change := range map[string]func(*v1alpha1.VMRestoreSpec){
		"exactly one of spec.newVM, spec.replace and spec.diskClaim":            func(s *v1alpha1.VMRestoreSpec) { s.Replace = replace },
		"exactly one of spec.newVM, spec.replace and spec.diskClaim must be se": func(s *v1alpha1.VMRestoreSpec) { s.NewVM = "" },
		"spec.keepMACAddresses does not belong to spec.replace":                 func(s *v1alpha1.VMRestoreSpec) { s.NewVM, s.Replace, s.KeepMACAddresses = "", replace, true },
		"spec.replace.deleteSnapshots only goes with": func(s *v1alpha1.VMRestoreSpec) {
			s.NewVM, s.Replace = "", &v1alpha1.Replace{VM: "vm", DeleteSnapshots: []string{"x"}}
		},
		"do not belong to spec.diskClaim": func(s *v1alpha1.VMRestoreSpec) {
			s.NewVM, s.DiskClaim, s.HaltAfterRestore = "", &v1alpha1.DiskClaim{Disk: "root", Claim: "copy"}, true
		},
		"spec.diskClaim.claim": func(s *v1alpha1.VMRestoreSpec) {
			s.NewVM, s.DiskClaim = "", &v1alpha1.DiskClaim{Disk: "root", Claim: "Copy"}
		},
	} {
		require.ErrorContains(t, c.Create(t.Context(), restore(change)), says)
	}

	r := restore(func(s *v1alpha1.VMRestoreSpec) { s.NewVM, s.Replace = "", replace })
	require.NoError(t, c.Create(t.Context(), r))
	require.Equal(t, v1alpha1.VolumesRetain, r.Spec.Replace.Volumes)
	r.Spec.Cancel = true
	require.NoError(t, c.Update(t.Context(), r), "a restore may be cancelled")
	for name, change := range map[string]func(*v1alpha1.VMRestoreSpec){
		"backup":    func(s *v1alpha1.VMRestoreSpec) { s.Backup = "other" },
		"namespace": func(s *v1alpha1.VMRestoreSpec) { s.BackupNamespace = "other" },
		"volumes":   func(s *v1alpha1.VMRestoreSpec) { s.Replace.Volumes = v1alpha1.VolumesDelete },
		"halt":      func(s *v1alpha1.VMRestoreSpec) { s.HaltAfterRestore = true },
		"classes":   func(s *v1alpha1.VMRestoreSpec) { s.StorageClasses = map[string]string{"a": "b"} },
		"networks":  func(s *v1alpha1.VMRestoreSpec) { s.Networks = map[string]string{"a": "b"} },
	} {
		changed := r.DeepCopy()
		change(&changed.Spec)
		require.ErrorContains(t, c.Update(t.Context(), changed), "spec is immutable but for spec.cancel", name)
	}
	r.Spec.Cancel = false
	require.ErrorContains(t, c.Update(t.Context(), r), "spec.cancel cannot be taken back")
}

func TestRulesOfQuotas(t *testing.T) {
	c, ns := apiClient(t)
	quantity := func(s string) *resource.Quantity { q := resource.MustParse(s); return &q }
	quota := func(s v1alpha1.SnapshotQuotaSpec) client.Object {
		return &v1alpha1.SnapshotQuota{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "q-"}, Spec: s}
	}
	require.NoError(t, c.Create(t.Context(), quota(v1alpha1.SnapshotQuotaSpec{
		Limit: quantity("0"), VMLimit: quantity("20Gi"), VMLimits: map[string]resource.Quantity{"db": resource.MustParse("1Ti")},
	})))
	for says, s := range map[string]v1alpha1.SnapshotQuotaSpec{
		"spec.limit must not be negative":   {Limit: quantity("-1Gi")},
		"spec.vmLimit must not be negative": {VMLimit: quantity("-1")},
		"spec.vmLimits must not hold":       {VMLimits: map[string]resource.Quantity{"db": resource.MustParse("-5")}},
	} {
		require.ErrorContains(t, c.Create(t.Context(), quota(s)), says)
	}
}
