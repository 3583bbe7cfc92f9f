package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"hayloft.dev/pkg/api/v1alpha1"
	"hayloft.dev/test/harness"
)

// worstDay runs the commands of docs/disaster.md in a cluster that knows nothing,
// with kubectl and hayloft, as they stand there but for names and keys.
type worstDay struct {
	w      *world
	dir    string
	target *v1alpha1.BackupTarget // without what opens its documents
	script []string               // the page's commands
	said   *strings.Replacer      // what is called otherwise here
}

func newWorstDay(w *world, t *v1alpha1.BackupTarget, accessKey, secretKey, recovery string) *worstDay {
	w.t.Helper()
	d := &worstDay{w: w, dir: w.t.TempDir(), target: t}
	page, err := os.ReadFile(filepath.Join(harness.Root(w.t), "docs", "disaster.md"))
	require.NoError(w.t, err)
	for line := range strings.Lines(string(page)) {
		if command, is := strings.CutPrefix(line, "       "); is {
			d.script = append(d.script, strings.TrimSpace(command))
		}
	}
	require.Len(w.t, d.script, 7, "the page's commands: this test knows what each is for")
	d.said = strings.NewReplacer("s3-keys", t.Spec.CredentialSecret, "backuptarget/s3", "backuptarget/"+t.Name, "namespace shop", "namespace "+w.ns, "-n shop", "-n "+w.ns,
		"AWS_ACCESS_KEY_ID=...", "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY=...", "AWS_SECRET_ACCESS_KEY="+secretKey)
	require.NoError(w.t, os.WriteFile(filepath.Join(d.dir, "recovery.txt"), []byte(recovery), 0o600))
	return d
}

// run runs the page's commands that begin so, each of them there; names are changed
// in pairs.
func (d *worstDay) run(beginnings []string, names ...string) string {
	d.w.t.Helper()
	var script strings.Builder
	for _, begins := range beginnings {
		found := false
		for _, command := range d.script {
			if strings.HasPrefix(command, begins) {
				script.WriteString(strings.NewReplacer(names...).Replace(d.said.Replace(command)) + "\n")
				found = true
			}
		}
		require.True(d.w.t, found, "docs/disaster.md has no command that begins with %q", begins)
	}
	command := exec.CommandContext(d.w.ctx, "bash", "-euo", "pipefail", "-c", script.String())
	command.Dir = d.dir
	command.Env = append(os.Environ(), "KUBECONFIG="+d.w.Kubeconfig, "PATH="+filepath.Join(harness.Root(d.w.t), "bin", "local")+":"+filepath.Join(harness.Root(d.w.t), "bin")+":"+os.Getenv("PATH"))
	out, err := command.CombinedOutput()
	require.NoError(d.w.t, err, "%s", out)
	return string(out)
}

// describe writes target.yaml; identity is the Secret that opens its documents.
func (d *worstDay) describe(identity string) {
	d.w.t.Helper()
	o := d.target.DeepCopy()
	o.APIVersion, o.Kind = v1alpha1.GroupVersion.String(), "BackupTarget"
	if identity != "" {
		o.Spec.Encryption = &v1alpha1.TargetEncryption{IdentitySecret: identity}
	}
	data, err := yaml.Marshal(map[string]any{"apiVersion": o.APIVersion, "kind": o.Kind, "metadata": map[string]any{"name": o.Name}, "spec": o.Spec})
	require.NoError(d.w.t, err)
	require.NoError(d.w.t, os.WriteFile(filepath.Join(d.dir, "target.yaml"), data, 0o600))
}

// begin: the target, the namespace and a look at the points, without what opens
// their Secrets.
func (d *worstDay) begin() {
	d.w.t.Helper()
	d.describe("")
	d.run([]string{"kubectl create secret generic s3-keys", "kubectl apply -f target.yaml", "kubectl wait ", "kubectl create namespace ", "hayloft get backups"})
}

// open gives what opens them.
func (d *worstDay) open() {
	d.w.t.Helper()
	d.describe("recovery")
	d.run([]string{"kubectl create secret generic recovery", "kubectl apply -f target.yaml"})
}

// restore restores a point to a new VM, and waits.
func (d *worstDay) restore(point, vm string) {
	d.w.t.Helper()
	require.Contains(d.w.t, d.run([]string{"hayloft get backups"}), point)
	d.run([]string{"hayloft restore create"}, "web-20261126-020000", point, "--new-vm web", "--new-vm "+vm)
}
