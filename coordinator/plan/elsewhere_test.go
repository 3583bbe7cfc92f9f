package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestElsewhere(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	point := func(uid, target string, phase v1alpha1.BackupPhase, ended time.Duration, attempt int32) *v1alpha1.VMBackup {
		b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}}
		b.Spec.Target, b.Status.Phase = target, phase
		if ended > 0 {
			end := metav1.NewTime(at.Add(-ended))
			b.Status.CompletedAt = &end
		}
		began := metav1.NewTime(at.Add(-ended - 50*time.Minute))
		b.Status.StartedAt = &began
		b.Status.Disks = []v1alpha1.BackupDisk{{Name: "root", Volume: "v", Attempt: attempt}}
		return b
	}
	mine := point("mine", "here", v1alpha1.BackupUploading, 0, 1)
	snapshot, found := point("snapshot", "", v1alpha1.BackupReady, time.Second, 1), point("found", "there", v1alpha1.BackupReady, time.Second, 1)
	snapshot.Spec.Type, found.Spec.Found = v1alpha1.TypeSnapshot, &v1alpha1.FoundPoint{}
	points := []*v1alpha1.VMBackup{
		mine, snapshot, found,
		point("beside", "here", v1alpha1.BackupReady, time.Second, 1),
		point("running", "there", v1alpha1.BackupUploading, 0, 3),
		point("ready", "there", v1alpha1.BackupReady, 20*time.Second, 1),
		point("old", "there", v1alpha1.BackupReady, time.Minute, 1),
		point("failed", "there", v1alpha1.BackupFailed, time.Hour, 1),
		point("long-failed", "there", v1alpha1.BackupFailed, 48*time.Hour, 1),
		point("not-begun", "there", v1alpha1.BackupCutting, 0, 0),
	}
	there := []string{"hl-failed-a1-root", "hl-ready-a1-root", "hl-running-a2-root", "hl-running-a3-root"}
	require.Equal(t, map[string][]string{"v": there}, Elsewhere(mine, points, at.Add(-3*time.Hour), at))

	// A target that was changed, or deleted and made again, may have other keys, and be
	// in another place.
	waiting := point("waiting", "here", v1alpha1.BackupPending, 0, 0)
	waiting.Status.StartedAt = nil
	got := Elsewhere(mine, append(points, waiting), at.Add(-30*time.Second), at)
	require.ElementsMatch(t, append(there, "hl-beside-a1-root", "hl-mine-a1-root"), got["v"])
}
