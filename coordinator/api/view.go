package api

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/status"
)

// Identity is what every object has.
type Identity struct {
	Namespace string    `json:"namespace,omitempty"`
	Name      string    `json:"name"`
	UID       string    `json:"uid"`
	CreatedAt time.Time `json:"createdAt"`
	Deleting  bool      `json:"deleting,omitempty" doc:"It is being deleted"`
}

func identityOf(o client.Object) Identity {
	return Identity{
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID()),
		CreatedAt: o.GetCreationTimestamp().UTC(), Deleting: !o.GetDeletionTimestamp().IsZero(),
	}
}

// State is how far a point or restore is.
type State struct {
	Phase      string            `json:"phase" doc:"Pending until a coordinator has looked at it"`
	WaitingFor string            `json:"waitingFor,omitempty" doc:"What is being done or waited for, a sentence"`
	BytesDone  int64             `json:"bytesDone" doc:"Of the disks' data, before compression"`
	BytesTotal int64             `json:"bytesTotal"`
	Ended      bool              `json:"ended" doc:"Nothing is done for it any more"`
	Problem    *problem.Document `json:"problem,omitempty" doc:"Why it failed"`
	Disks      []Disk            `json:"disks,omitempty"`
}

// Disk of a point or restore.
type Disk struct {
	Name       string `json:"name"`
	State      string `json:"state"`
	BytesDone  int64  `json:"bytesDone"`
	BytesTotal int64  `json:"bytesTotal"`
	Attempt    int32  `json:"attempt,omitempty"`
	Message    string `json:"message,omitempty"`
}

func stateOf(s status.Status, conditions []metav1.Condition) State {
	out := State{Phase: s.Phase, WaitingFor: s.Why, BytesDone: s.Done, BytesTotal: s.Total, Ended: s.Ended}
	if out.Phase == "" {
		out.Phase = string(v1alpha1.BackupPending)
	}
	for _, d := range s.Disks {
		out.Disks = append(out.Disks, Disk{Name: d.Name, State: string(d.State), BytesDone: d.Done, BytesTotal: d.Total, Attempt: d.Attempt, Message: d.Message})
	}
	if s.Failed {
		out.Problem = failure(s, conditions)
	}
	return out
}

// failure is a planner's refusal, or any other end, in the planner's own
// sentence.
func failure(s status.Status, conditions []metav1.Condition) *problem.Document {
	d := &problem.Document{Type: problem.URN("failed"), Title: s.Phase, Detail: s.Cause}
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil && c.Message != "" {
		d.Title, d.Detail = c.Reason, c.Message
	}
	return d
}

func timeOf(t *metav1.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	utc := t.UTC()
	return &utc
}

// conditionOf is a condition's word on whether something holds.
func conditionOf(conditions []metav1.Condition, kind string) (holds bool, reason, message string) {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return c.Status == metav1.ConditionTrue, c.Reason, c.Message
	}
	return false, "", ""
}

// location is where an object is served.
func location(o client.Object, kind string) string {
	return Prefix + "/namespaces/" + o.GetNamespace() + "/" + kind + "/" + o.GetName()
}
