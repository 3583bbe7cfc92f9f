package rights

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

const patience = 3 * time.Minute

func user(name string, groups ...string) rest.ImpersonationConfig {
	return rest.ImpersonationConfig{UserName: name, Groups: append(groups, "system:authenticated")}
}

// account is one of Hayloft's, with the node that its token is bound to.
func account(name, node string) rest.ImpersonationConfig {
	c := user("system:serviceaccount:hayloft-system:"+name, "system:serviceaccounts", "system:serviceaccounts:hayloft-system")
	if node != "" {
		c.Extra = map[string][]string{"authentication.kubernetes.io/node-name": {node}}
	}
	return c
}

// world is the API server with Hayloft's roles and policies, two namespaces of
// users and what they act on.
type world struct {
	t      *testing.T
	config *rest.Config
	scheme *runtime.Scheme
	admin  client.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, config: harness.APIServer(t), scheme: runtime.NewScheme()}
	require.NoError(t, clientgoscheme.AddToScheme(w.scheme))
	require.NoError(t, v1alpha1.AddToScheme(w.scheme))
	w.admin = w.as(user("admin", "system:masters"))
	for _, name := range []string{"hayloft-system", "longhorn-system", "shop", "lab"} {
		w.make(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	harness.Apply(t, w.config, "rbac", "policies")
	w.roles()
	for _, name := range []string{"p", "q"} {
		w.make(&v1alpha1.VMBackup{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec:       v1alpha1.VMBackupSpec{VM: "web", Target: "s3"},
		})
	}
	w.foundPoint("f")
	w.make(nightly())
	for name, node := range map[string]string{"on-n1": "n1", "on-none": ""} {
		w.make(job(name, node))
	}
	// The server takes a moment to hold a policy that it was given.
	for i, waits := range []func() error{
		func() error { return w.restore("lab", from("p"))(w.as(user("stranger"))) },
		func() error { return w.backup("web", "s3")(w.as(user("editor-without-use"))) },
		func() error { return w.makeJob()(w.as(user("wide"))) },
		func() error { return w.status()(w.as(user("wide"))) },
		func() error { return w.schedule("s3")(w.as(user("editor-without-use"))) },
		func() error { return w.claim()(w.as(user("editor"))) },
		func() error { return w.sharePod(named)(w.as(account("hayloft-coordinator", ""))) },
	} {
		require.EventuallyWithT(t, func(t *assert.CollectT) {
			err := waits()
			assert.Equal(t, "x", verdict(err), "policy %d: %v", i+1, err)
		}, patience, 20*time.Millisecond)
	}
	return w
}

// foundPoint makes a point as the coordinator does that finds one.
func (w *world) foundPoint(name string) {
	w.t.Helper()
	c := w.as(account("hayloft-coordinator", ""))
	require.EventuallyWithT(w.t, func(t *assert.CollectT) {
		b := &v1alpha1.VMBackup{Spec: v1alpha1.VMBackupSpec{
			VM: "web", Target: "s3", DeletionPolicy: v1alpha1.DeletionRetain, Found: &v1alpha1.FoundPoint{ClusterUID: "c", UID: "u"},
		}}
		b.Namespace, b.Name = "shop", name
		assert.NoError(t, client.IgnoreAlreadyExists(c.Create(w.t.Context(), b)))
	}, patience, 20*time.Millisecond, "the coordinator's rights")
}

// as is a client that is taken for somebody.
func (w *world) as(who rest.ImpersonationConfig) client.Client {
	w.t.Helper()
	config := rest.CopyConfig(w.config)
	config.Impersonate = who
	c, err := client.New(config, client.Options{Scheme: w.scheme})
	require.NoError(w.t, err)
	return c
}

func (w *world) make(o client.Object) {
	w.t.Helper()
	require.NoError(w.t, client.IgnoreAlreadyExists(w.admin.Create(w.t.Context(), o)), "making %s", o.GetName())
}

func rule(group, resource string, names []string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, ResourceNames: names, Verbs: verbs}
}

// grant gives a user rights in a namespace.
func (w *world) grant(namespace, to string, rules ...rbacv1.PolicyRule) {
	w.t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: to + "-"}, Rules: rules}
	w.make(role)
	w.bind(namespace, to, "Role", role.Name)
}

// bind gives a user a role in a namespace.
func (w *world) bind(namespace, to, kind, role string) {
	w.t.Helper()
	w.make(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: to + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: to}},
	})
}

func (w *world) roles() {
	w.t.Helper()
	vms := rule("kubevirt.io", "virtualmachines", nil, "*")
	claims, secrets, maps := rule("", "persistentvolumeclaims", nil, "*"), rule("", "secrets", nil, "*"), rule("", "configmaps", nil, "*")
	ours := rbacv1.PolicyRule{APIGroups: []string{"hayloft.dev"}, Resources: []string{"vmbackups", "vmrestores", "vmschedules"}, Verbs: []string{"get", "list", "create", "update", "patch", "delete"}}

	for name, namespace := range map[string]string{
		"editor": "shop", "editor-without-use": "shop", "editor-of-one-target": "shop", "editor-without-vms": "shop", "editor-without-secrets": "shop", "stranger": "lab", "guest": "lab",
	} {
		w.bind(namespace, name, "ClusterRole", "hayloft-view")
		w.bind(namespace, name, "ClusterRole", "hayloft-edit")
		if name != "editor-without-use" && name != "editor-of-one-target" {
			w.bind(namespace, name, "ClusterRole", "hayloft-use-targets")
		}
		rights := []rbacv1.PolicyRule{claims, maps}
		if name != "editor-without-vms" {
			rights = append(rights, vms)
		}
		if name != "editor-without-secrets" {
			rights = append(rights, secrets)
		}
		w.grant(namespace, name, rights...)
	}
	w.grant("shop", "editor-without-restore", ours, vms, claims, secrets, maps)
	w.bind("shop", "editor-without-restore", "ClusterRole", "hayloft-use-targets")
	w.grant("shop", "editor-of-disks",
		rule("hayloft.dev", "vmbackups", nil, "get", "restore"), rule("hayloft.dev", "vmrestores", nil, "create"), rule("hayloft.dev", "vmschedules", nil, "create", "patch"),
		rule("", "persistentvolumeclaims", nil, "create"))
	w.grant("shop", "guest", rule("hayloft.dev", "vmbackups", []string{"p"}, "restore"))
	w.bind("shop", "reader", "ClusterRole", "hayloft-view")
	w.bind("hayloft-system", "reader", "ClusterRole", "hayloft-view")
	for _, namespace := range []string{"shop", "lab", "hayloft-system"} {
		w.grant(namespace, "wide", rule("hayloft.dev", "*", nil, "*"))
	}
}
