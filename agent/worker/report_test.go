package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// What a job has waited for is not said any more once its data moves.
func TestProgressEndsAWait(t *testing.T) {
	config := harness.APIServer(t)
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	job := &v1alpha1.NodeJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: harness.Namespace(t, config), Name: "backup-1"},
		Spec: v1alpha1.NodeJobSpec{
			Owner: v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: "x", Name: "y", UID: "z"}, DeadlineSeconds: 60,
			Backup: &v1alpha1.BackupJob{Disk: "root", Volume: "v", Snapshot: "s", Backup: "b", Target: "t"},
		},
	}
	require.NoError(t, c.Create(t.Context(), job))
	r := newReporter(c, job, time.Nanosecond)
	require.NoError(t, r.message(t.Context(), "waiting: another process holds the lock"))
	moving := v1alpha1.TransferStatus{Started: true, Progress: &v1alpha1.Progress{BytesDone: 1, BytesTotal: 100}}
	require.NoError(t, r.progress(t.Context(), moving))
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(job), job))
	require.Empty(t, job.Status.Message)
	require.EqualValues(t, 1, job.Status.Transfer.Progress.BytesDone)

	version := job.ResourceVersion
	require.NoError(t, r.progress(t.Context(), moving))
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(job), job))
	require.Equal(t, version, job.ResourceVersion, "what has not moved is not written again")
}
