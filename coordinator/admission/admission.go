// Package admission is the webhook for Hayloft's own kinds: it tells a user at once
// what the planner would refuse a moment later, and fills in the default target. It knows no rule by
// itself (those are in rules) and reads nothing by itself; it asks for the facts
// and turns refusals into answers.
//
// Every coordinator serves it, leading or not. It answers for no other kind, so
// that a cluster without a coordinator lacks nothing but Hayloft. Who may ask for
// what is decided elsewhere: by policies that hold without this webhook.
package admission

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

// Paths of the webhooks, as in deploy/webhook.
const (
	pathBackups   = "/validate/vmbackups"
	pathRestores  = "/validate/vmrestores"
	pathTargets   = "/validate/backuptargets"
	pathQuotas    = "/validate/snapshotquotas"
	pathSchedules = "/validate/vmschedules"
	pathDefaults  = "/default/" // and vmbackups or vmschedules
)

// Facts reads what rules look at, live where it decides on something that cannot
// be taken back.
type Facts interface {
	BackupFacts(ctx context.Context, b *v1alpha1.VMBackup) (rules.BackupFacts, error)
	RestoreFacts(ctx context.Context, s *v1alpha1.VMRestore) (rules.RestoreFacts, error)
	ScheduleFacts(ctx context.Context, s *v1alpha1.VMSchedule) (rules.ScheduleFacts, error)
	// Readers are the names of the restores that read a point.
	Readers(ctx context.Context, b *v1alpha1.VMBackup) ([]string, error)
	// TargetOf is the target of a point, nil for none; AllTargets are all.
	TargetOf(ctx context.Context, b *v1alpha1.VMBackup) (*v1alpha1.BackupTarget, error)
	AllTargets(ctx context.Context) ([]v1alpha1.BackupTarget, error)
	// TargetUsers are all points and restores.
	TargetUsers(ctx context.Context) ([]v1alpha1.VMBackup, []v1alpha1.VMRestore, error)
}

// Prober tries a target out. A failure that is a *protocol.Error says whether it
// may pass.
type Prober interface {
	Probe(ctx context.Context, t protocol.Target) (protocol.ProbeResult, error)
}

// Options are what the webhooks need.
type Options struct {
	Scheme *runtime.Scheme
	Facts  Facts
	Prober Prober
	// Live tells whether an object exists.
	Live client.Reader
	Log  *slog.Logger
	// Observer may be nil.
	Observer Observer
}

// Observer is told of each answer, for metrics: what was asked about, with which
// of "create", "update" and "delete", and the reasons why it was refused.
type Observer interface {
	Answered(kind, operation string, reasons []string, took time.Duration)
}

// Register puts the webhooks onto a server.
func Register(s webhook.Server, o Options) {
	validators := map[string]struct {
		kind      string
		object    client.Object
		validator admission.CustomValidator
	}{
		pathBackups:   {"VMBackup", &v1alpha1.VMBackup{}, &backups{o}},
		pathRestores:  {"VMRestore", &v1alpha1.VMRestore{}, &restores{o}},
		pathTargets:   {"BackupTarget", &v1alpha1.BackupTarget{}, &targets{Options: o, probes: make(chan struct{}, probesAtOnce)}},
		pathQuotas:    {"SnapshotQuota", &v1alpha1.SnapshotQuota{}, quotas{}},
		pathSchedules: {"VMSchedule", &v1alpha1.VMSchedule{}, &schedules{o}},
	}
	for path, v := range validators {
		if o.Observer != nil {
			v.validator = &observed{kind: v.kind, by: o.Observer, next: v.validator}
		}
		s.Register(path, admission.WithCustomValidator(o.Scheme, v.object, v.validator))
	}
	registerDefaults(s, o)
}

// registerDefaults puts the webhooks that fill in what was left out onto a server.
func registerDefaults(s webhook.Server, o Options) {
	for what, object := range map[string]client.Object{"vmbackups": &v1alpha1.VMBackup{}, "vmschedules": &v1alpha1.VMSchedule{}, "vmrestores": &v1alpha1.VMRestore{}} {
		s.Register(pathDefaults+what, admission.WithCustomDefaulter(o.Scheme, object, &defaults{o}))
	}
}

// refused is the answer that lists why.
type refused struct{ refusals []rules.Refusal }

func (r *refused) Error() string { return rules.Sentences(r.refusals) }

// answer is nil when nothing is refused, else all sentences.
func answer(refusals []rules.Refusal) error {
	if len(refusals) == 0 {
		return nil
	}
	return &refused{refusals}
}

// create is answer for something new. Where an object of that name exists it is
// the API server's to refuse it, in the way that clients know: a request that is
// repeated because its answer was lost must not be told of its own work.
func (o Options) create(ctx context.Context, obj client.Object, refusals []rules.Refusal) error {
	if len(refusals) > 0 && obj.GetName() != "" {
		existing := obj.DeepCopyObject().(client.Object)
		err := o.Live.Get(ctx, client.ObjectKeyFromObject(obj), existing)
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return o.unknown(obj, err)
		}
	}
	return answer(refusals)
}

// unknown refuses what could not be judged: own kinds fail closed.
func (o Options) unknown(obj client.Object, err error) error {
	o.Log.Warn("an object could not be checked and was refused", "namespace", obj.GetNamespace(), "name", obj.GetName(), "error", err)
	return apierrors.NewServiceUnavailable(fmt.Sprintf("it could not be checked (%v): try again", err))
}
