package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestAPIDay: the commands of docs/api.md, one after the other, are a day in the
// life with curl alone: a backup, a snapshot, a restore to a new VM, a deletion,
// with real engines. What kubectl does there the stack has done already.
func TestAPIDay(t *testing.T) {
	t.Parallel()
	w := bare(t, harness.NewStack(t, harness.StackOptions{WithHayloft: true}))
	w.ns = "shop"
	w.mustMake(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}})
	w.runningVM("web", 16*mib)
	w.mustMake(&v1alpha1.VMSchedule{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "nightly"},
		Spec:       v1alpha1.VMScheduleSpec{Cron: "0 3 * * *", VM: "web", Target: w.Target},
	})

	dir := t.TempDir()
	trusted, err := os.ReadFile(w.API.Authority)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.crt"), trusted, 0o600))
	token, err := os.ReadFile(w.API.Token)
	require.NoError(t, err)
	run := func(script string) string {
		command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		command.Dir = dir
		command.Env = append(os.Environ(), "API="+w.API.URL, "TOKEN="+string(token))
		out, err := command.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	day := documented(t, w)
	require.Contains(t, run(day), "event: end\ndata: {\"phase\":\"Ready\"}")
	var vm kubevirt.VirtualMachine
	require.NoError(t, w.c.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "web-copy"}, &vm))

	// What the webhook refuses is said here with the same sentence.
	define, _, _ := strings.Cut(day[strings.Index(day, "api() {"):], "\n")
	refused := run(define + "\n" + `api $API/namespaces/shop/backups --json '{"vm": "nobody", "target": "` + w.Target + `"}' || true`)
	require.Contains(t, refused, `there is no VirtualMachine \"nobody\" in namespace shop (spec.vm): name one that exists in a new VMBackup`)
	require.Contains(t, refused, `"location":"body.vm"`)

	logs, err := filepath.Glob(filepath.Join(w.Logs, "*"))
	require.NoError(t, err)
	audited := 0
	for _, path := range logs {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(data), string(token), "the token is in %s", path)
		audited += strings.Count(string(data), " caller=system:serviceaccount:default:api-caller operation=create-backup namespace=shop")
	}
	require.Equal(t, 2, audited, "a line for each request that was to make a backup")
}

// documented are the commands of docs/api.md as one script, without what is
// kubectl's; the target is the stack's.
func documented(t *testing.T, w *world) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "api.md"))
	require.NoError(t, err)
	var script strings.Builder
	for line := range strings.Lines(string(data)) {
		command, is := strings.CutPrefix(line, "    ")
		if is && !regexp.MustCompile(`^(TOKEN=\$\()?kubectl `).MatchString(command) {
			script.WriteString(command)
		}
	}
	require.Contains(t, script.String(), "curl")
	text := strings.ReplaceAll(script.String(), `"target": "s3"`, `"target": "`+w.Target+`"`)
	return strings.ReplaceAll(text, "/targets/s3/", "/targets/"+w.Target+"/")
}
