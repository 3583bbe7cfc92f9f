package admission

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"hayloft.dev/coordinator/rules"
	"hayloft.dev/coordinator/targetio/protocol"
	"hayloft.dev/pkg/api/v1alpha1"
)

const (
	// probePatience is less than the webhook's own timeout of 10 s: a target
	// that hangs is told of by its status.
	probePatience = 6 * time.Second
	// probesAtOnce bounds target workers that are started by requests.
	probesAtOnce = 2
)

// targets answers for BackupTargets.
type targets struct {
	Options
	probes chan struct{}
}

func (w *targets) ValidateCreate(ctx context.Context, obj runtime.Object) (admission.Warnings, error) {
	t := obj.(*v1alpha1.BackupTarget)
	all, err := w.Facts.AllTargets(ctx)
	if err != nil {
		return nil, w.unknown(t, err)
	}
	if refusals := append(rules.Target(t, all), rules.SecondDefault(t, all)...); len(refusals) > 0 {
		return nil, w.create(ctx, t, refusals)
	}
	warnings, refusals := w.try(ctx, t)
	warnings = append(warnings, rules.TargetWarnings(t)...)
	return warnings, w.create(ctx, t, refusals)
}

// ValidateUpdate tries a target out where something changes on which its reach
// depends. Points on it may be of any phase: those that are not finished go on
// with what is set now.
func (w *targets) ValidateUpdate(ctx context.Context, before, now runtime.Object) (admission.Warnings, error) {
	was, t := before.(*v1alpha1.BackupTarget), now.(*v1alpha1.BackupTarget)
	all, err := w.Facts.AllTargets(ctx)
	if err != nil {
		return nil, w.unknown(t, err)
	}
	refusals := rules.Target(t, all)
	if !was.Spec.Default {
		refusals = append(refusals, rules.SecondDefault(t, all)...)
	}
	if len(refusals) > 0 && t.DeletionTimestamp.IsZero() && !equality.Semantic.DeepEqual(was.Spec, t.Spec) {
		return nil, answer(refusals)
	}
	if !t.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	var bared admission.Warnings
	if len(rules.TargetWarnings(was)) == 0 {
		bared = rules.TargetWarnings(t)
	}
	if equality.Semantic.DeepEqual(reach(was.Spec), reach(t.Spec)) {
		return bared, nil
	}
	warnings, refused := w.try(ctx, t)
	return append(warnings, bared...), answer(refused)
}

// reach is the part of a spec on which it depends whether a target can be used.
func reach(s v1alpha1.BackupTargetSpec) v1alpha1.BackupTargetSpec {
	return v1alpha1.BackupTargetSpec{
		S3: s.S3, NFS: s.NFS, CIFS: s.CIFS, AzureBlob: s.AzureBlob, Directory: s.Directory,
		CredentialSecret: s.CredentialSecret, ReadOnly: s.ReadOnly,
	}
}

func (w *targets) ValidateDelete(ctx context.Context, obj runtime.Object) (admission.Warnings, error) {
	t := obj.(*v1alpha1.BackupTarget)
	points, restores, err := w.Facts.TargetUsers(ctx)
	if err != nil {
		return nil, w.unknown(t, err)
	}
	return nil, answer(rules.TargetDeletion(t, points, restores))
}

// try probes a target. What is wrong with it for good is a refusal; what may
// pass, or was not found out in time, is only a warning, so that a target can be
// set up or changed while its service is away.
func (w *targets) try(ctx context.Context, t *v1alpha1.BackupTarget) (admission.Warnings, []rules.Refusal) {
	if r, err := admission.RequestFromContext(ctx); err == nil && r.DryRun != nil && *r.DryRun {
		return nil, nil // a probe writes to the target
	}
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	select {
	case w.probes <- struct{}{}:
		defer func() { <-w.probes }()
	case <-ctx.Done():
		return nil, nil
	}
	found, err := w.Prober.Probe(ctx, protocol.OnTarget(t))
	var known *protocol.Error
	switch {
	case err == nil && found.Keeps != "":
		return admission.Warnings{fmt.Sprintf("BackupTarget %s can be used, but %s", t.Name, found.Keeps.Message())}, nil
	case err == nil:
		return nil, nil
	case errors.As(err, &known) && !known.Transient && ctx.Err() == nil:
		return nil, []rules.Refusal{rules.TargetAnswer(t.Name, string(known.Reason), known.Message)}
	}
	return admission.Warnings{fmt.Sprintf("BackupTarget %s is not ready yet: %v; its condition Ready tells when it is", t.Name, err)}, nil
}
