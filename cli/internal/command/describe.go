package command

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/cli/internal/explain"
	"hayloft.dev/cli/internal/kinds"
	"hayloft.dev/cli/internal/kube"
	"hayloft.dev/pkg/api/v1alpha1"
)

func (a *app) describe() *cobra.Command {
	return &cobra.Command{
		Use:               "describe backup|restore|schedule|target|quota|job NAME",
		Short:             "Tell in words what an object does, why it waits, and its figures",
		ValidArgsFunction: a.completeKinds([]string{"backup", "restore", "schedule", "target", "quota", "job"}, false),
		Args:              exactly("what to describe", "its name"),
		RunE: func(c *cobra.Command, args []string) error {
			k, err := kindArg(c, args[0])
			if err != nil {
				return err
			}
			cluster, err := a.flags.Open(a.Err)
			if err != nil {
				return err
			}
			o := k.New()
			if err := cluster.Client.Get(c.Context(), client.ObjectKey{Namespace: cluster.NamespaceOf(k), Name: args[1]}, o); err != nil {
				return err
			}
			around, err := a.around(c.Context(), cluster, k, o)
			if err != nil {
				return err
			}
			switch x := o.(type) {
			case *v1alpha1.VMBackup:
				return explain.Backup(a.Out, x, around)
			case *v1alpha1.VMRestore:
				return explain.Restore(a.Out, x, around)
			case *v1alpha1.VMSchedule:
				return explain.Schedule(a.Out, x, around)
			case *v1alpha1.BackupTarget:
				return explain.Target(a.Out, x, around)
			case *v1alpha1.SnapshotQuota:
				return explain.Quota(a.Out, x, around)
			case *v1alpha1.NodeJob:
				return explain.Job(a.Out, x, around)
			}
			return nil
		},
	}
}

// around gathers what is shown beside an object. Jobs are in Hayloft's own
// namespace, which a user may not be allowed to read.
func (a *app) around(ctx context.Context, cluster *kube.Cluster, k kinds.Kind, o client.Object) (explain.Around, error) {
	around := explain.Around{Now: a.Now()}
	var events corev1.EventList
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = "default" // where events of cluster-wide objects are
	}
	err := cluster.Client.List(ctx, &events, client.InNamespace(namespace), client.MatchingFields{"involvedObject.uid": string(o.GetUID())})
	if err != nil && !apierrors.IsForbidden(err) {
		return around, err
	}
	around.Events = events.Items
	slices.SortStableFunc(around.Events, func(x, y corev1.Event) int { return x.LastTimestamp.Compare(y.LastTimestamp.Time) })
	if k.Word == "schedule" {
		var points v1alpha1.VMBackupList
		made := client.MatchingLabels{v1alpha1.LabelSchedule: string(o.GetUID())}
		err := cluster.Client.List(ctx, &points, client.InNamespace(o.GetNamespace()), made)
		around.Points = points.Items
		return around, err
	}
	if k.Scope != kinds.Namespace || k.Word == "quota" {
		return around, nil
	}
	var jobs v1alpha1.NodeJobList
	err = cluster.Client.List(ctx, &jobs, client.InNamespace(cluster.System))
	if apierrors.IsForbidden(err) {
		around.JobsHidden = true
		return around, nil
	}
	for _, j := range jobs.Items {
		if j.Spec.Owner.UID == o.GetUID() {
			around.Jobs = append(around.Jobs, j)
		}
	}
	slices.SortStableFunc(around.Jobs, func(x, y v1alpha1.NodeJob) int {
		if d := x.CreationTimestamp.Compare(y.CreationTimestamp.Time); d != 0 {
			return d
		}
		return strings.Compare(x.Name, y.Name)
	})
	return around, err
}
