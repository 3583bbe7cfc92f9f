package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/pkg/target"
)

// targetAge is how long a target and its Secret are taken as read: the disks
// of one VM are backed up within seconds of each other.
const targetAge = 30 * time.Second

// ResolvedTarget is what an engine must be told of a target.
type ResolvedTarget struct {
	URL         string
	Credential  map[string]string
	Compression string
	Threads     int32
}

// Targets reads BackupTargets and their Secrets.
type Targets struct {
	Client    client.Reader // uncached
	Namespace string        // where target Secrets are

	mu   sync.Mutex
	read map[string]readTarget // target name -> last reading
}

type readTarget struct {
	at     time.Time
	target ResolvedTarget
}

// Resolve reads a target by name, for a job that was made at a moment: what was read
// before that may be another target's of this name, or a key that was changed since. A
// target or Secret that is missing or incomplete fails the job with a sentence.
func (t *Targets) Resolve(ctx context.Context, name string, made time.Time) (ResolvedTarget, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, ok := t.read[name]; ok && time.Since(r.at) < targetAge && r.at.After(made) {
		return r.target, nil
	}
	r, err := t.resolve(ctx, name)
	if err != nil {
		return ResolvedTarget{}, err
	}
	if t.read == nil {
		t.read = map[string]readTarget{}
	}
	t.read[name] = readTarget{at: time.Now(), target: r}
	return r, nil
}

// Forget makes the next Resolve read anew, after the target was refused.
func (t *Targets) Forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.read, name)
}

func (t *Targets) resolve(ctx context.Context, name string) (ResolvedTarget, error) {
	var bt v1alpha1.BackupTarget
	if err := t.Client.Get(ctx, client.ObjectKey{Name: name}, &bt); apierrors.IsNotFound(err) {
		return ResolvedTarget{}, failed(v1alpha1.ReasonInvalidJob, false, "there is no BackupTarget %q", name)
	} else if err != nil {
		return ResolvedTarget{}, fmt.Errorf("reading BackupTarget %s: %w", name, err)
	}
	url, err := target.URL(bt.Spec)
	if err != nil {
		return ResolvedTarget{}, failed(v1alpha1.ReasonInvalidJob, false, "BackupTarget %s: %w", name, err)
	}
	var secret corev1.Secret
	if bt.Spec.CredentialSecret != "" {
		key := client.ObjectKey{Namespace: t.Namespace, Name: bt.Spec.CredentialSecret}
		if err := t.Client.Get(ctx, key, &secret); apierrors.IsNotFound(err) {
			return ResolvedTarget{}, failed(v1alpha1.ReasonTargetError, true, "BackupTarget %s: there is no Secret %q in namespace %s", name, key.Name, key.Namespace)
		} else if err != nil {
			return ResolvedTarget{}, fmt.Errorf("reading the Secret of BackupTarget %s: %w", name, err)
		}
	}
	credential, err := target.Credential(bt.Spec, secret.Data)
	if err != nil {
		return ResolvedTarget{}, failed(v1alpha1.ReasonTargetError, true, "BackupTarget %s: %w", name, err)
	}
	if credential, err = target.ForEngine(credential); err != nil {
		return ResolvedTarget{}, fmt.Errorf("BackupTarget %s: %w", name, err)
	}
	return ResolvedTarget{URL: url, Credential: credential, Compression: bt.Spec.Compression, Threads: bt.Spec.Threads}, nil
}
