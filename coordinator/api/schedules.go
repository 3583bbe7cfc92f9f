package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Schedule is a VMSchedule.
type Schedule struct {
	Identity
	Cron                string     `json:"cron"`
	TimeZone            string     `json:"timeZone"`
	VM                  string     `json:"vm,omitempty"`
	Selector            string     `json:"selector,omitempty" doc:"Picks the VMs, when it is not one"`
	Type                string     `json:"type" enum:"Backup,Snapshot"`
	Target              string     `json:"target,omitempty"`
	Suspended           bool       `json:"suspended"`
	SuspendedBecause    string     `json:"suspendedBecause,omitempty"`
	Ready               bool       `json:"ready"`
	Reason              string     `json:"reason,omitempty"`
	Message             string     `json:"message,omitempty"`
	NextTime            *time.Time `json:"nextTime,omitempty"`
	LastNominalTime     *time.Time `json:"lastNominalTime,omitempty"`
	LastSuccessTime     *time.Time `json:"lastSuccessTime,omitempty"`
	ConsecutiveFailures int32      `json:"consecutiveFailures"`
	SkippedRuns         int64      `json:"skippedRuns"`
	MissedRuns          int64      `json:"missedRuns"`
}

func scheduleOf(o *v1alpha1.VMSchedule) Schedule {
	out := Schedule{
		Identity: identityOf(o), Cron: o.Spec.Cron, TimeZone: o.Spec.TimeZone, VM: o.Spec.VM,
		Type: string(o.Spec.Type), Target: o.Spec.Target, Suspended: o.Spec.Suspend,
		NextTime: timeOf(o.Status.NextTime), LastNominalTime: timeOf(o.Status.LastNominalTime), LastSuccessTime: timeOf(o.Status.LastSuccessTime),
		ConsecutiveFailures: o.Status.ConsecutiveFailures, SkippedRuns: o.Status.SkippedRuns, MissedRuns: o.Status.MissedRuns,
	}
	if o.Spec.Selector != nil {
		out.Selector = metav1.FormatLabelSelector(o.Spec.Selector)
	}
	out.Ready, out.Reason, out.Message = conditionOf(o.Status.Conditions, v1alpha1.ConditionReady)
	if out.Suspended {
		_, _, out.SuspendedBecause = conditionOf(o.Status.Conditions, v1alpha1.ConditionSuspended)
	}
	return out
}

// suspend also takes the marks of whoever had suspended the schedule before: now a
// user did, and the end of an upgrade leaves it alone.
const suspend = `{"metadata":{"annotations":{"` + v1alpha1.AnnotationSuspendedBy + `":null,"` + v1alpha1.AnnotationSuspendReason + `":null}},"spec":{"suspend":true}}`

func (s *service) addSchedules(api huma.API) {
	list := func(ctx context.Context, namespace string, in Page) (*listed[Schedule], error) {
		var l v1alpha1.VMScheduleList
		if err := s.Client.List(ctx, &l, in.options(namespace, nil)...); err != nil {
			return nil, problem.FromCluster(err)
		}
		return of(l.Items, l.Continue, scheduleOf), nil
	}
	const one, all = "/namespaces/{namespace}/schedules/{name}", "/namespaces/{namespace}/schedules"
	huma.Register(api, operation("list-all-schedules", http.MethodGet, "/schedules", "List the schedules of all namespaces", "schedules"), func(ctx context.Context, in *Page) (*listed[Schedule], error) {
		return list(ctx, "", *in)
	})
	huma.Register(api, operation("list-schedules", http.MethodGet, all, "List the schedules of a namespace", "schedules"), func(ctx context.Context, in *struct {
		Namespaced
		Page
	},
	) (*listed[Schedule], error) {
		return list(ctx, in.Namespace, in.Page)
	})
	schedule := func() *v1alpha1.VMSchedule { return &v1alpha1.VMSchedule{} }
	get(s, api, operation("get-schedule", http.MethodGet, one, "Look at a schedule", "schedules"), schedule, scheduleOf)
	change(s, api, operation("suspend-schedule", http.MethodPost, one+"/suspend", "Keep a schedule's runs from beginning", "schedules"), schedule, scheduleOf, suspend)
	change(s, api, operation("resume-schedule", http.MethodPost, one+"/resume", "Let a schedule's runs begin again", "schedules"), schedule, scheduleOf, `{"spec":{"suspend":false}}`)
}
