package control_test

import (
	"io/fs"
	"strings"

	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"hayloft.dev/deploy"
)

// asItself has coordinators act as their account, with the rights of deploy/rbac,
// in this world's namespaces, and with no others. The test stays an administrator.
func (w *world) asItself() {
	w.t.Helper()
	namespaces := strings.NewReplacer("hayloft-system", w.own, "longhorn-system", w.lh)
	files, err := fs.Glob(deploy.Manifests, "rbac/*.yaml")
	require.NoError(w.t, err)
	require.NotEmpty(w.t, files)
	for _, file := range files {
		data, err := deploy.Manifests.ReadFile(file)
		require.NoError(w.t, err)
		for _, document := range strings.Split(namespaces.Replace(string(data)), "\n---\n") {
			o := &unstructured.Unstructured{}
			require.NoError(w.t, yaml.Unmarshal([]byte(document), &o.Object), file)
			require.NoError(w.t, w.client.Apply(w.ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("test"), client.ForceOwnership), "%s of %s", o.GetName(), file)
		}
	}
	who := "system:serviceaccount:" + w.own + ":hayloft-coordinator"
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + w.own, "system:authenticated"}
	w.account = &rest.ImpersonationConfig{UserName: who, Groups: groups}
	// The server takes a moment to hold roles that it was given, which a cache would
	// wait for by the second.
	for _, may := range []authorizationv1.ResourceAttributes{
		{Namespace: w.own, Verb: "create", Resource: "leases", Group: "coordination.k8s.io"},
		{Namespace: w.own, Verb: "get", Resource: "secrets"},
		{Namespace: w.lh, Verb: "list", Resource: "volumes", Group: "longhorn.io"},
		{Namespace: w.ns, Verb: "list", Resource: "vmbackups", Group: "hayloft.dev"},
		{Namespace: w.lh, Verb: "patch", Resource: "backuptargets", Group: "longhorn.io"},
	} {
		w.eventually("the account's rights", func() bool {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: who, Groups: groups, ResourceAttributes: &may}}
			require.NoError(w.t, w.client.Create(w.ctx, review))
			return review.Status.Allowed
		})
	}
}
