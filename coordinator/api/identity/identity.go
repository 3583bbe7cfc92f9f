// Package identity says who calls the HTTP API, and makes requests to the API
// server in that name.
//
// Who it is, the cluster says: a bearer token is shown to it in a TokenReview, a
// client certificate is one of an authority that the administrator named. What a
// caller may do is decided by nobody here: each request to the API server is sent
// in the caller's name (impersonation), so roles, policies, webhooks and the audit
// log see the caller, not the coordinator. There is no way from here to the
// coordinator's own rights: a request without a caller is not sent.
package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Caller is somebody whom the cluster knows.
type Caller struct {
	Name string
	// Groups as the cluster or the certificate gave them.
	Groups []string
}

// Errors of Authenticate that say that a caller is not known; any other means
// that it could not be found out.
var (
	ErrNoCredentials = errors.New("there is no bearer token and no client certificate")
	ErrRejected      = errors.New("the cluster does not accept this token: it is expired, of another audience, or none of its own")
)

// accountPrefix begins the names of service accounts.
const accountPrefix = "system:serviceaccount:"

// Account takes the namespace and name out of a service account's name.
func (c Caller) Account() (namespace, name string, ok bool) {
	rest, is := strings.CutPrefix(c.Name, accountPrefix)
	if !is {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, ":")
}

type key struct{}

// With is ctx of a request of the caller.
func With(ctx context.Context, c Caller) context.Context { return context.WithValue(ctx, key{}, c) }

// From is the caller of a request.
func From(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(key{}).(Caller)
	return c, ok
}

// Authenticator tells callers by their requests.
type Authenticator struct {
	Tokens *Tokens
}

// Authenticate says who sent a request. A bearer token counts before a
// certificate, which was verified with the connection.
func (a *Authenticator) Authenticate(r *http.Request) (Caller, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
			return Caller{}, ErrNoCredentials
		}
		return a.Tokens.Review(r.Context(), token)
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return ofCertificate(r.TLS.VerifiedChains[0][0])
	}
	return Caller{}, ErrNoCredentials
}

// ofCertificate reads a certificate as the API server does: the common name is
// the user, the organizations are the groups.
func ofCertificate(c *x509.Certificate) (Caller, error) {
	name := c.Subject.CommonName
	if name == "" || strings.HasPrefix(name, accountPrefix) {
		// Its groups would be the account's, not those of the certificate.
		return Caller{}, fmt.Errorf("%w: the client certificate's common name %q is no user's", ErrRejected, name)
	}
	return Caller{Name: name, Groups: c.Subject.Organization}, nil
}

// Known tells whether telling a request's caller costs no question to the
// cluster.
func (a *Authenticator) Known(r *http.Request) bool {
	header := r.Header.Get("Authorization")
	if header == "" {
		return true
	}
	_, token, _ := strings.Cut(header, " ")
	return a.Tokens.Known(strings.TrimSpace(token))
}
