package worker

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	longhorn "github.com/longhorn/longhorn-manager/k8s/pkg/apis/longhorn/v1beta2"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/agent/attach"
	"hayloft.dev/agent/engine"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestWorkIsDoneAgainWhereItsEngineEnded: a VM stops and starts on its node, so
// that it never seems to have let go of its volume, and its engine runs at
// another address.
func TestWorkIsDoneAgainWhereItsEngineEnded(t *testing.T) {
	config := harness.APIServer(t)
	scheme := runtime.NewScheme()
	require.NoError(t, longhorn.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	ns := harness.Namespace(t, config)
	va := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"volume": "v", "attachmentTickets": map[string]any{"csi": map[string]any{"id": "csi", "type": "csi-attacher", "nodeID": "n1"}},
	}}}
	va.SetGroupVersionKind(longhorn.SchemeGroupVersion.WithKind("VolumeAttachment"))
	va.SetNamespace(ns)
	va.SetName("v")
	require.NoError(t, c.Create(t.Context(), va))

	const cuts = 3
	for name, test := range map[string]struct {
		found bool // the engine was there
		fails int  // times in a row
		cause error
		tries int
		ends  string // reason, empty: well
	}{
		"it ended once":                          {true, 1, engine.ErrUnavailable, 2, ""},
		"it ends again and again":                {true, cuts, engine.ErrUnavailable, cuts, v1alpha1.ReasonEngineUnavailable},
		"it was never there":                     {false, cuts, engine.ErrUnavailable, 1, v1alpha1.ReasonEngineUnavailable},
		"it says no":                             {true, cuts, engine.ErrSnapshotLimit, 1, v1alpha1.ReasonSnapshotLimit},
		"a workload wants the volume, for long":  {true, 2 * cuts, attach.ErrWanted, 2*cuts + 1, ""},
		"it ended, and then a workload wants it": {true, 2, fmt.Errorf("%w, %w", attach.ErrWanted, engine.ErrUnavailable), 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			job := &v1alpha1.NodeJob{Spec: v1alpha1.NodeJobSpec{
				Owner: v1alpha1.ObjectReference{Kind: "VMBackup", Namespace: ns, Name: "p", UID: "u"}, DeadlineSeconds: 60,
				RemoveSnapshots: &v1alpha1.RemoveSnapshotsJob{Volume: "v", Snapshots: []string{"s"}},
			}}
			job.Namespace, job.GenerateName = ns, "job-"
			require.NoError(t, c.Create(t.Context(), job))
			r := &run{
				Worker: &Worker{
					Attacher: &attach.Attacher{Client: c, Namespace: ns, Node: "n1"}, Log: slog.New(slog.DiscardHandler),
				},
				Limits: Limits{Call: time.Minute, RetryFloor: time.Millisecond, Cuts: cuts},
				job:    job, report: newReporter(c, job, 0),
			}
			tries := 0
			err := r.undisturbed(t.Context(), func(context.Context) error {
				if tries++; test.found {
					r.found(attach.Location{Volume: "v", Node: "n1", Address: fmt.Sprint(tries)})
				}
				if tries > test.fails {
					return nil
				}
				return fmt.Errorf("w: %w", test.cause)
			})
			require.Equal(t, test.tries, tries)
			if test.ends == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, test.ends, classify(t.Context(), err).reason)
		})
	}
}
