// Package api calls the HTTP API of real coordinators, as many callers, against a
// real API server with Hayloft's roles and policies. No agents run and no data
// moves: that is for test/e2e.
package api

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

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

// people is the namespace of the accounts that may call, elsewhere that of one
// which may not; shop and lab are those of VMs.
const people, elsewhere, shop, lab = "people", "elsewhere", "shop", "lab"

// world is an API server with Hayloft's roles and policies, accounts and their
// rights. Tests share it and differ by the names of what they make.
type world struct {
	t      *testing.T
	config *rest.Config
	admin  client.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, config: harness.APIServer(t)}
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	var err error
	w.admin, err = client.New(w.config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	for _, name := range []string{harness.HayloftNamespace, harness.LonghornNamespace, people, elsewhere, shop, lab} {
		w.make(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	harness.Apply(t, w.config, "rbac", "policies")
	for _, name := range []string{"viewer", "operator", "admin", "writer"} {
		w.make(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: people, Name: name}})
	}
	w.make(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere, Name: "outsider"}})
	w.bind(people, "ClusterRole", "hayloft-api-callers", account(harness.HayloftNamespace, "hayloft-coordinator"))

	w.bind(shop, "ClusterRole", "hayloft-view", account(people, "viewer"))
	w.bind(shop, "ClusterRole", "hayloft-view", account(people, "operator"))
	w.bind(shop, "ClusterRole", "hayloft-edit", account(people, "operator"))
	w.bind(shop, "ClusterRole", "hayloft-use-targets", account(people, "operator"))
	w.grant(shop, account(people, "operator"), rule("kubevirt.io", "virtualmachines", "*"),
		rule("", "persistentvolumeclaims", "*"), rule("", "secrets", "*"), rule("", "configmaps", "*"))
	// May make points and nothing else: neither read them nor use a target.
	w.grant(shop, account(people, "writer"), rule("hayloft.dev", "vmbackups", "create"))
	for _, who := range []rbacv1.Subject{account(people, "admin"), account(elsewhere, "outsider")} {
		w.make(&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "admin-" + who.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}, Subjects: []rbacv1.Subject{who},
		})
	}
	w.make(&v1alpha1.BackupTarget{ObjectMeta: metav1.ObjectMeta{Name: "dir"}, Spec: v1alpha1.BackupTargetSpec{Directory: &v1alpha1.DirectoryTarget{Path: "/nowhere"}}})
	return w
}

func account(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
}

func rule(group, resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
}

func (w *world) grant(namespace string, to rbacv1.Subject, rules ...rbacv1.PolicyRule) {
	w.t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "role-"}, Rules: rules}
	w.make(role)
	w.bind(namespace, "Role", role.Name, to)
}

func (w *world) bind(namespace, kind, role string, to rbacv1.Subject) {
	w.t.Helper()
	w.make(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "binding-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role}, Subjects: []rbacv1.Subject{to},
	})
}

func (w *world) make(o client.Object) {
	w.t.Helper()
	require.NoError(w.t, client.IgnoreAlreadyExists(w.admin.Create(w.t.Context(), o)), "making %s", o.GetName())
}

// point makes a point of the VM web by the administrator.
func (w *world) point(namespace, name string) *v1alpha1.VMBackup {
	w.t.Helper()
	b := &v1alpha1.VMBackup{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.VMBackupSpec{VM: "web", Target: "dir"}}
	w.make(b)
	return b
}

// replica is a coordinator that serves the HTTP API.
type replica struct {
	*harness.Program
	address string
}

// start starts coordinators under their own account and waits until they serve.
func (w *world) start(n int, args ...string) []replica {
	w.t.Helper()
	token := harness.Token(w.t, w.config, harness.HayloftNamespace, "hayloft-coordinator")
	kubeconfig := harness.TokenKubeconfig(w.t, w.config, token)
	var all []replica
	for i := range n {
		r := replica{address: harness.FreeAddress(w.t)}
		r.Program = harness.StartCoordinator(w.t, kubeconfig, fmt.Sprintf("c%d", i+1), append([]string{
			"--api-listen", r.address, "--api-names", "127.0.0.1", "--api-rate", "10000", "--api-burst", "10000",
		}, args...)...)
		all = append(all, r)
	}
	for _, r := range all {
		require.Eventually(w.t, func() bool {
			response, err := http.Get(r.URL + "/readyz")
			if err != nil {
				return false
			}
			defer response.Body.Close()
			return response.StatusCode == http.StatusOK
		}, patience, 20*time.Millisecond, "coordinator %s to be ready", r.Name)
	}
	return all
}

// metrics are what it tells Prometheus.
func (r replica) metrics(t *testing.T) string {
	t.Helper()
	response, err := http.Get(r.URL + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}

// caller asks as somebody.
type caller struct {
	w     *world
	http  *http.Client
	base  string
	token string
}

// caller trusts what the ConfigMap says, as anybody outside would.
func (w *world) caller(r replica, token string, certificates ...tls.Certificate) caller {
	w.t.Helper()
	var m corev1.ConfigMap
	require.NoError(w.t, w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: harness.HayloftNamespace, Name: "hayloft-api-ca"}, &m))
	pool := x509.NewCertPool()
	require.True(w.t, pool.AppendCertsFromPEM([]byte(m.Data["ca.crt"])))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certificates}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 100}
	w.t.Cleanup(transport.CloseIdleConnections)
	return caller{w: w, http: &http.Client{Transport: transport, Timeout: patience}, base: "https://" + r.address + "/api/v1", token: token}
}

// as is a caller with the token of an account of people.
func (w *world) as(r replica, name string) caller {
	w.t.Helper()
	return w.caller(r, harness.Token(w.t, w.config, people, name))
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.text) }

// detail is the sentence of a problem document.
func (a answer) detail() string {
	s, _ := a.body["detail"].(string)
	return s
}

// locations are the fields that a problem document names.
func (a answer) locations() (all []string) {
	list, _ := a.body["errors"].([]any)
	for _, e := range list {
		if m, is := e.(map[string]any); is {
			if l, is := m["location"].(string); is {
				all = append(all, l)
			}
		}
	}
	return all
}

func (c caller) do(method, path, body string, headers ...string) answer {
	c.w.t.Helper()
	a, err := c.try(method, path, body, headers...)
	require.NoError(c.w.t, err)
	return a
}

// try asks; headers are "Name: value".
func (c caller) try(method, path, body string, headers ...string) (answer, error) {
	r, err := http.NewRequestWithContext(c.w.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: response.StatusCode, header: response.Header, text: string(data)}
	if strings.Contains(response.Header.Get("Content-Type"), "json") {
		if err := json.NewDecoder(bytes.NewReader(data)).Decode(&a.body); err != nil {
			return a, fmt.Errorf("reading %s: %w", data, err)
		}
	}
	return a, nil
}
