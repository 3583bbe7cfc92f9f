package metrics

import (
	"fmt"
	"strings"
)

// tellers in the order of the document, each with what it is.
var tellers = []struct {
	by    Teller
	title string
}{
	{Leader, "Told by the coordinator that leads, from the API objects"},
	{Coordinator, "Told by every coordinator, of its own work"},
	{Agent, "Told by every agent, of its own work"},
}

// Document is docs/metrics.md, made of the catalog.
func Document() string {
	var b strings.Builder
	b.WriteString(documentHead)
	for _, t := range tellers {
		fmt.Fprintf(&b, "\n## %s\n\n| metric | type | unit | labels | what it tells |\n| --- | --- | --- | --- | --- |\n", t.title)
		for _, m := range Catalog() {
			if m.By == t.by {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Name, m.Kind, m.Unit(), strings.Join(m.Labels, ", "), m.Help)
			}
		}
	}
	b.WriteString("\n## Labels\n\n| label | what bounds the number of its values |\n| --- | --- |\n")
	for _, l := range Labels() {
		fmt.Fprintf(&b, "| %s | %s |\n", l.Name, l.Bound)
	}
	return b.String()
}

const documentHead = `# Metrics

Made by ` + "`make generate`" + ` of the catalog in package metrics; do not edit.

Coordinators serve /metrics on ` + "`--listen`" + ` (9480), agents on ` + "`--metrics-address`" + ` (9490). What describes objects is read from the leader's caches when it is scraped: right after a restart, and gone with its object. Sum or join it over all coordinators, since only one of them has it; ` + "`max by (...)`" + ` also survives the moment in which Prometheus still has the former leader's.
Moments are told, not ages: ` + "`time() - hayloft_vm_last_good_point_timestamp_seconds`" + ` is right however long ago the scrape was. Histograms have classic buckets, and native ones for a Prometheus that scrapes those; dashboards and alerts ask for either.
Beside these there are the Go runtime's (go_, process_), controller-runtime's (controller_runtime_, workqueue_) and client-go's (rest_client_).
`
