package harness_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"hayloft.dev/test/harness"
)

// proxied is a client that goes through a proxy, and one that does not.
type proxied struct {
	proxy          *harness.Proxy
	client, direct kubernetes.Interface
	namespace      string
}

func newProxied(t *testing.T) *proxied {
	config := harness.APIServer(t)
	direct, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	p := &proxied{proxy: harness.NewProxy(t, config), direct: direct, namespace: harness.Namespace(t, config)}

	through, err := clientcmd.BuildConfigFromFlags("", p.proxy.Kubeconfig(t, tokenKubeconfig(t, direct, p.namespace)))
	require.NoError(t, err)
	p.client, err = kubernetes.NewForConfig(through)
	require.NoError(t, err)
	return p
}

// tokenKubeconfig is a kubeconfig of an account that may do everything.
func tokenKubeconfig(t *testing.T, direct kubernetes.Interface, namespace string) string {
	config := harness.APIServer(t)
	_, err := direct.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "tester"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = direct.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "tester", Namespace: namespace}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	token, err := direct.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "tester", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)

	c := clientcmdapi.NewConfig()
	c.Clusters["x"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	c.AuthInfos["x"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "x", AuthInfo: "x"}
	c.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*c, path))
	return path
}

func (p *proxied) create(t *testing.T, name string) error {
	_, err := p.client.CoreV1().ConfigMaps(p.namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	return err
}

func (p *proxied) beat(t *testing.T, name string) error {
	_, err := p.client.CoordinationV1().Leases(p.namespace).Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	return err
}

func (p *proxied) exists(t *testing.T, name string) bool {
	list, err := p.direct.CoreV1().ConfigMaps(p.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for _, item := range list.Items {
		if item.Name == name {
			return true
		}
	}
	return false
}

func TestProxyInterruptsAtTheKthWrite(t *testing.T) {
	for _, c := range []struct {
		moment  harness.Moment
		written bool
	}{
		{harness.BeforeWrite, false},
		{harness.AfterWrite, true},
	} {
		t.Run(string(c.moment), func(t *testing.T) {
			p := newProxied(t)
			interrupted := 0
			fired := p.proxy.InterruptAt(2, c.moment, harness.SkipLeases, func() { interrupted++ })

			require.NoError(t, p.create(t, "first"))
			require.NoError(t, p.beat(t, "heartbeat"), "leases do not count")
			_, err := p.client.CoreV1().ConfigMaps(p.namespace).List(t.Context(), metav1.ListOptions{})
			require.NoError(t, err, "reads do not count")
			require.Error(t, p.create(t, "second"), "the process does not hear of it")
			<-fired
			require.Equal(t, 1, interrupted)
			require.True(t, p.exists(t, "first"))
			require.Equal(t, c.written, p.exists(t, "second"))

			require.NoError(t, p.create(t, "third"), "a plan is good for one interruption")
			writes := p.proxy.Writes()
			require.Equal(t, []bool{false, false, true, false}, []bool{
				writes[0].Interrupted, writes[1].Interrupted, writes[2].Interrupted, writes[3].Interrupted,
			})
			require.Equal(t, http.StatusCreated, writes[0].Status)
		})
	}
}

func TestProxyDropsWhatWaitedBehindAnInterruption(t *testing.T) {
	p := newProxied(t)
	const others = 5
	failed := make(chan error, others)
	fired := p.proxy.InterruptAt(1, harness.BeforeWrite, nil, func() {
		for i := range others {
			go func() { failed <- p.create(t, fmt.Sprint("late-", i)) }()
		}
		require.Eventually(t, func() bool { return p.proxy.Waiting() == others }, patience, 10*time.Millisecond)
	})
	require.Error(t, p.create(t, "first"))
	<-fired
	for range others {
		require.Error(t, <-failed)
	}
	require.False(t, p.exists(t, "late-0"))
}

func TestProxyCutsOff(t *testing.T) {
	p := newProxied(t)
	watch, err := p.client.CoreV1().ConfigMaps(p.namespace).Watch(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	defer watch.Stop()
	require.NoError(t, p.create(t, "before"))
	require.Equal(t, "before", (<-watch.ResultChan()).Object.(*corev1.ConfigMap).Name, "watches stream through")

	p.proxy.Cut(true)
	for range watch.ResultChan() { // ends when the watch is broken
	}
	require.Error(t, p.create(t, "during"))
	p.proxy.Cut(false)
	require.NoError(t, p.create(t, "after"))
	require.False(t, p.exists(t, "during"))
}
