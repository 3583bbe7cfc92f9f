package identity

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NewClient is a client whose every request is made in the name of the caller in
// its context. mapper knows the kinds, so that nothing is asked in nobody's name.
func NewClient(config *rest.Config, scheme *runtime.Scheme, mapper meta.RESTMapper) (client.WithWatch, error) {
	config = rest.CopyConfig(config)
	config.Impersonate = rest.ImpersonationConfig{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return acting{next} })
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("making a client that acts for callers: %w", err)
	}
	return c, nil
}

// acting adds who a request is made for.
type acting struct{ next http.RoundTripper }

// RoundTrip sends no request without a caller: it would be made with the
// coordinator's own rights.
func (a acting) RoundTrip(r *http.Request) (*http.Response, error) {
	c, ok := From(r.Context())
	if !ok || c.Name == "" {
		return nil, errors.New("a request in nobody's name is not sent")
	}
	r = r.Clone(r.Context())
	r.Header.Del(authenticationv1.ImpersonateGroupHeader)
	r.Header.Set(authenticationv1.ImpersonateUserHeader, c.Name)
	for _, group := range groupsToName(c) {
		r.Header.Add(authenticationv1.ImpersonateGroupHeader, group)
	}
	return a.next.RoundTrip(r)
}

// groupsToName are the groups that the API server does not add by itself. It
// knows those of a service account, so that the right to act for accounts needs
// none for groups. UID and extra values are left out: no right depends on them,
// and naming them would need rights, too.
func groupsToName(c Caller) []string {
	if _, _, ok := c.Account(); ok {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.Groups), func(g string) bool { return g == "system:authenticated" })
}

// NotAllowed says whom the coordinator may not act for, as the API server put
// it; "": err is about something else.
func NotAllowed(err error) string {
	const cannot = "cannot impersonate resource"
	if err == nil || !strings.Contains(err.Error(), cannot) {
		return ""
	}
	what, _, _ := strings.Cut(err.Error(), " is forbidden: ")
	return strings.ReplaceAll(what, `"`, "")
}
