package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/ask"
	"hayloft.dev/pkg/target"
)

const (
	// testPatience bounds one test: what hangs for longer is not ready.
	testPatience = 20 * time.Second
	// testsAtOnce bounds target workers that are started by requests.
	testsAtOnce = 2
)

// Prober tries a target out. A failure that is a *protocol.Error says whether it
// may pass.
type Prober interface {
	Probe(ctx context.Context, t protocol.Target) (protocol.ProbeResult, error)
}

// Target is a BackupTarget, without anything of its credentials.
type Target struct {
	Identity
	Kind     string     `json:"kind" enum:"S3,NFS,CIFS,AzureBlob,Directory"`
	URL      string     `json:"url,omitempty" doc:"As Longhorn writes it"`
	Endpoint string     `json:"endpoint,omitempty"`
	Default  bool       `json:"default,omitempty" doc:"Takes points that name no target"`
	ReadOnly bool       `json:"readOnly,omitempty" doc:"Nothing is written there"`
	Ready    bool       `json:"ready"`
	Reason   string     `json:"reason,omitempty"`
	Message  string     `json:"message,omitempty"`
	ProbedAt *time.Time `json:"probedAt,omitempty"`
	// RefreshedAt and RefreshMessage are of the last refresh.
	RefreshedAt    *time.Time `json:"refreshedAt,omitempty" doc:"When it was last looked through for points"`
	RefreshMessage string     `json:"refreshMessage,omitempty" doc:"Why the last look failed"`
}

func targetOf(t *v1alpha1.BackupTarget) Target {
	out := Target{
		Identity: identityOf(t), Kind: target.Kind(t.Spec), URL: t.Status.URL, ProbedAt: timeOf(t.Status.LastProbeTime),
		Default: t.Spec.Default, ReadOnly: t.Spec.ReadOnly,
	}
	switch {
	case t.Spec.S3 != nil:
		out.Endpoint = t.Spec.S3.Endpoint
	case t.Spec.AzureBlob != nil:
		out.Endpoint = t.Spec.AzureBlob.Endpoint
	}
	if r := t.Status.Refresh; r != nil {
		out.RefreshedAt, out.RefreshMessage = timeOf(r.LastTime), r.Message
	}
	out.Ready, out.Reason, out.Message = conditionOf(t.Status.Conditions, v1alpha1.ConditionReady)
	return out
}

// Test is what trying a target out showed.
type Test struct {
	Ready   bool    `json:"ready" doc:"An object was written, read back and deleted; of a target that is only read: it was listed and read"`
	Reason  string  `json:"reason,omitempty"`
	Message string  `json:"message,omitempty"`
	Passing bool    `json:"passing,omitempty" doc:"The failure may pass by itself"`
	Warning string  `json:"warning,omitempty" doc:"What is wrong with a target that can be used"`
	Seconds float64 `json:"seconds" doc:"How long it took"`
}

func (s *service) addTargets(api huma.API) {
	huma.Register(api, operation("list-targets", http.MethodGet, "/targets", "List the targets", "targets"), func(ctx context.Context, in *Page) (*listed[Target], error) {
		var l v1alpha1.BackupTargetList
		if err := s.Client.List(ctx, &l, in.options("", nil)...); err != nil {
			return nil, problem.FromCluster(err)
		}
		return of(l.Items, l.Continue, targetOf), nil
	})
	huma.Register(api, operation("get-target", http.MethodGet, "/targets/{name}", "Look at a target", "targets"), func(ctx context.Context, in *Object) (*one[Target], error) {
		var t v1alpha1.BackupTarget
		if err := s.Client.Get(ctx, client.ObjectKey{Name: in.Name}, &t); err != nil {
			return nil, problem.FromCluster(err)
		}
		return &one[Target]{targetOf(&t)}, nil
	})
	accepted(api, operation("refresh-target", http.MethodPost, "/targets/{name}/refresh", "Have a target looked through for points now; needs the right to change it", "targets"), func(ctx context.Context, in *Object) (*one[Target], error) {
		return s.askTarget(ctx, in.Name, ask.Refresh(ask.Word(time.Now())))
	})
	huma.Register(api, operation("test-target", http.MethodPost, "/targets/{name}/test", "Try a target out now; needs the right to change it", "targets"), func(ctx context.Context, in *Object) (*one[Test], error) {
		t, err := s.testTarget(ctx, in.Name)
		if err != nil {
			return nil, err
		}
		return &one[Test]{*t}, nil
	})
}

// accepted adds an operation whose work goes on after its answer.
func accepted[I, O any](api huma.API, op huma.Operation, do func(context.Context, *I) (*O, error)) {
	op.DefaultStatus = http.StatusAccepted
	huma.Register(api, op, do)
}

// askTarget asks the coordinator that leads for work on a target, as anybody can who
// may change it.
func (s *service) askTarget(ctx context.Context, name string, r ask.Request) (*one[Target], error) {
	t, err := ask.Target(ctx, s.Client, name, r)
	if err != nil {
		return nil, problem.FromCluster(err)
	}
	return &one[Target]{targetOf(t)}, nil
}

// testTarget tries a target out in this process. Who may change a target could
// have that done by changing it, so that is the right which is asked for, by a
// change that changes nothing.
func (s *service) testTarget(ctx context.Context, name string) (*Test, error) {
	t := &v1alpha1.BackupTarget{}
	t.Name = name
	if err := s.Client.Patch(ctx, t, client.RawPatch("application/merge-patch+json", []byte(`{}`)), client.DryRunAll); err != nil {
		return nil, problem.FromCluster(err)
	}
	if !s.tests.take() {
		s.Recorder.Limited(LimitTests)
		return nil, problem.Later(http.StatusServiceUnavailable, problem.Unavailable, fmt.Sprintf("%d targets are being tested already: try again", testsAtOnce), 5*time.Second)
	}
	defer s.tests.give()
	ctx, cancel := context.WithTimeout(ctx, testPatience)
	defer cancel()
	began := time.Now()
	found, err := s.Prober.Probe(ctx, protocol.OnTarget(t))
	out := &Test{Ready: err == nil, Warning: found.Keeps.Message(), Seconds: time.Since(began).Seconds()}
	var known *protocol.Error
	switch {
	case err == nil:
	case errors.As(err, &known):
		out.Reason, out.Message, out.Passing = string(known.Reason), known.Message, known.Transient
	default:
		return nil, problem.Later(http.StatusServiceUnavailable, problem.Unavailable, fmt.Sprintf("target %s could not be tested: its worker gave no answer", name), 5*time.Second)
	}
	return out, nil
}
