package rights

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
)

// TestRightsAreListed: what the API server lists of an account, which is what
// `kubectl auth can-i --list` shows, is what docs/rights.md has of it, less what
// every account may do, in Hayloft's namespace, in Longhorn's and in a user's.
func TestRightsAreListed(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"hayloft-agent", "hayloft-coordinator"} {
		for _, namespace := range []string{system, "longhorn-system", "shop"} {
			want := map[string]bool{}
			for _, r := range rightsOf(t, name) {
				if r.where != namespace && r.where != "everywhere" {
					continue
				}
				for _, grant := range r.grants() {
					for _, only := range strings.Split(r.only, ", ") {
						want[strings.TrimSuffix(grant+" "+only, " ")] = true
					}
				}
			}
			// The server takes a moment to hold roles that it was given.
			require.EventuallyWithT(t, func(t *assert.CollectT) {
				listed := w.listed(account(name, "n1"), namespace)
				for grant := range w.listed(account("nobody", "n1"), namespace) {
					delete(listed, grant)
				}
				assert.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(listed)), "%s in %s", name, namespace)
			}, patience, 100*time.Millisecond)
		}
	}
}

// listed are the rights that the API server lists of somebody in a namespace, each a
// verb, a kind or a path, and the name that it is for, if it is for one.
func (w *world) listed(who rest.ImpersonationConfig, namespace string) map[string]bool {
	w.t.Helper()
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	require.NoError(w.t, w.as(who).Create(w.t.Context(), review))
	require.False(w.t, review.Status.Incomplete, review.Status.EvaluationError)
	all := map[string]bool{}
	for _, r := range review.Status.ResourceRules {
		names := r.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range r.Verbs {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, name := range names {
						all[strings.TrimSuffix(verb+" "+strings.TrimSuffix(resource+"."+group, ".")+" "+name, " ")] = true
					}
				}
			}
		}
	}
	for _, r := range review.Status.NonResourceRules {
		for _, verb := range r.Verbs {
			for _, path := range r.NonResourceURLs {
				all[verb+" "+path] = true
			}
		}
	}
	return all
}
