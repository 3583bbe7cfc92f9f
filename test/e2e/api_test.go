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
	"k8s.io/client-go/tools/clientcmd"
	kubevirt "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// TestAPIDay: the commands of docs/api.md, one after the other, are a day in the
// life with curl alone: a backup, a snapshot, a restore to a new VM, a deletion,
// with real engines. What kubectl does there the stack has done already. Then those
// of docs/cli.md are one with the command line alone.
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
	day := documented(t, w, "api.md", `^(TOKEN=\$\()?kubectl `)
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
	w.commandLineDay()
}

// commandLineDay runs the commands of docs/cli.md, which the doctor begins and
// the test has the doctor end: a day's work leaves nothing to find.
func (w *world) commandLineDay() {
	w.t.Helper()
	config, err := clientcmd.LoadFromFile(w.Kubeconfig)
	require.NoError(w.t, err)
	config.Contexts[config.CurrentContext].Namespace = w.ns
	file := filepath.Join(w.t.TempDir(), "kubeconfig")
	require.NoError(w.t, clientcmd.WriteToFile(*config, file))
	script := documented(w.t, w, "cli.md", `^ln -s `) + "\nhayloft doctor\nkubectl-hayloft get backups -o name\n"
	command := exec.CommandContext(w.ctx, "bash", "-euxo", "pipefail", "-c", script)
	command.Env = append(os.Environ(), "KUBECONFIG="+file, "PATH="+filepath.Join(harness.Root(w.t), "bin")+":"+os.Getenv("PATH"))
	out, err := command.CombinedOutput()
	require.NoError(w.t, err, "%s", out)
	require.Equal(w.t, 2, strings.Count(string(out), ": nothing is wrong.\n"), "%s", out)
	require.Contains(w.t, string(out), "\nvmbackup.hayloft.dev/monday\n")
	require.NotContains(w.t, string(out), "\nvmbackup.hayloft.dev/before-upgrade\n")
	var vm kubevirt.VirtualMachine
	require.NoError(w.t, w.c.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "web-monday"}, &vm))
}

// documented are the commands of a page as one script, without those that the stack
// has no use for; the target is the stack's.
func documented(t testing.TB, w *world, page, but string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", page))
	require.NoError(t, err)
	var script strings.Builder
	for line := range strings.Lines(string(data)) {
		command, is := strings.CutPrefix(line, "    ")
		if is && !regexp.MustCompile(but).MatchString(command) {
			script.WriteString(command)
		}
	}
	require.NotEmpty(t, script.String())
	return strings.NewReplacer(
		`"target": "s3"`, `"target": "`+w.Target+`"`, "/targets/s3/", "/targets/"+w.Target+"/",
		"--target s3", "--target "+w.Target, "target refresh s3", "target refresh "+w.Target, "describe target s3", "describe target "+w.Target,
		"target leftovers s3", "target leftovers "+w.Target, "target remember s3", "target remember "+w.Target,
	).Replace(script.String())
}
