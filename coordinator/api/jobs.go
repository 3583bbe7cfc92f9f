package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Job is a NodeJob: one piece of work for one agent.
type Job struct {
	Identity
	Kind        string     `json:"kind" enum:"cut,backup,restore,clone,removeSnapshots"`
	Node        string     `json:"node,omitempty" doc:"Whose agent is to do it; empty while nobody is"`
	For         Owner      `json:"for"`
	State       string     `json:"state" enum:"Pending,Running,Succeeded,Failed"`
	Reason      string     `json:"reason,omitempty"`
	Message     string     `json:"message,omitempty"`
	BytesDone   int64      `json:"bytesDone,omitempty"`
	BytesTotal  int64      `json:"bytesTotal,omitempty"`
	ClaimedAt   *time.Time `json:"claimedAt,omitempty"`
	CompletedAt *time.Time `json:"completedAt,omitempty"`
}

// Owner is what a job works for.
type Owner struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func jobOf(j *v1alpha1.NodeJob) Job {
	o := j.Spec.Owner
	out := Job{
		Identity: identityOf(j), Kind: kindOf(&j.Spec), Node: j.Spec.NodeName, For: Owner{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name},
		State: string(j.Status.State), Reason: j.Status.Reason, Message: j.Status.Message,
		ClaimedAt: timeOf(j.Status.ClaimedAt), CompletedAt: timeOf(j.Status.CompletedAt),
	}
	if j.Status.State == v1alpha1.JobPending {
		out.State = "Pending"
	}
	if t := j.Status.Transfer; t != nil && t.Progress != nil {
		out.BytesDone, out.BytesTotal = t.Progress.BytesDone, t.Progress.BytesTotal
	}
	return out
}

func kindOf(s *v1alpha1.NodeJobSpec) string {
	switch {
	case s.Cut != nil:
		return "cut"
	case s.Backup != nil:
		return "backup"
	case s.Restore != nil:
		return "restore"
	case s.Clone != nil:
		return "clone"
	}
	return "removeSnapshots"
}

func (s *service) addJobs(api huma.API) {
	huma.Register(api, operation("list-jobs", http.MethodGet, "/jobs", "List the agents' jobs", "jobs"), func(ctx context.Context, in *Page) (*listed[Job], error) {
		var l v1alpha1.NodeJobList
		if err := s.Client.List(ctx, &l, in.options(s.Namespace, nil)...); err != nil {
			return nil, problem.FromCluster(err)
		}
		return of(l.Items, l.Continue, jobOf), nil
	})
	huma.Register(api, operation("get-job", http.MethodGet, "/jobs/{name}", "Look at a job", "jobs"), func(ctx context.Context, in *Object) (*one[Job], error) {
		var j v1alpha1.NodeJob
		if err := s.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: in.Name}, &j); err != nil {
			return nil, problem.FromCluster(err)
		}
		return &one[Job]{jobOf(&j)}, nil
	})
}
