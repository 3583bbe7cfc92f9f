// Package query checks that an expression in Prometheus' language asks for metrics
// and labels that Hayloft's programs tell. It does not parse the language: whether
// an expression is right, Prometheus itself says where it is evaluated.
package query

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"hayloft.dev/metrics"
)

var (
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'`)
	selector = regexp.MustCompile(`\b(hayloft_[a-z0-9_]*)\b\s*(\{[^}]*\})?`)
	matcher  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	variable = regexp.MustCompile(`\$\{?[a-zA-Z_]+\}?`)
	ofNative = regexp.MustCompile(`\bhistogram_[a-z]+\(`)
)

// ambient are labels that Prometheus adds to whatever it scrapes, and those of
// histograms.
var ambient = []string{"instance", "job", "le"}

// Check returns what an expression asks for that nobody tells. Metrics of the
// libraries below are taken for granted.
func Check(expr string) error {
	bare := quoted.ReplaceAllString(expr, `""`)
	bare = variable.ReplaceAllString(bare, "x")
	labels := slices.Clone(ambient)
	asked := 0
	var groups []string
	for _, g := range grouping.FindAllStringSubmatch(bare, -1) {
		for _, l := range strings.Split(g[1], ",") {
			if l = strings.TrimSpace(l); l != "" {
				groups = append(groups, l)
			}
		}
	}
	bare = grouping.ReplaceAllString(bare, "")
	native := ofNative.MatchString(bare)
	for _, s := range selector.FindAllStringSubmatch(bare, -1) {
		name, matchers := s[1], s[2]
		m, ok := find(name, native)
		if !ok {
			return fmt.Errorf("nobody tells %s", name)
		}
		asked++
		for _, l := range matcher.FindAllStringSubmatch(matchers, -1) {
			if !slices.Contains(m.Labels, l[1]) && !slices.Contains(ambient, l[1]) {
				return fmt.Errorf("%s has no label %s, only %v", m.Name, l[1], m.Labels)
			}
		}
		labels = append(labels, m.Labels...)
	}
	if asked == 0 {
		return fmt.Errorf("%q asks for none of Hayloft's metrics", expr)
	}
	for _, g := range groups {
		if !slices.Contains(labels, g) {
			return fmt.Errorf("no metric in the expression has the label %s", g)
		}
	}
	return nil
}

// find is a metric by its name, or by the name of one of a histogram's parts. A
// histogram's own name is that of the native one, of which only functions for
// histograms make numbers.
func find(name string, native bool) (metrics.Metric, bool) {
	for _, m := range metrics.Catalog() {
		if m.Name == name && (native || m.Kind != metrics.Histogram) {
			return m, true
		}
		if m.Kind != metrics.Histogram {
			continue
		}
		if part, ok := strings.CutPrefix(name, m.Name); ok && slices.Contains([]string{"_bucket", "_sum", "_count"}, part) {
			return m, true
		}
	}
	return metrics.Metric{}, false
}
