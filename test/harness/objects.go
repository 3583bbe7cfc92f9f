package harness

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Apply makes the objects of folders of deploy that are not there yet. Their namespaces must exist.
func Apply(t testing.TB, config *rest.Config, folders ...string) {
	t.Helper()
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(Root(t), "deploy", folder, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("finding the manifests of deploy/%s: %d, %v", folder, len(files), err)
		}
		for _, file := range files {
			for _, o := range decode(t, file) {
				if err := client.IgnoreAlreadyExists(c.Create(t.Context(), o)); err != nil {
					t.Fatalf("making %s %s of %s: %v", o.GetKind(), o.GetName(), file, err)
				}
			}
		}
	}
}

func decode(t testing.TB, file string) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, file, data)
}

func parse(t testing.TB, file string, data []byte) (objects []*unstructured.Unstructured) {
	t.Helper()
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		o := &unstructured.Unstructured{}
		if err := errors.Join(err, yaml.Unmarshal(document, &o.Object)); err != nil {
			t.Fatalf("reading %s: %v", file, err)
		}
		if len(o.Object) > 0 { // not only comments
			objects = append(objects, o)
		}
	}
}

// Token is one of a service account, for an hour; for the API server without audiences.
func Token(t testing.TB, config *rest.Config, namespace, account string, audiences ...string) string {
	t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	seconds := int64(time.Hour / time.Second)
	token, err := c.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds, Audiences: audiences},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("asking for a token of %s/%s: %v", namespace, account, err)
	}
	return token.Status.Token
}

// TokenKubeconfig is the path of a kubeconfig with a token, for a program under test.
func TokenKubeconfig(t testing.TB, config *rest.Config, token string) string {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["local"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	c.AuthInfos["account"] = &clientcmdapi.AuthInfo{Token: token}
	c.Contexts["local"] = &clientcmdapi.Context{Cluster: "local", AuthInfo: "account"}
	c.CurrentContext = "local"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// SigningKey is the path of the key with which the API server of APIServer signs the tokens of service accounts.
func SigningKey(t testing.TB) string {
	t.Helper()
	return filepath.Join(filepath.Dir(Kubeconfig(t)), "pki", "service-account.key")
}

// StartCoordinator starts a coordinator for a test that has an API server and no stack. It is killed at the end of
// the test, if it still runs.
func StartCoordinator(t testing.TB, kubeconfig, identity string, args ...string) *Program {
	t.Helper()
	address := FreeAddress(t)
	args = append([]string{
		"--kubeconfig", kubeconfig, "--identity", identity, "--listen", address, "--log-level", "debug",
		"--targetio", TestedBinary(t, "targetio"), "--targetio-kubeconfig", kubeconfig,
		"--namespace", HayloftNamespace, "--longhorn-namespace", LonghornNamespace,
	}, args...)
	log := filepath.Join(t.TempDir(), "coordinator-"+identity+".log")
	p, err := startProgram("coordinator", identity, "http://"+address, log, TestedBinary(t, "coordinator"), args, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("the end of the log of coordinator %s:\n%s", identity, tail(log))
		}
	})
	return p
}
