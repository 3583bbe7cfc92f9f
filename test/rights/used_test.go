package rights

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// request is one that an account has made and that was allowed, as an API server's
// audit log has it.
type request struct {
	account, verb string
	where         string // namespace; "": none
	what          string // resource[/subresource].group
	name          string // "": none, or not known yet
}

// TestRightsAreUsed compares docs/rights.md with what the accounts have asked for:
// each test that is named there has made a request that its right is for. It needs
// what these tests leave with HAYLOFT_AUDIT; `make rights` runs them.
func TestRightsAreUsed(t *testing.T) {
	folder := os.Getenv("HAYLOFT_AUDIT")
	if folder == "" {
		t.Skip("HAYLOFT_AUDIT names no folder of audit logs: `make rights` makes one")
	}
	asked := map[string][]request{} // test -> its requests
	var all []request
	files, err := filepath.Glob(filepath.Join(folder, "*.log"))
	require.NoError(t, err)
	for _, file := range files {
		test, _, _ := strings.Cut(filepath.Base(file), ".")
		requests := readAudit(t, file)
		asked[test] = append(asked[test], requests...)
		all = append(all, requests...)
	}
	require.NotEmpty(t, all, "%s holds no requests", folder)
	programs := testsOf(t, "../e2e")
	for account := range needed {
		rights := rightsOf(t, account)
		for _, r := range rights {
			by := needed[account][r.key()]
			if !programs[by] {
				continue // asks in place of the programs, or runs a part of one
			}
			if len(asked[by]) == 0 {
				t.Errorf("%s has left no log: is it skipped here?", by)
			} else if unused := r.unused(account, rights, asked[by]); len(unused) == len(r.grants()) {
				t.Errorf("%s did without %q of %s, whatever docs/rights.md says", by, r.key(), account)
			}
			if unused := r.unused(account, rights, all); len(unused) > 0 {
				t.Logf("nobody has asked for this of %s: %s", account, strings.Join(unused, "; "))
			}
		}
	}
}

// grants are what a right allows, each a verb and a kind.
func (r right) grants() (all []string) {
	for _, what := range strings.Split(r.what, ", ") {
		for _, verb := range strings.Split(r.verbs, ", ") {
			all = append(all, verb+" "+what)
		}
	}
	return all
}

// allows: the right is for such a request of an account that has it.
func (r right) allows(q request) bool {
	return slices.Contains(r.grants(), q.verb+" "+q.what) &&
		(r.where == "everywhere" || r.where == q.where) &&
		(r.only == "" || slices.Contains(strings.Split(r.only, ", "), q.name))
}

// unused are the grants of a right that none of these requests of an account needed.
// What the account may do in one namespace alone needs no right for everywhere.
func (r right) unused(account string, rights []right, asked []request) []string {
	return slices.DeleteFunc(r.grants(), func(grant string) bool {
		return slices.ContainsFunc(asked, func(q request) bool {
			return q.account == account && q.verb+" "+q.what == grant && r.allows(q) &&
				(r.where != "everywhere" || !slices.ContainsFunc(rights, func(o right) bool { return o.where == q.where && o.allows(q) }))
		})
	})
}

// readAudit reads a log; a server that was killed may have left its last line half.
func readAudit(t *testing.T, file string) (all []request) {
	t.Helper()
	data, err := os.Open(file)
	require.NoError(t, err)
	defer data.Close()
	lines := bufio.NewScanner(data)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if q, ok := parseAudit(lines.Bytes()); ok && !slices.Contains(all, q) {
			all = append(all, q)
		}
	}
	require.NoError(t, lines.Err(), file)
	return all
}

// parseAudit is the request of an audit.k8s.io/v1 Event; false when it was none of
// an account's own, was refused, or is about no object.
func parseAudit(line []byte) (request, bool) {
	var e struct {
		Verb string
		User struct{ Username string }
		// ImpersonatedUser is who a coordinator asked for, whose rights count then.
		ImpersonatedUser *struct{}
		ObjectRef        *struct{ Resource, Subresource, APIGroup, Namespace, Name string }
		ResponseStatus   struct{ Code int }
	}
	if err := json.Unmarshal(line, &e); err != nil || e.ObjectRef == nil || e.ImpersonatedUser != nil || e.ResponseStatus.Code == 403 {
		return request{}, false
	}
	account, ok := strings.CutPrefix(e.User.Username, "system:serviceaccount:hayloft-system:")
	o := e.ObjectRef
	what := o.Resource
	if o.Subresource != "" {
		what += "/" + o.Subresource
	}
	if o.APIGroup != "" {
		what += "." + o.APIGroup
	}
	return request{account, e.Verb, o.Namespace, what, o.Name}, ok
}

func TestUnused(t *testing.T) {
	event := func(text string) request {
		q, ok := parseAudit([]byte(text))
		require.True(t, ok, text)
		return q
	}
	claims := right{"everywhere", "persistentvolumeclaims, persistentvolumes", "", "get, create", ""}
	config := right{"hayloft-system", "secrets", "webhook, api", "get, update", ""}
	status := right{"hayloft-system", "nodejobs/status.hayloft.dev", "", "update", ""}
	asked := []request{
		event(`{"verb":"get","user":{"username":"system:serviceaccount:hayloft-system:a"},"objectRef":{"resource":"persistentvolumeclaims","namespace":"shop","name":"c"},"responseStatus":{"code":404}}`),
		event(`{"verb":"create","user":{"username":"system:serviceaccount:hayloft-system:a"},"objectRef":{"resource":"persistentvolumes"},"responseStatus":{"code":201}}`),
		event(`{"verb":"get","user":{"username":"system:serviceaccount:hayloft-system:a"},"objectRef":{"resource":"secrets","namespace":"hayloft-system","name":"api"}}`),
		event(`{"verb":"update","user":{"username":"system:serviceaccount:hayloft-system:a"},"objectRef":{"resource":"secrets","namespace":"hayloft-system","name":"other"}}`),
		event(`{"verb":"update","user":{"username":"system:serviceaccount:hayloft-system:a"},"objectRef":{"resource":"nodejobs","subresource":"status","apiGroup":"hayloft.dev","namespace":"hayloft-system","name":"j"}}`),
	}
	require.Equal(t, []string{"create persistentvolumeclaims", "get persistentvolumes"}, claims.unused("a", nil, asked))
	require.Equal(t, []string{"update secrets"}, config.unused("a", nil, asked))
	require.Empty(t, status.unused("a", nil, asked))
	require.Len(t, claims.unused("a", []right{{"shop", "persistentvolumeclaims", "", "get", ""}}, asked), 3, "the account may do that in the one namespace anyway")
	require.Len(t, status.unused("b", nil, asked), 1, "another account's requests")
	for _, other := range []string{
		`{"verb":"get","user":{"username":"system:serviceaccount:hayloft-system:a"},"objectRef":{"resource":"secrets"},"responseStatus":{"code":403}}`,
		`{"verb":"get","user":{"username":"system:serviceaccount:hayloft-system:a"},"impersonatedUser":{"username":"bob"},"objectRef":{"resource":"secrets"}}`,
		`{"verb":"get","user":{"username":"system:serviceaccount:hayloft-system:a"}}`,
		`{"verb":"get","user":{"username":"admin"},"objectRef":{"resource":"secrets"}}`,
		`{"verb":"get","user`,
	} {
		_, ok := parseAudit([]byte(other))
		require.False(t, ok, other)
	}
}
