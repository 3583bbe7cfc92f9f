package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/coordinator/api/identity"
	"hayloft.dev/coordinator/api/problem"
	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

const patience = 3 * time.Minute

// world is the API on a real API server, with callers that have the rights that a
// test gives them. Tests do not run beside each other: some of what is asked for goes
// over all namespaces.
type world struct {
	t       *testing.T
	client  client.Client
	handler http.Handler
	said    *huma.OpenAPI // of itself
	a, b    string        // namespaces; the API takes a for Hayloft's own, too
}

func newWorld(t *testing.T) *world {
	config := harness.APIServer(t)
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	w := &world{t: t, a: harness.Namespace(t, config), b: harness.Namespace(t, config)}
	var err error
	w.client, err = client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	acting, err := identity.NewClient(config, scheme, Mapper())
	require.NoError(t, err)
	o := options(t, &strings.Builder{}, nil)
	o.Client, o.Log, o.Limits.Rate, o.Limits.Burst, o.Namespace = acting, slog.New(slog.DiscardHandler), 1000, 1000, w.a
	h, api, err := build(o)
	require.NoError(t, err)
	w.handler, w.said = h, api.OpenAPI()
	t.Cleanup(func() {
		for _, o := range []client.Object{&v1alpha1.VMSchedule{}, &v1alpha1.VMBackup{}, &v1alpha1.VMRestore{}} {
			for _, ns := range []string{w.a, w.b} {
				require.NoError(t, w.client.DeleteAllOf(context.Background(), o, client.InNamespace(ns)))
			}
		}
	})
	return w
}

// may gives a user verbs on what an upgrade goes over, in a namespace or, where that
// is "", everywhere.
func (w *world) may(user, namespace string, verbs ...string) {
	w.t.Helper()
	role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user + "-" + strings.Join(verbs, "-") + w.a}
	w.make(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role.Name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"hayloft.dev"}, Resources: []string{"vmschedules", "vmbackups", "vmrestores"}, Verbs: verbs},
	}})
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}}
	if namespace == "" {
		w.make(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: role, Subjects: subjects})
		return
	}
	w.make(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role.Name}, RoleRef: role, Subjects: subjects})
}

func (w *world) make(o client.Object) {
	w.t.Helper()
	require.NoError(w.t, w.client.Create(w.t.Context(), o), "making %s", o.GetName())
}

func (w *world) read(o client.Object, namespace, name string) {
	w.t.Helper()
	require.NoError(w.t, w.client.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o))
}

// ask asks as a user, reads the answer into out, unless that is nil, and returns its
// status. Every answer is as the API says of itself.
func (w *world) ask(user, method, path, body string, out any, headers ...string) int {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), method, Prefix+path, strings.NewReader(body))
	r.TLS = certified(user)
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	w.described(method, path, answer)
	if out != nil {
		require.NoError(w.t, json.Unmarshal(answer.Body.Bytes(), out), "%s %s: %s", method, path, answer.Body)
	}
	return answer.Code
}

// refused asks for what is kept from the user, and returns what is said of it.
func (w *world) refused(status int, user, method, path, body string) problem.Document {
	w.t.Helper()
	var d problem.Document
	require.Equal(w.t, status, w.ask(user, method, path, body, &d), d.Detail)
	return d
}

// awaitRights: the API server takes a moment to know of rights that were given. It
// learns of each kind of object in the order in which they were made, so the last ones
// are asked for.
func (w *world) awaitRights() {
	w.t.Helper()
	for verb, namespace := range map[string]string{"list": "", "patch": w.a} {
		require.Eventually(w.t, func() bool {
			r := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "of-a",
				ResourceAttributes: &authorizationv1.ResourceAttributes{Group: "hayloft.dev", Resource: "vmschedules", Verb: verb, Namespace: namespace},
			}}
			return w.client.Create(w.t.Context(), r) == nil && r.Status.Allowed
		}, patience, 20*time.Millisecond, "of-a may %s", verb)
	}
}
