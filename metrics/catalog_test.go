package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCatalogFollowsTheRules(t *testing.T) {
	used := map[string]bool{}
	seen := map[string]bool{}
	for _, m := range Catalog() {
		require.False(t, seen[m.Name], "%s is defined twice", m.Name)
		seen[m.Name] = true
		require.Regexp(t, `^hayloft_[a-z0-9_]+[a-z0-9]$`, m.Name)
		require.Regexp(t, regexp.MustCompile(`(?s)^[1A-Z].*\.$`), m.Help, "%s: help is made of sentences", m.Name)
		require.NotRegexp(t, `[\\\n|]`, m.Help, "%s: help is written as it is", m.Name)
		require.Equal(t, m.Kind == Counter, regexp.MustCompile(`_total$`).MatchString(m.Name), "%s: _total is for counters", m.Name)
		require.Equal(t, m.Kind == Histogram, len(m.Buckets) > 0, "%s: buckets", m.Name)
		require.True(t, slices.IsSorted(m.Buckets), m.Name)
		require.Equal(t, m.By == Agent, strings.HasPrefix(m.Name, "hayloft_agent_"), "%s: who tells it", m.Name)
		for _, l := range m.Labels {
			require.Contains(t, bounds, l, "%s: what bounds its label?", m.Name)
			used[l] = true
		}
	}
	for l := range bounds {
		require.True(t, used[l], "no metric has the label %s", l)
	}
}

func TestDocument(t *testing.T) {
	written, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	require.Equal(t, Document(), string(written), "run make generate")
}
