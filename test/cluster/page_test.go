package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hayloft.dev/test/harness"
)

// pages are those of docs/ whose commands this test runs, as they stand there but for names and keys. A block of commands
// is known by how it begins.
var pages = map[string][]string{
	"install.md": {
		"make images", // by `make e2e`, before
		"ctr ", "kubectl create namespace", "make manifests", "helm install", "kubectl create secret", "hayloft uninstall",
	},
	"upgrade.md": {"helm upgrade", "hayloft upgrade check", "helm rollback"},
	"pause.md": {
		"kubectl label namespace",
		"pauser ", "spec:", // flags and annotations, which TestQuiesce of test/e2e gives
	},
}

// TestPages: this test knows what each block of commands is for.
func TestPages(t *testing.T) {
	for name, known := range pages {
		blocks := blocksOf(t, name)
		require.Len(t, blocks, len(known), "docs/%s: blocks of commands", name)
		for _, begins := range known {
			block(t, name, begins)
		}
	}
}

// blocksOf are the indented blocks of a page.
func blocksOf(t *testing.T, page string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", page))
	require.NoError(t, err)
	inside := false
	for line := range strings.Lines(string(text)) {
		command, is := strings.CutPrefix(line, "    ")
		switch {
		case is && inside:
			blocks[len(blocks)-1] += command
		case is:
			blocks = append(blocks, command)
		}
		inside = is
	}
	return blocks
}

// block is the one of a page that begins so.
func block(t *testing.T, page, begins string) string {
	t.Helper()
	var found []string
	for _, b := range blocksOf(t, page) {
		if strings.HasPrefix(b, begins) {
			found = append(found, b)
		}
	}
	require.Len(t, found, 1, "docs/%s: blocks that begin with %q", page, begins)
	return found[0]
}

// follow runs a block of a page's commands, with the admin's kubeconfig, in the repository as a user would. changes are
// pairs: what the page says, and what is said here in its place.
func (k *cluster) follow(t *testing.T, page, begins string, changes ...string) string {
	t.Helper()
	script := block(t, page, begins)
	for i := 0; i < len(changes); i += 2 {
		require.Contains(t, script, changes[i], "docs/%s", page)
	}
	script = strings.NewReplacer(changes...).Replace(script)
	ctx, cancel := context.WithTimeout(t.Context(), commandFor)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = harness.Root(t)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+k.Kubeconfig, "PATH="+strings.Join([]string{
		filepath.Dir(bin(t, "cluster/helm")), filepath.Dir(bin(t, "local/kubectl")), filepath.Dir(bin(t, "hayloft")), os.Getenv("PATH"),
	}, ":"))
	for _, what := range []string{"CACHE", "CONFIG", "DATA"} {
		cmd.Env = append(cmd.Env, fmt.Sprintf("HELM_%s_HOME=%s", what, filepath.Join(k.Dir, "helm")))
	}
	defer sayLong(t, time.Now(), page+": "+begins)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "docs/%s:\n%s\n%s", page, script, out)
	return string(out)
}

// values writes a file of values for the chart, with the images' tag.
func (k *cluster) values(t *testing.T, tag string) string {
	t.Helper()
	path := filepath.Join(k.Dir, "values-"+tag+".yaml")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "image: {tag: %q}\n", tag), 0o600))
	return path
}
