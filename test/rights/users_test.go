package rights

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hayloft.dev/test/harness"
)

// may asks the API server whether somebody has a right. The resource is
// "name/subresource.group", one of Hayloft's without a dot, and of the core group with
// one at the end.
func (w *world) may(who, namespace, verb, resource, name string) bool {
	w.t.Helper()
	group := "hayloft.dev"
	resource, other, is := strings.Cut(resource, ".")
	if is {
		group = other
	}
	resource, subresource, _ := strings.Cut(resource, "/")
	r := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: who,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: verb, Group: group, Resource: resource, Subresource: subresource, Name: name,
		},
	}}
	require.NoError(w.t, w.admin.Create(w.t.Context(), r))
	return r.Status.Allowed
}

// TestUsersRoles: Kubernetes' own view, edit and admin take up Hayloft's kinds, by
// the real controller that does so, and each of the other roles lets its holder do
// just what it says. v, e and a have those three in namespace shop, o has
// hayloft-backup-operator there, and A has hayloft-admin for the cluster.
func TestUsersRoles(t *testing.T) {
	w := newWorld(t)
	harness.StartControllers(t, "clusterrole-aggregation-controller")
	who := map[string]string{"v": "view", "e": "edit", "a": "admin", "o": "hayloft-backup-operator", "A": "hayloft-admin"}
	for letter, role := range who {
		if letter != "A" {
			w.bind("shop", "has-"+role, "ClusterRole", role)
			continue
		}
		w.make(&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{GenerateName: role + "-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "has-" + role}},
		})
	}
	may := func(role, namespace, verb, resource string) bool {
		return w.may("has-"+role, namespace, verb, resource, "")
	}
	// It takes one step after the other: admin takes up what edit has.
	require.Eventually(t, func() bool {
		return may("admin", "shop", "restore", "vmbackups") && may("admin", "shop", "list", "vmbackups")
	}, patience, 50*time.Millisecond)

	for _, c := range []struct {
		namespace, resource string
		verbs               string
		may                 string // the letters of those who may
	}{
		{"shop", "vmbackups", "get list watch", "v e a o A"},
		{"shop", "vmschedules", "get list watch", "v e a o A"},
		{"shop", "vmrestores", "get list watch", "v e a o A"},
		{"shop", "snapshotquotas", "get list watch", "v e a o A"},
		{"shop", "nodejobs", "get list watch", "v e a A"},
		{"shop", "vmbackups", "create", "e a o A"},
		{"shop", "vmschedules", "create", "e a o A"},
		{"shop", "vmrestores", "create", "e a A"},
		{"shop", "vmbackups", "update patch delete deletecollection restore", "e a A"},
		{"shop", "vmschedules", "update patch delete deletecollection", "e a A"},
		{"shop", "vmrestores", "update patch delete deletecollection", "e a A"},
		{"shop", "snapshotquotas", "create update patch delete", "A"},
		{"shop", "backuptargets", "use", "A"},
		{"", "backuptargets", "get list watch create update patch delete use claim", "A"},
		{"lab", "vmbackups", "get list create delete restore", "A"},
		{"shop", "virtualmachines.kubevirt.io", "get list", "o"},
		{"shop", "virtualmachines.kubevirt.io", "create update patch delete", ""},
		{"shop", "secrets.", "get", "e a"}, // Kubernetes' own
		{"hayloft-system", "secrets.", "get list create", ""},
		{"hayloft-system", "nodejobs", "create update patch delete", ""},
		{"shop", "vmbackups/status", "update patch", ""},
		{"hayloft-system", "nodejobs/status", "update patch", ""},
	} {
		for _, verb := range strings.Fields(c.verbs) {
			for letter, role := range who {
				assert.Equal(t, strings.Contains(c.may, letter), may(role, c.namespace, verb, c.resource),
					fmt.Sprintf("%s may %s %s in namespace %q", role, verb, c.resource, c.namespace))
			}
		}
	}
}
