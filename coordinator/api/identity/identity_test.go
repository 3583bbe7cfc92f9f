package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// cluster answers reviews and counts them.
type cluster struct {
	asked     int
	audiences []string
	down      bool
}

func (c *cluster) Create(_ context.Context, r *authenticationv1.TokenReview, _ metav1.CreateOptions) (*authenticationv1.TokenReview, error) {
	c.asked++
	if c.down {
		return nil, errors.New("away")
	}
	out := r.DeepCopy()
	out.Status.Audiences = c.audiences
	if r.Spec.Token == "good" {
		out.Status.Authenticated = true
		out.Status.User = authenticationv1.UserInfo{Username: "alice", Groups: []string{"g", "system:authenticated"}}
	}
	return out, nil
}

func TestTokensAreRememberedForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{}
		tokens := NewTokens(c, "")
		for range 3 {
			who, err := tokens.Review(t.Context(), "good")
			require.NoError(t, err)
			require.Equal(t, "alice", who.Name)
			_, err = tokens.Review(t.Context(), "bad")
			require.ErrorIs(t, err, ErrRejected)
		}
		require.Equal(t, 2, c.asked)
		require.True(t, tokens.Known("good"))
		require.False(t, tokens.Known("other"))

		time.Sleep(goodCounts + time.Second)
		c.down = true
		_, err := tokens.Review(t.Context(), "good")
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrRejected, "that nobody knows is no refusal")
		c.down = false
		_, err = tokens.Review(t.Context(), "good")
		require.NoError(t, err, "a failure is not remembered")
	})
}

func TestAudience(t *testing.T) {
	for name, c := range map[string]struct {
		wants string
		gets  []string
		ok    bool
	}{
		"none asked for":               {"", nil, true},
		"the one asked for":            {"hayloft", []string{"hayloft"}, true},
		"another":                      {"hayloft", []string{"vault"}, false},
		"an issuer that knows no such": {"hayloft", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewTokens(&cluster{audiences: c.gets}, c.wants).Review(t.Context(), "good")
			require.Equal(t, c.ok, err == nil, "%v", err)
		})
	}
}

func TestAuthenticate(t *testing.T) {
	a := &Authenticator{Tokens: NewTokens(&cluster{}, "")}
	with := func(header string, subject *pkix.Name) *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		r.TLS = &tls.ConnectionState{}
		if subject != nil {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{{Subject: *subject}}}
		}
		return r
	}
	bob := &pkix.Name{CommonName: "bob", Organization: []string{"ops"}}
	for name, c := range map[string]struct {
		header  string
		subject *pkix.Name
		want    string
		err     error
	}{
		"nothing":                    {"", nil, "", ErrNoCredentials},
		"token":                      {"Bearer good", nil, "alice", nil},
		"token, otherwise spelled":   {"bearer  good", nil, "alice", nil},
		"bad token":                  {"Bearer bad", nil, "", ErrRejected},
		"no token":                   {"Bearer ", nil, "", ErrNoCredentials},
		"password":                   {"Basic Z29vZA==", nil, "", ErrNoCredentials},
		"certificate":                {"", bob, "bob", nil},
		"token before certificate":   {"Bearer good", bob, "alice", nil},
		"a bad token is not covered": {"Bearer bad", bob, "", ErrRejected},
		"certificate without a name": {"", &pkix.Name{}, "", ErrRejected},
		"certificate of an account":  {"", &pkix.Name{CommonName: "system:serviceaccount:a:b"}, "", ErrRejected},
	} {
		t.Run(name, func(t *testing.T) {
			who, err := a.Authenticate(with(c.header, c.subject))
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.want, who.Name)
		})
	}
}

// sent keeps the last request.
type sent struct{ r *http.Request }

func (s *sent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.r = r
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

func TestActing(t *testing.T) {
	for name, c := range map[string]struct {
		caller Caller
		groups []string
	}{
		"account": {Caller{Name: "system:serviceaccount:ci:backup", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"}}, nil},
		"user":    {Caller{Name: "alice", Groups: []string{"ops", "system:authenticated"}}, []string{"ops"}},
		"a user whose name only looks like an account's": {Caller{Name: "system:serviceaccount:x", Groups: []string{"ops"}}, []string{"ops"}},
	} {
		t.Run(name, func(t *testing.T) {
			next := &sent{}
			r, err := http.NewRequestWithContext(With(t.Context(), c.caller), http.MethodGet, "https://x/", nil)
			require.NoError(t, err)
			response, err := acting{next}.RoundTrip(r)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, c.caller.Name, next.r.Header.Get("Impersonate-User"))
			require.Equal(t, c.groups, next.r.Header["Impersonate-Group"])
		})
	}
	for _, ctx := range []context.Context{t.Context(), With(t.Context(), Caller{})} {
		next := &sent{}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://x/", nil)
		require.NoError(t, err)
		_, err = acting{next}.RoundTrip(r) //nolint:bodyclose // there is none
		require.ErrorContains(t, err, "in nobody's name")
		require.Nil(t, next.r, "it was sent with the coordinator's own rights")
	}
}
