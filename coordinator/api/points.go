package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

// Point is a VMBackup.
type Point struct {
	Identity
	State
	VM                 string     `json:"vm"`
	Type               string     `json:"type" enum:"Backup,Snapshot"`
	Target             string     `json:"target,omitempty"`
	DeletionPolicy     string     `json:"deletionPolicy"`
	Note               string     `json:"note,omitempty"`
	Pinned             bool       `json:"pinned"`
	Cancelled          bool       `json:"cancelled,omitempty"`
	Consistency        string     `json:"consistency,omitempty"`
	ConsistencyMessage string     `json:"consistencyMessage,omitempty"`
	Hooks              []Hook     `json:"hooks,omitempty" doc:"Commands that the VM declares by annotation, and that were run around the cut"`
	Schedule           string     `json:"schedule,omitempty" doc:"The VMSchedule that made it"`
	Found              bool       `json:"found,omitempty" doc:"It was found on its target: another cluster made it, or an earlier life of this one"`
	Claimed            bool       `json:"claimed,omitempty" doc:"It was found and claimed: deleting it can delete its data"`
	StartedAt          *time.Time `json:"startedAt,omitempty"`
	CutAt              *time.Time `json:"cutAt,omitempty" doc:"The moment that it stands for"`
	CompletedAt        *time.Time `json:"completedAt,omitempty"`

	Verification *Verification `json:"verification,omitempty" doc:"The last look whether it is whole on its target, which somebody asked for"`
}

// Hook is how a command ended that was run around the cut.
type Hook struct {
	Hook    string `json:"hook" enum:"pre,post" doc:"Before the disks were cut, or afterwards"`
	Failed  bool   `json:"failed"`
	Message string `json:"message" doc:"How it ended, for people"`
}

func pointOf(b *v1alpha1.VMBackup) Point {
	p := Point{
		Identity: identityOf(b), State: stateOf(status.OfBackup(b), b.Status.Conditions),
		VM: b.Spec.VM, Type: string(b.Spec.Type), Target: b.Spec.Target, DeletionPolicy: string(b.Spec.DeletionPolicy),
		Note: b.Spec.Note, Pinned: b.Spec.Pinned, Cancelled: b.Spec.Cancel, Schedule: b.Annotations[v1alpha1.AnnotationSchedule], Found: b.Spec.Found != nil, Claimed: b.Spec.Claimed,
		Consistency: string(b.Status.Consistency), ConsistencyMessage: b.Status.ConsistencyMessage,
		StartedAt: timeOf(b.Status.StartedAt), CompletedAt: timeOf(b.Status.CompletedAt), Verification: verificationOf(b),
	}
	if at := b.Status.CutAt; !at.IsZero() {
		utc := at.UTC()
		p.CutAt = &utc
	}
	for _, h := range b.Status.Hooks {
		p.Hooks = append(p.Hooks, Hook{Hook: h.Hook, Failed: h.Failed, Message: h.Message})
	}
	return p
}

type PointList struct {
	Page
	VM string `query:"vm" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" doc:"Only points of this VM"`
}

type deletePointInput struct {
	Named
	KeepData bool `query:"keepData" doc:"Leave its data on the target, and do not find it there again; also given later, to a deletion that waits"`
	Force    bool `query:"force" doc:"Wait for nothing but restores that read it, whatever is left behind"`
}

// deletePoint deletes a point as it was when it was read, told before what is to
// become of its data.
func (s *service) deletePoint(ctx context.Context, in *deletePointInput) (*struct{}, error) {
	b := &v1alpha1.VMBackup{}
	if !in.KeepData && !in.Force {
		b.Namespace, b.Name = in.Namespace, in.Name
		return nil, problem.FromCluster(s.Client.Delete(ctx, b))
	}
	if err := s.Client.Get(ctx, in.key(), b); err != nil {
		return nil, problem.FromCluster(err)
	}
	before := b.DeepCopy()
	if in.KeepData {
		b.Spec.DeletionPolicy = v1alpha1.DeletionRetain
	}
	if in.Force {
		metav1.SetMetaDataAnnotation(&b.ObjectMeta, v1alpha1.AnnotationForceDeletion, "true")
	}
	if err := s.Client.Patch(ctx, b, client.MergeFrom(before)); err != nil {
		return nil, problem.FromCluster(err)
	}
	return nil, problem.FromCluster(s.Client.Delete(ctx, b, client.Preconditions{UID: &before.UID}))
}

func (s *service) addPoints(api huma.API) {
	list := func(ctx context.Context, namespace string, in PointList) (*listed[Point], error) {
		labels := client.MatchingLabels{}
		if in.VM != "" {
			labels[v1alpha1.LabelVM] = in.VM
		}
		var l v1alpha1.VMBackupList
		if err := s.Client.List(ctx, &l, in.options(namespace, labels)...); err != nil {
			return nil, problem.FromCluster(err)
		}
		return of(l.Items, l.Continue, pointOf), nil
	}
	const one, all = "/namespaces/{namespace}/points/{name}", "/namespaces/{namespace}/points"
	huma.Register(api, operation("list-all-points", http.MethodGet, "/points", "List the points of all namespaces", "points"), func(ctx context.Context, in *PointList) (*listed[Point], error) {
		return list(ctx, "", *in)
	})
	huma.Register(api, operation("list-points", http.MethodGet, all, "List the points of a namespace", "points"), func(ctx context.Context, in *struct {
		Namespaced
		PointList
	},
	) (*listed[Point], error) {
		return list(ctx, in.Namespace, in.PointList)
	})
	point := func() *v1alpha1.VMBackup { return &v1alpha1.VMBackup{} }
	get(s, api, operation("get-point", http.MethodGet, one, "Look at a point", "points"), point, pointOf)
	accepted(api, operation("delete-point", http.MethodDelete, one, "Delete a point, and with policy Delete its data", "points"), s.deletePoint)
	accepted(api, operation("verify-point", http.MethodPost, one+"/verify", "Have it looked whether a point is whole on its target; needs the right to change it", "points"), s.verifyPoint)
	for _, c := range []struct{ id, path, summary, patch string }{
		{"cancel-point", "/cancel", "Cancel a point on its way", `{"spec":{"cancel":true}}`},
		{"pin-point", "/pin", "Keep retention from removing a point", `{"spec":{"pinned":true}}`},
		{"unpin-point", "/unpin", "Let retention remove a point again", `{"spec":{"pinned":false}}`},
		{"claim-point", "/claim", "Take over a point that another cluster has left on the target: deleting it deletes its data then; needs the verb claim on the target", `{"spec":{"claimed":true,"deletionPolicy":"Delete"}}`},
	} {
		change(s, api, operation(c.id, http.MethodPost, one+c.path, c.summary, "points"), point, pointOf, c.patch)
	}
}
