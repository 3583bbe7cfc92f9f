package command_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
)

func TestRetentionPreview(t *testing.T) {
	w := newWorld(t)
	s := &v1alpha1.VMSchedule{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "nightly"},
		Spec:       v1alpha1.VMScheduleSpec{Cron: "0 2 * * *", TimeZone: "Europe/Berlin", VM: "web", Target: "s3", MaxFailures: 2, Retention: v1alpha1.Retention{KeepLast: 3}},
	}
	require.NoError(t, w.Create(t.Context(), s))
	r := w.run(t, "retention", "preview", "nightly")
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, "Schedule nightly has no points.\n", r.err)

	for day := range 5 {
		nominal := time.Date(2026, 6, 20+day, 0, 0, 0, 0, time.UTC)
		b := &v1alpha1.VMBackup{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: w.namespace, Name: fmt.Sprintf("web-%d", day), Labels: map[string]string{v1alpha1.LabelSchedule: string(s.UID)},
				Annotations: map[string]string{v1alpha1.AnnotationNominalTime: nominal.Format(v1alpha1.NominalTimeLayout)},
			},
			Spec: v1alpha1.VMBackupSpec{VM: "web", Target: "s3", Pinned: day == 1},
		}
		require.NoError(t, w.Create(t.Context(), b))
		w.say(t, b, v1alpha1.VMBackupStatus{Phase: v1alpha1.BackupReady})
	}
	w.make(t, "by-hand")
	require.NoError(t, w.Create(t.Context(), &v1alpha1.VMRestore{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "copy"},
		Spec:       v1alpha1.VMRestoreSpec{Backup: "web-0", NewVM: "web2"},
	}))

	r = w.run(t, "retention", "preview", "nightly", "--keep-last", "2")
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, `VM web: 5 points, of which 1 goes:
  POINT   TIME                       STATE   FATE    BECAUSE
  web-4   2026-06-24 02:00:00 CEST   Good    stays   it is among the last 2
  web-3   2026-06-23 02:00:00 CEST   Good    stays   it is among the last 2
  web-2   2026-06-22 02:00:00 CEST   Good    goes    no rule wants it any more
  web-1   2026-06-21 02:00:00 CEST   Good    stays   it is pinned
  web-0   2026-06-20 02:00:00 CEST   Good    stays   restore copy reads it
`, r.out)

	// What the coordinator keeps for a run that has not ended is not said to go.
	s.Status.Runs = []v1alpha1.ScheduleRun{{NominalTime: metav1.NewTime(time.Date(2026, 6, 22, 0, 0, 0, 0, time.UTC)), BeganAt: metav1.Now(), Points: 2}}
	require.NoError(t, w.Status().Update(t.Context(), s))
	r = w.run(t, "retention", "preview", "nightly", "--keep-last", "2")
	require.Contains(t, r.out, "web-2   2026-06-22 02:00:00 CEST   Good    stays   the run that made it has not ended\n")
	s.Status.Runs = nil
	require.NoError(t, w.Status().Update(t.Context(), s))

	r = w.run(t, "retention", "preview", "nightly", "-o", "json")
	require.Equal(t, 0, r.code, r.err)
	var all []map[string]string
	require.NoError(t, json.Unmarshal([]byte(r.out), &all))
	require.Len(t, all, 5)
	require.Equal(t, map[string]string{"vm": "web", "point": "web-2", "time": "2026-06-22T00:00:00Z", "state": "Good", "fate": "stays", "why": "it is among the last 3"}, all[2])

	var left v1alpha1.VMBackupList
	require.NoError(t, w.List(t.Context(), &left, client.InNamespace(w.namespace)))
	require.Len(t, left.Items, 6, "nothing is changed")
	r = w.run(t, "retention", "preview", "weekly")
	require.Equal(t, 1, r.code)
	require.Equal(t, "Error: there is no schedule called \"weekly\"\n", r.err)
}
