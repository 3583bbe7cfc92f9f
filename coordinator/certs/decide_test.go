package certs

import (
	"crypto/x509"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var begin = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

var short = Lifetimes{Authority: 1000 * time.Minute, Serving: 200 * time.Minute, Settle: 5 * time.Minute}

// made does steps until none is due.
func made(t *testing.T, v view) (keyring, time.Time) {
	t.Helper()
	for range 10 {
		a, next := decide(v)
		if a == nothing {
			return v.held, next
		}
		var err error
		v.held, err = v.held.do(a, v.now, v.names, v.lifetimes)
		require.NoError(t, err)
		v.published = v.published && a != newAuthority
	}
	require.Fail(t, "it is never done")
	return keyring{}, time.Time{}
}

func TestDecide(t *testing.T) {
	names := []string{"127.0.0.1", "hayloft-webhook.hayloft-system.svc"}
	fresh, _ := made(t, view{now: begin, names: names, lifetimes: short})
	renewed, err := fresh.do(newAuthority, begin.Add(667*time.Minute), names, short)
	require.NoError(t, err)
	resigned, err := renewed.do(newServing, begin.Add(672*time.Minute), names, short)
	require.NoError(t, err)
	without := func(change func(*keyring)) keyring { k := fresh; change(&k); return k }
	for name, c := range map[string]struct {
		held      keyring
		after     time.Duration // since begin
		published bool
		names     []string
		want      action
		next      time.Duration // since begin
	}{
		"nothing there":                     {want: newAuthority},
		"all is well":                       {held: fresh, published: true, want: nothing, next: 200 * time.Minute * 2 / 3},
		"not published yet, all is well":    {held: fresh, want: nothing, next: 200 * time.Minute * 2 / 3},
		"authority's key lost":              {held: without(func(k *keyring) { k.key = nil }), published: true, want: newAuthority},
		"nothing to serve":                  {held: without(func(k *keyring) { k.serving = nil }), want: newServing},
		"other names are wanted":            {held: fresh, published: true, names: []string{"other.svc"}, want: newServing},
		"serving, a third before its end":   {held: fresh, after: 134 * time.Minute, published: true, want: newServing},
		"serving expired":                   {held: fresh, after: 201 * time.Minute, want: newServing},
		"authority, a third before its end": {held: resignedAt(t, fresh, 600*time.Minute), after: 667 * time.Minute, published: true, want: newAuthority},
		"authority expired":                 {held: fresh, after: 1001 * time.Minute, want: newAuthority},
		"new authority is not seen yet":     {held: resignedOld(t, fresh, renewed), after: 669 * time.Minute, published: true, want: nothing, next: 672 * time.Minute},
		"new authority was not told of":     {held: resignedOld(t, fresh, renewed), after: 673 * time.Minute, want: nothing, next: 673*time.Minute + short.Settle/4},
		"new authority is seen":             {held: resignedOld(t, fresh, renewed), after: 673 * time.Minute, published: true, want: newServing},
		"old one may still be served":       {held: resigned, after: 674 * time.Minute, published: true, want: nothing, next: 677 * time.Minute},
		"old one is served by nobody":       {held: resigned, after: 677 * time.Minute, published: true, want: dropAuthorities},
	} {
		t.Run(name, func(t *testing.T) {
			v := view{now: begin.Add(c.after), names: names, held: c.held, published: c.published, lifetimes: short}
			if c.names != nil {
				v.names = c.names
			}
			a, next := decide(v)
			require.Equal(t, c.want, a)
			if c.want == nothing {
				require.WithinDuration(t, begin.Add(c.next), next, time.Second)
			}
		})
	}
}

// resignedAt has a keyring's serving certificate renewed at a later time.
func resignedAt(t *testing.T, k keyring, after time.Duration) keyring {
	t.Helper()
	k, err := k.do(newServing, begin.Add(after), k.serving.names, short)
	require.NoError(t, err)
	return k
}

// resignedOld serves, beside a new authority, what the old one has just signed.
func resignedOld(t *testing.T, old, renewed keyring) keyring {
	t.Helper()
	renewed.serving = resignedAt(t, old, 660*time.Minute).serving
	return renewed
}

func TestSecretIsReadBack(t *testing.T) {
	k, _ := made(t, view{now: begin, names: []string{"127.0.0.1", "a.svc"}, lifetimes: short})
	k, err := k.do(newAuthority, begin.Add(time.Hour), nil, short)
	require.NoError(t, err)
	data, err := k.encode()
	require.NoError(t, err)
	back := parse(data)
	again, err := back.encode()
	require.NoError(t, err)
	require.Equal(t, data, again)
	require.Equal(t, 1, back.signer())
	require.Equal(t, []string{"127.0.0.1", "a.svc"}, back.serving.names)

	for name, change := range map[string]func(map[string][]byte){
		"key of another authority": func(d map[string][]byte) {
			other, _ := made(t, view{now: begin, lifetimes: short})
			key, err := encodeKey(other.key)
			require.NoError(t, err)
			d[keyAuthorityKey] = key
		},
		"damaged key":       func(d map[string][]byte) { d[keyAuthorityKey] = []byte("x") },
		"damaged authority": func(d map[string][]byte) { d[keyAuthorities] = []byte("x") },
	} {
		t.Run(name, func(t *testing.T) {
			broken := map[string][]byte{}
			for key, value := range data {
				broken[key] = value
			}
			change(broken)
			a, _ := decide(view{now: begin, names: back.serving.names, held: parse(broken), lifetimes: short})
			require.Equal(t, newAuthority, a)
		})
	}
}

// TestNobodyMeetsWhatHeDoesNotTrust lives through three lives of an authority
// with two coordinators and two API servers, each of which sees every change up
// to two minutes late: at no moment is a certificate served to somebody who does
// not trust it.
func TestNobodyMeetsWhatHeDoesNotTrust(t *testing.T) {
	type seen struct {
		at   time.Time
		held keyring
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	names := []string{"a.svc"}
	now := begin
	held, _ := made(t, view{now: now, names: names, lifetimes: short})
	published := held
	servers := [2]keyring{held, held} // what each coordinator serves
	clients := [2]keyring{held, held} // what each API server trusts
	var secret, config []seen         // changes on their way to each of them
	authorities := map[string]bool{}
	for range 3000 {
		now = now.Add(time.Minute)
		for i := range servers {
			for _, s := range secret {
				if s.at.Before(now.Add(-time.Duration(r.IntN(3)) * time.Minute)) {
					servers[i] = s.held
				}
			}
			for _, s := range config {
				if s.at.Before(now.Add(-time.Duration(r.IntN(3)) * time.Minute)) {
					clients[i] = s.held
				}
			}
		}
		after, _ := made(t, view{now: now, names: names, held: held, published: string(published.bundle()) == string(held.bundle()), lifetimes: short})
		if string(after.bundle()) != string(held.bundle()) || after.serving != held.serving {
			held, published = after, after
			secret, config = append(secret, seen{now, after}), append(config, seen{now, after})
		}
		authorities[held.authorities[0].cert.Subject.CommonName] = true
		for _, server := range servers {
			for _, client := range clients {
				pool := x509.NewCertPool()
				pool.AppendCertsFromPEM(client.bundle())
				_, err := server.serving.pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "a.svc", CurrentTime: now})
				require.NoError(t, err, "at %s", now.Sub(begin))
			}
		}
		require.LessOrEqual(t, len(held.authorities), 2)
	}
	require.GreaterOrEqual(t, len(authorities), 4, "authorities that were used")
}
