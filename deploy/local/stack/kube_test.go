package stack_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// patience is for what takes a few seconds on an idle machine.
const patience = 2 * time.Minute

// bin is the repository's folder of built programs.
func bin(t *testing.T) string {
	path, err := filepath.Abs("../../../bin")
	require.NoError(t, err)
	for _, name := range []string{"kube", "versitygw", "crds"} {
		_, err := os.Stat(filepath.Join(path, "local", name))
		require.NoError(t, err, "run `make local` first")
	}
	return path
}

// startKube runs `kube apiserver` and returns when it is ready.
func startKube(t *testing.T, dir string, flags ...string) (*exec.Cmd, io.Closer) {
	kubeconfig := filepath.Join(dir, "kubeconfig")
	require.NoError(t, os.RemoveAll(kubeconfig))
	cmd := exec.Command(filepath.Join(bin(t), "local", "kube"), append([]string{"apiserver", "--dir", dir, "--with-parent"}, flags...)...)
	parent, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool { _, err := os.Stat(kubeconfig); return err == nil }, patience, 20*time.Millisecond)
	return cmd, parent
}

func client(t *testing.T, config *rest.Config) kubernetes.Interface {
	c, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return c
}

func adminConfig(t *testing.T, dir string) *rest.Config {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	require.NoError(t, err)
	return config
}

func TestKubeIsTheRealThing(t *testing.T) {
	dir := t.TempDir()
	startKube(t, dir)
	config := adminConfig(t, dir)
	admin := client(t, config)

	version, err := admin.Discovery().ServerVersion()
	require.NoError(t, err)
	require.Equal(t, "v1.34.4", version.GitVersion)

	metrics, err := admin.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	require.NoError(t, err)
	require.Contains(t, string(metrics), "apiserver_request_total")

	// Whoever has no certificate is nobody, and RBAC lets nobody in.
	anonymous := client(t, rest.AnonymousClientConfig(config))
	_, err = anonymous.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
	require.True(t, apierrors.IsForbidden(err), "%v", err)

	// A service account's token works, and allows what its roles allow: here nothing but looking at itself.
	_, err = admin.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	token, err := admin.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	robotConfig := rest.AnonymousClientConfig(config)
	robotConfig.BearerToken = token.Status.Token
	robot := client(t, robotConfig)
	me, err := robot.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Equal(t, "system:serviceaccount:default:robot", me.Status.UserInfo.Username)
	may, err := robot.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Resource: "secrets"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.False(t, may.Status.Allowed)
}

func TestKubeEndsWithItsParent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	cmd, parent := startKube(t, dir, "--ephemeral")
	require.NoError(t, parent.Close())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("it is still there")
	}
	require.NoDirExists(t, dir)
}

func TestKubeContinuesAFolder(t *testing.T) {
	dir := t.TempDir()
	cmd, _ := startKube(t, dir)
	config := adminConfig(t, dir)
	_, err := client(t, config).CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()

	startKube(t, dir)
	again := adminConfig(t, dir)
	require.Equal(t, config.CertData, again.CertData, "clients need no new keys")
	_, err = client(t, again).CoreV1().Namespaces().Get(t.Context(), "kept", metav1.GetOptions{})
	require.NoError(t, err)
}
