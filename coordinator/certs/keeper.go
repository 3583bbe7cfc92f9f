package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Options are what a Keeper needs.
type Options struct {
	// Client reads and writes live: what is read decides on what is trusted.
	Client client.Client
	// Secret holds the certificates; it is made when it does not exist.
	Secret types.NamespacedName
	// Trust is where callers find whom to trust.
	Trust Trust
	// Names that callers know the service by: DNS names and addresses.
	Names     []string
	Lifetimes Lifetimes
	// Changed receives when the Secret or the object of Trust may have changed.
	Changed <-chan struct{}
	Log     *slog.Logger
}

// Keeper looks after the certificates in one process, and serves the one that
// was last seen in the Secret.
type Keeper struct {
	o      Options
	served atomic.Pointer[tls.Certificate]
	told   atomic.Bool // callers can know whom to trust
}

// NewKeeper returns a Keeper that does nothing until it is started.
func NewKeeper(o Options) *Keeper {
	names := map[string]bool{}
	for _, name := range o.Names {
		if ip := net.ParseIP(name); ip != nil {
			name = ip.String() // as a certificate has it
		}
		names[name] = true
	}
	o.Names = slices.Sorted(maps.Keys(names))
	return &Keeper{o: o}
}

// NeedLeaderElection is false: every coordinator serves.
func (k *Keeper) NeedLeaderElection() bool { return false }

// GetCertificate is for a tls.Config.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := k.served.Load(); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("the certificate in Secret %s was not made yet", k.o.Secret.Name)
}

// Ready returns why this process cannot be called yet.
func (k *Keeper) Ready() error {
	switch {
	case k.served.Load() == nil:
		return fmt.Errorf("the certificate in Secret %s was not made yet", k.o.Secret.Name)
	case !k.told.Load():
		return fmt.Errorf("nobody was told yet to trust the certificate in Secret %s", k.o.Secret.Name)
	}
	return nil
}

// Pauses after a failure, and the longest time between two looks: a timer may
// be late by as much as a machine was asleep.
const (
	firstPause = 500 * time.Millisecond
	mostPause  = 30 * time.Second
	longest    = time.Hour
)

// Start looks after the certificates until ctx ends.
func (k *Keeper) Start(ctx context.Context) error {
	pause := firstPause
	for {
		next, err := k.once(ctx)
		wait := min(max(time.Until(next), firstPause), longest)
		if err == nil {
			pause = firstPause
		} else if ctx.Err() == nil {
			k.o.Log.Warn("a certificate could not be looked after; trying again", "secret", k.o.Secret.Name, "error", err)
			wait, pause = pause, min(2*pause, mostPause)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-k.o.Changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// conflicts bounds how often a write is tried again because another coordinator
// was faster.
const conflicts = 5

// once does what is due and returns when something is due again.
func (k *Keeper) once(ctx context.Context) (next time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for range conflicts {
		next, err = k.try(ctx)
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			break
		}
	}
	return next, err
}

func (k *Keeper) try(ctx context.Context) (next time.Time, err error) {
	secret := &corev1.Secret{}
	if err := k.o.Client.Get(ctx, k.o.Secret, secret); client.IgnoreNotFound(err) != nil {
		return next, fmt.Errorf("reading Secret %s: %w", k.o.Secret.Name, err)
	}
	told, err := k.o.Trust.read(ctx, k.o.Client)
	if err != nil {
		return next, err
	}
	v := view{names: k.o.Names, held: parse(secret.Data), lifetimes: k.o.Lifetimes}
	v.published = told.trusts(v.held.bundle())
	changed := false
	for {
		v.now = time.Now()
		var a action
		if a, next = decide(v); a == nothing {
			break
		}
		if v.held, err = v.held.do(a, v.now, v.names, v.lifetimes); err != nil {
			return next, err
		}
		v.published = v.published && a != newAuthority
		changed = true
	}
	if changed {
		if err := k.write(ctx, secret, v.held); err != nil {
			return next, err
		}
	}
	if err := told.tell(ctx, k.o.Client, v.held.bundle()); err != nil {
		return next, err
	}
	k.served.Store(&v.held.serving.pair)
	k.told.Store(true)
	return next, nil
}

// write stores what was made, unless somebody else has stored something since it
// was read.
func (k *Keeper) write(ctx context.Context, secret *corev1.Secret, held keyring) error {
	data, err := held.encode()
	if err != nil {
		return err
	}
	isNew := secret.ResourceVersion == ""
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	maps.Copy(secret.Data, data)
	secret.Namespace, secret.Name = k.o.Secret.Namespace, k.o.Secret.Name
	if isNew {
		err = k.o.Client.Create(ctx, secret)
	} else {
		err = k.o.Client.Update(ctx, secret)
	}
	if err != nil {
		return fmt.Errorf("writing Secret %s: %w", k.o.Secret.Name, err)
	}
	k.o.Log.Info("a certificate was renewed", "secret", k.o.Secret.Name, "until", held.serving.end, "authorities", len(held.authorities))
	return nil
}
