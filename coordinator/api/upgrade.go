package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/upgrade"
	"hayloft.dev/pkg/words"
)

// UpgradeReport is what is in the way of an upgrade.
type UpgradeReport struct {
	upgrade.Report
	Ready bool `json:"ready" doc:"Nothing is in the way"`
}

// UpgradePrepare says how to bring work to rest.
type UpgradePrepare struct {
	Reason string `json:"reason" minLength:"1" maxLength:"256" doc:"A sentence that is kept on each schedule"`
	Cancel bool   `json:"cancel,omitempty" doc:"End backups and restores that are under way"`
}

// UpgradeFinish are the schedules that were resumed.
type UpgradeFinish struct {
	Resumed []upgrade.Suspended `json:"resumed"`
}

func (s *service) addUpgrade(api huma.API) {
	steps := &upgrade.Steps{Client: s.Client}
	report := func(r upgrade.Report, err error) (*one[UpgradeReport], error) {
		if err != nil {
			return nil, problem.FromCluster(err)
		}
		return &one[UpgradeReport]{UpgradeReport{Report: r, Ready: r.Ready()}}, nil
	}
	huma.Register(api, operation("check-upgrade", http.MethodGet, "/upgrade", "What is in the way of an upgrade", "upgrade"), func(ctx context.Context, _ *struct{}) (*one[UpgradeReport], error) {
		return report(steps.Check(ctx))
	})
	huma.Register(api, operation("prepare-upgrade", http.MethodPost, "/upgrade/prepare", "Suspend all schedules and say what is still in the way", "upgrade"), func(ctx context.Context, in *struct{ Body UpgradePrepare }) (*one[UpgradeReport], error) {
		return report(steps.Prepare(ctx, upgrade.PrepareOptions{Reason: in.Body.Reason, Cancel: in.Body.Cancel}))
	})
	huma.Register(api, operation("finish-upgrade", http.MethodPost, "/upgrade/finish", "Resume the schedules that were suspended for an upgrade", "upgrade"), func(ctx context.Context, _ *struct{}) (*one[UpgradeFinish], error) {
		resumed, err := steps.Finish(ctx)
		if err != nil {
			return nil, unfinished(len(resumed), err)
		}
		return &one[UpgradeFinish]{UpgradeFinish{Resumed: append([]upgrade.Suspended{}, resumed...)}}, nil
	})
}

// maxUnfinished bounds how many schedules a problem document names.
const maxUnfinished = 100

// unfinished is what kept some schedules from being resumed, each of them with its
// cause. What could be resumed was, and the call can be repeated.
func unfinished(resumed int, err error) error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return problem.FromCluster(err)
	}
	var causes []*huma.ErrorDetail
	var status int
	for _, one := range joined.Unwrap() {
		var left *upgrade.NotResumed
		if !errors.As(one, &left) {
			return problem.FromCluster(one)
		}
		cause := problem.FromCluster(left.Err)
		d := problem.Of(cause)
		if d.Status >= http.StatusInternalServerError {
			return cause
		}
		if status != 0 && status != d.Status {
			d.Status = http.StatusConflict
		}
		status = d.Status
		name := left.Namespace + "/" + left.Name
		causes = append(causes, &huma.ErrorDetail{Message: "schedule " + name + ": " + d.Detail, Value: name})
	}
	kind := problem.Forbidden
	if status != http.StatusForbidden {
		status, kind = http.StatusConflict, problem.Refused // there is no field of the request to correct
	}
	out := problem.Of(problem.New(status, kind, fmt.Sprintf("%s %s resumed, %d %s suspended: %s",
		words.Count(resumed, "schedule"), words.Verb(resumed, "was", "were"), len(causes), words.Verb(len(causes), "stays", "stay"), causes[0].Message)))
	out.Errors = causes[:min(len(causes), maxUnfinished)]
	return out
}
