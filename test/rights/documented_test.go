package rights

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"hayloft.dev/deploy"
)

// document is written anew by
//
//	HAYLOFT_WRITE=1 go test -run TestRightsAreDocumented ./test/rights
const document = "docs/rights.md"

const heading = `# What Hayloft's accounts may do

Made from deploy/rbac by a test that compares them; it is what ` + "`kubectl auth can-i --list --as system:serviceaccount:hayloft-system:ACCOUNT`" + ` shows in each namespace, less what every account may do (TestRightsAreListed asks the API server).
The policies of deploy/policies narrow it: an agent writes the status of its own node's jobs, its own sessions' Leases and its own tickets, and nothing else of these.
The last columns are the file of deploy/rbac, and a test (of test/e2e, coordinator/control, coordinator/targetwork or agent/attach) that fails without the right (` + "`make rights`" + ` compares that with what the programs ask for); the chart leaves out api.yaml and heal.yaml unless its values ask for what needs them.
`

// TestRightsAreDocumented compares docs/rights.md with the roles.
func TestRightsAreDocumented(t *testing.T) {
	var out strings.Builder
	out.WriteString(heading)
	for _, account := range []string{"hayloft-agent", "hayloft-coordinator"} {
		fmt.Fprintf(&out, "\n## %s\n\n| where | what | only | verbs | role | needed by |\n| --- | --- | --- | --- | --- | --- |\n", account)
		for _, r := range rightsOf(t, account) {
			fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s |\n", r.where, r.what, r.only, r.verbs, r.file, needed[account][r.key()])
		}
	}
	path := filepath.Join("..", "..", document)
	if os.Getenv("HAYLOFT_WRITE") != "" {
		require.NoError(t, os.WriteFile(path, []byte(out.String()), 0o644))
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, out.String(), string(have), "write it anew: HAYLOFT_WRITE=1 go test -run TestRightsAreDocumented ./test/rights")
}

// right is a rule of a role that an account has.
type right struct{ where, what, only, verbs, file string }

func (r right) key() string { return r.where + " " + r.what + " " + r.only }

// rightsOf are an account's rights, in the order of the files.
func rightsOf(t *testing.T, account string) (all []right) {
	t.Helper()
	files, err := deploy.Manifests.ReadDir("rbac")
	require.NoError(t, err)
	for _, file := range files {
		data, err := deploy.Manifests.ReadFile("rbac/" + file.Name())
		require.NoError(t, err)
		rules, bound := map[string][]rbacv1.PolicyRule{}, []string{}
		for _, part := range strings.Split(string(data), "\n---\n") {
			var o struct {
				rbacv1.RoleBinding
				Rules []rbacv1.PolicyRule `json:"rules"`
			}
			require.NoError(t, yaml.Unmarshal([]byte(part), &o), file.Name())
			key := strings.TrimSuffix(o.Kind, "Binding") + " " + o.Namespace + "/" + o.Name
			switch o.Kind {
			case "Role", "ClusterRole":
				rules[key] = o.Rules
			case "RoleBinding", "ClusterRoleBinding":
				if slices.ContainsFunc(o.Subjects, func(s rbacv1.Subject) bool { return s.Kind == "ServiceAccount" && s.Name == account }) {
					bound = append(bound, key)
				}
			}
		}
		for _, key := range bound {
			kind, name, _ := strings.Cut(key, " ")
			namespace, _, _ := strings.Cut(name, "/")
			if kind == "ClusterRole" {
				namespace = "everywhere"
			}
			require.NotEmpty(t, rules[key], "%s is bound in another file than it is in", key)
			for _, r := range rules[key] {
				var what []string
				for _, resource := range r.Resources {
					what = append(what, strings.TrimSuffix(resource+"."+r.APIGroups[0], "."))
				}
				all = append(all, right{namespace, strings.Join(what, ", "), strings.Join(r.ResourceNames, ", "), strings.Join(r.Verbs, ", "), file.Name()})
			}
		}
	}
	return all
}
