// Package certs keeps the certificates that the admission webhook and the HTTP API
// are served with: it makes them, renews them before they expire, and tells whom
// to trust, the API server in the webhook's configuration, callers of the HTTP API
// in a ConfigMap. Nothing else is needed for that, no cert-manager and no human.
//
// Everything is in one Secret, written by compare-and-swap, so any number of
// coordinators may do this at once and need no leader for it. A certificate is
// served by no process before it is in the Secret. A new authority is trusted
// beside the old one for some time before it signs what is served, and the old
// one for some time after, so that no request meets a certificate which its API
// server does not trust: neither from a coordinator that has not seen the change,
// nor to an API server that has not.
//
// open-policy-agent/cert-controller was looked at and left: it exchanges the
// authority in one step and reads what it serves from a mounted Secret, so that
// for up to a minute one of two replicas would serve what nobody trusts.
package certs

import (
	"slices"
	"time"
)

// Lifetimes bound keys and steps.
type Lifetimes struct {
	// Authority and Serving are how long certificates are good for. A third
	// before their end they are renewed.
	Authority, Serving time.Duration
	// Settle is how long every coordinator and API server may take to see a
	// change of the Secret or of the webhook's configuration.
	Settle time.Duration
}

// DefaultLifetimes are for production: a coordinator that cannot write for a
// month loses nothing.
func DefaultLifetimes() Lifetimes {
	return Lifetimes{Authority: 2 * 365 * 24 * time.Hour, Serving: 90 * 24 * time.Hour, Settle: 5 * time.Minute}
}

// APILifetimes are for the HTTP API: its callers have copies of the authorities,
// and a month to fetch a new one.
func APILifetimes() Lifetimes {
	l := DefaultLifetimes()
	l.Settle = 30 * 24 * time.Hour
	return l
}

// backdate lets a certificate be good on a machine whose clock is behind.
const backdate = 5 * time.Minute

// action is one step of looking after the certificates.
type action int

const (
	nothing action = iota
	// newAuthority puts one in front of the others, which stay trusted.
	newAuthority
	// newServing signs a serving certificate with the first authority.
	newServing
	// dropAuthorities leaves only those that are still needed.
	dropAuthorities
)

// view is what a decision looks at.
type view struct {
	now   time.Time
	names []string // that must be in the serving certificate
	held  keyring
	// published: the API server was told to trust the first authority.
	published bool
	lifetimes Lifetimes
}

// decide returns the next step, and with nothing the time of the one after. It
// is asked again after each step.
func decide(v view) (a action, next time.Time) {
	k := v.held
	if len(k.authorities) == 0 || k.key == nil || !v.now.Before(k.authorities[0].end) {
		return newAuthority, next
	}
	first := k.authorities[0]
	if k.serving == nil || !v.now.Before(k.serving.end) || !slices.Equal(k.serving.names, v.names) || k.signer() < 0 {
		return newServing, next // what is served is of no use: there is nothing to lose by waiting for nobody
	}
	if !v.now.Before(first.renewal()) {
		return newAuthority, next
	}
	next = first.renewal()
	settled := first.begin.Add(v.lifetimes.Settle)
	if k.signer() > 0 || !v.now.Before(k.serving.renewal()) {
		switch {
		case v.published && !v.now.Before(settled):
			return newServing, next
		case v.now.Before(settled):
			return nothing, settled
		default:
			return nothing, v.now.Add(v.lifetimes.Settle / 4)
		}
	}
	next = earlier(next, k.serving.renewal())
	if len(k.authorities) > 1 {
		unused := k.serving.begin.Add(v.lifetimes.Settle)
		if !v.now.Before(unused) {
			return dropAuthorities, next
		}
		next = earlier(next, unused)
	}
	return nothing, next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// validity is the time in which a certificate is used.
type validity struct{ begin, end time.Time }

// renewal leaves a third of the life for coordinators that cannot write.
func (v validity) renewal() time.Time { return v.begin.Add(v.end.Sub(v.begin) * 2 / 3) }
