package harness_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"hayloft.dev/test/harness"
)

// patience is for what takes a few seconds on an idle machine.
const patience = 3 * time.Minute

func eventually(t *testing.T, condition func() bool, message ...any) {
	t.Helper()
	require.Eventually(t, condition, patience, 50*time.Millisecond, message...)
}

func answers(url string) bool {
	response, err := http.Get(url)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func TestStack(t *testing.T) {
	s := harness.NewStack(t, harness.StackOptions{})
	client, err := kubernetes.NewForConfig(s.Config)
	require.NoError(t, err)

	t.Run("has controllers", func(t *testing.T) {
		namespace := harness.Namespace(t, s.Config)
		require.NoError(t, client.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}))
		eventually(t, func() bool {
			list, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + namespace})
			return err == nil && len(list.Items) == 0
		}, "a deleted namespace goes")
	})

	t.Run("shows its processes", func(t *testing.T) {
		require.Len(t, s.ProcessesOf(t, "kube"), 2)
		require.Len(t, s.ProcessesOf(t, "s3"), 1)
		require.Empty(t, s.ProcessesOf(t, "engine", "volume=none"))
		require.Empty(t, s.ProcessesOf(t, "agent"), "without Hayloft")
	})

	t.Run("programs are killed, stopped, frozen", func(t *testing.T) {
		agent := s.StartAgent(t, "node-1", harness.ProgramOptions{})
		eventually(t, func() bool { return answers(agent.URL + "/metrics") })
		require.NotEmpty(t, agent.Log(t))
		require.Contains(t, agent.Arguments(), "--node node-1")

		agent.Freeze(t)
		eventually(t, func() bool { return state(t, agent.PID()) == "T" })
		agent.Continue(t)
		eventually(t, func() bool { return answers(agent.URL + "/metrics") })
		agent.Kill(t)
		require.False(t, agent.Running())
		require.Error(t, agent.Err())

		again := s.StartAgent(t, "node-1", harness.ProgramOptions{})
		eventually(t, func() bool { return answers(again.URL + "/metrics") })
		again.Stop(t, patience)
		require.NoError(t, again.Err(), "asked to end, it ends cleanly")
	})

	t.Run("a coordinator is killed at its first write", func(t *testing.T) {
		proxy := harness.NewProxy(t, s.Config)
		var coordinator *harness.Program
		started := make(chan struct{})
		fired := proxy.KillAt(t, 1, harness.BeforeWrite, nil, func() *harness.Program { <-started; return coordinator })
		coordinator = s.StartCoordinator(t, "coordinator-1", harness.ProgramOptions{
			Kubeconfig: proxy.Kubeconfig(t, s.Kubeconfigs["coordinator"]),
		})
		close(started)
		select {
		case <-fired:
		case <-time.After(patience):
			t.Fatal("it writes nothing, not even to be elected")
		}
		require.False(t, coordinator.Running())
		writes := proxy.Writes()
		require.True(t, writes[len(writes)-1].Interrupted)
		_, err := client.CoordinationV1().Leases(harness.HayloftNamespace).Get(t.Context(), "coordinator", metav1.GetOptions{})
		require.True(t, apierrors.IsNotFound(err), "the write came through: %v", err)
	})

	t.Run("accounts may do what their roles say", func(t *testing.T) {
		_, err := client.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
		require.NoError(t, err)
		agent := clientOf(t, s.Kubeconfigs["agent-node-1"])
		_, err = agent.CoreV1().Secrets("default").Get(t.Context(), "x", metav1.GetOptions{})
		require.ErrorContains(t, err, "forbidden")
		_, err = agent.CoreV1().Secrets(harness.HayloftNamespace).Get(t.Context(), "s3-credentials", metav1.GetOptions{})
		require.NoError(t, err)
		review, err := agent.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		require.NoError(t, err)
		require.Equal(t, authenticationv1.ExtraValue{"node-1"}, review.Status.UserInfo.Extra["authentication.kubernetes.io/node-name"],
			"what deploy/policies tells agents apart by")
	})

	t.Run("down ends it", func(t *testing.T) {
		down := exec.Command(filepath.Join(harness.Root(t), "bin", "local", "hayloft-local"), "down", "--dir", s.Dir)
		output, err := down.CombinedOutput()
		require.NoError(t, err, string(output))
		require.Equal(t, "ended", strings.TrimSpace(string(output)))
		require.NoFileExists(t, filepath.Join(s.Dir, "stack.json"))
		require.NoFileExists(t, s.Kubeconfig)
	})
}

// state is the kernel's letter for what a process does: T is stopped.
func state(t *testing.T, pid int) string {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(data), ") ")
	return rest[:1]
}

func clientOf(t *testing.T, kubeconfig string) kubernetes.Interface {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return client
}
