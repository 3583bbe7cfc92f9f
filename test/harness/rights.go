package harness

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rightsTimeout is how long the API server may take to hold the roles that it was given.
const rightsTimeout = time.Minute

// Account is who one of Hayloft's accounts is on a test's API server, with the rights of deploy/rbac and no others. The
// test's own namespaces stand in place of Hayloft's and Longhorn's, so that tests which share a server can each have one.
func Account(t testing.TB, config *rest.Config, account, hayloft, longhorn string) rest.ImpersonationConfig {
	t.Helper()
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(Root(t), "deploy", "rbac", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("finding the manifests of deploy/rbac: %d, %v", len(files), err)
	}
	rules := map[string][]rbacv1.PolicyRule{} // kind, namespace and name of a role -> its rules
	var bound []rbacv1.RoleBinding
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer(HayloftNamespace, hayloft, LonghornNamespace, longhorn).Replace(string(data))
		for _, o := range parse(t, file, []byte(text)) {
			var role rbacv1.Role
			var binding rbacv1.RoleBinding
			switch o.GetKind() {
			case "ClusterRoleBinding":
				o.SetName(o.GetName() + "-" + hayloft) // each test's own
				fallthrough
			case "RoleBinding":
				err = runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &binding)
				if slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return s.Namespace == hayloft && s.Name == account }) {
					bound = append(bound, binding)
				}
			case "Role", "ClusterRole":
				err = runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role)
				rules[roleKey(o.GetKind(), o.GetNamespace(), o.GetName())] = role.Rules
			}
			if err != nil {
				t.Fatalf("reading %s %s of %s: %v", o.GetKind(), o.GetName(), file, err)
			}
			if err := client.IgnoreAlreadyExists(c.Create(t.Context(), o)); err != nil {
				t.Fatalf("making %s %s of %s: %v", o.GetKind(), o.GetName(), file, err)
			}
		}
	}
	who := rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + hayloft + ":" + account,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + hayloft, "system:authenticated"},
	}
	for _, b := range bound {
		namespace := b.Namespace
		if b.RoleRef.Kind == "ClusterRole" {
			namespace = ""
		}
		held := rules[roleKey(b.RoleRef.Kind, namespace, b.RoleRef.Name)]
		if len(held) == 0 {
			t.Fatalf("%s binds %s %s, which deploy/rbac does not have", b.Name, b.RoleRef.Kind, b.RoleRef.Name)
		}
		awaitRule(t, config, who, b.Namespace, held[0])
	}
	return who
}

func roleKey(kind, namespace, name string) string { return kind + " " + namespace + "/" + name }

// awaitRule waits until the API server knows of a rule: it holds roles, and who has them, a moment after it was given both.
func awaitRule(t testing.TB, config *rest.Config, who rest.ImpersonationConfig, namespace string, rule rbacv1.PolicyRule) {
	t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	resource, subresource, _ := strings.Cut(rule.Resources[0], "/")
	asks := authorizationv1.ResourceAttributes{Namespace: namespace, Verb: rule.Verbs[0], Group: rule.APIGroups[0], Resource: resource, Subresource: subresource}
	if len(rule.ResourceNames) > 0 {
		asks.Name = rule.ResourceNames[0]
	}
	for end := time.Now().Add(rightsTimeout); ; time.Sleep(pollInterval) {
		review, err := c.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: who.UserName, Groups: who.Groups, ResourceAttributes: &asks},
		}, metav1.CreateOptions{})
		if err == nil && review.Status.Allowed {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s may not yet %s %s after %s (%v)", who.UserName, asks.Verb, rule.Resources[0], rightsTimeout, err)
		}
	}
}
