package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

const (
	apiTriggers = 1000
	apiClients  = 50
)

// BenchmarkAPI: triggers by many clients at once through the HTTP API of two
// coordinators, beside the plain creation of the same objects by the same account
// at the API server; and once more, while one of the coordinators is killed and what
// it does not answer is sent to the other one. Nobody plans the points meanwhile.
func BenchmarkAPI(b *testing.B) {
	config := harness.APIServer(b)
	scheme := runtime.NewScheme()
	check(b, clientgoscheme.AddToScheme(scheme))
	check(b, v1alpha1.AddToScheme(scheme))
	admin, err := client.New(config, client.Options{Scheme: scheme})
	check(b, err)
	ns := harness.Namespace(b, config)
	prepareAPI(b, admin, ns)
	harness.Apply(b, config, "rbac", "policies")
	own := harness.TokenKubeconfig(b, config, harness.Token(b, config, harness.HayloftNamespace, "hayloft-coordinator"))
	token := harness.Token(b, config, ns, "caller")

	var bases []string
	var replicas []*harness.Program
	for i := range 2 {
		address := harness.FreeAddress(b)
		p := harness.StartCoordinator(b, own, fmt.Sprintf("c%d", i+1), "--api-listen", address, "--api-names", "127.0.0.1",
			"--api-rate", "100000", "--api-burst", "100000", "--log-level", "info")
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			response, err := http.Get(p.URL + "/readyz")
			if err == nil {
				_ = response.Body.Close()
				if response.StatusCode == http.StatusOK {
					break
				}
			}
			if time.Now().After(deadline) {
				b.Fatalf("coordinator %s is not ready", p.Name)
			}
		}
		replicas = append(replicas, p)
		bases = append(bases, "https://"+address+"/api/v1/namespaces/"+ns+"/backups")
	}
	callers := apiCallers(b, admin, len(bases))
	trigger := func(ctx context.Context, key string, n, at int) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, bases[at], strings.NewReader(fmt.Sprintf(`{"vm":"vm-%d","target":"s3"}`, n)))
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", fmt.Sprintf("%s-%s-%d", b.Name(), key, n))
		response, err := callers[at].Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		said, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusCreated && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", response.Status, said)
		}
		return err
	}
	through := func(ctx context.Context, n int) error { return trigger(ctx, "all", n, n%len(bases)) }
	var kill sync.Once
	killed := func(ctx context.Context, n int) (err error) {
		if n == apiTriggers/2 {
			kill.Do(func() { replicas[0].Kill(b) })
		}
		for try := range 10 {
			if err = trigger(ctx, "killed", n, (n+try)%len(bases)); err == nil {
				return nil
			}
		}
		return err
	}
	direct, err := clientcmd.BuildConfigFromFlags("", harness.TokenKubeconfig(b, config, token))
	check(b, err)
	direct.QPS = -1
	c, err := client.New(direct, client.Options{Scheme: scheme})
	check(b, err)
	plain := func(ctx context.Context, n int) error {
		return c.Create(ctx, &v1alpha1.VMBackup{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("plain-%d", n)},
			Spec:       v1alpha1.VMBackupSpec{VM: fmt.Sprintf("vm-%d", n), Target: "s3"},
		})
	}
	for _, way := range []struct {
		name string
		do   func(context.Context, int) error
	}{{"plain", plain}, {"api", through}, {"killed", killed}} {
		many(b, apiTriggers, apiClients, way.do) // connections are made, and the server has seen the caller
		middle, late, rate := many(b, 0, apiTriggers, way.do)
		b.Logf("%s: %d triggers by %d clients: median %s, p99 %s, %.0f a second; %s", way.name, apiTriggers, apiClients, middle, late, rate, load())
		b.ReportMetric(late.Seconds()*1000, way.name+"-p99-ms")
		b.ReportMetric(rate, way.name+"/s")
	}
}

// prepareAPI makes the namespaces, the account that calls, its rights, and a
// leader that does nothing.
func prepareAPI(b *testing.B, admin client.Client, ns string) {
	b.Helper()
	now := metav1.NowMicro()
	bind := func(name string, to rbacv1.Subject, role string) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Subjects: []rbacv1.Subject{to},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		}
	}
	account := func(namespace, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
	}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: harness.HayloftNamespace}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: harness.LonghornNamespace}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "caller"}},
		bind("caller", account(ns, "caller"), "cluster-admin"),
		bind("hayloft-api", account(harness.HayloftNamespace, "hayloft-coordinator"), "hayloft-api-callers"),
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: harness.HayloftNamespace, Name: "coordinator"}, Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("nobody"), LeaseDurationSeconds: ptr.To(int32(3600)), RenewTime: &now, AcquireTime: &now,
		}},
	} {
		check(b, client.IgnoreAlreadyExists(admin.Create(b.Context(), o)))
	}
}

// apiCallers are clients that trust the coordinators, one for each.
func apiCallers(b *testing.B, admin client.Client, n int) []*http.Client {
	b.Helper()
	var trusted corev1.ConfigMap
	check(b, admin.Get(b.Context(), client.ObjectKey{Namespace: harness.HayloftNamespace, Name: "hayloft-api-ca"}, &trusted))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(trusted.Data["ca.crt"]))
	var out []*http.Client
	for range n {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
		b.Cleanup(transport.CloseIdleConnections)
		out = append(out, &http.Client{Transport: transport})
	}
	return out
}

// many does something so many times, by apiClients at once, counted from a number.
func many(b *testing.B, from, times int, do func(context.Context, int) error) (middle, late time.Duration, rate float64) {
	b.Helper()
	took := make([]time.Duration, times)
	failed := make([]error, times)
	work := make(chan int)
	var wg sync.WaitGroup
	for range apiClients {
		wg.Go(func() {
			for n := range work {
				began := time.Now()
				failed[n] = do(b.Context(), from+n)
				took[n] = time.Since(began)
			}
		})
	}
	began := time.Now()
	for n := range times {
		work <- n
	}
	close(work)
	wg.Wait()
	all := time.Since(began)
	for _, err := range failed {
		check(b, err)
	}
	slices.Sort(took)
	return took[times/2], took[times*99/100], float64(times) / all.Seconds()
}
