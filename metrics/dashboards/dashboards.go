// Package dashboards makes Hayloft's Grafana dashboards: what they show is written
// down here as titles and queries, and built with Grafana's own types. The JSON
// beside it is what is shipped; `make generate` writes it.
//
// Queries go over all coordinators: only the one that leads tells about objects,
// and another one may lead at any moment of a graph.
package dashboards

//lint:file-ignore SA1019 the second schema is loaded by the newest Grafana only, this one by all in use

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Dashboard is one page.
type Dashboard struct {
	// Name is the file's, and the last part of the UID.
	Name        string
	Title       string
	Description string
	// Variables besides the data source.
	Variables []Variable
	Rows      []Row
}

// Variable is something to choose at the top of a page.
type Variable struct {
	Name, Label string
	// Query lists the choices.
	Query string
	// Several may be chosen at once, or all.
	Several bool
}

// Row is a line of panels under one heading.
type Row struct {
	Title  string
	Panels []Panel
}

// Shape is how a panel shows its data.
type Shape int

// The shapes of panels.
const (
	Graph  Shape = iota // lines over time
	Number              // the latest value, large
	Table               // the latest values, one line each
)

// Panel is one picture.
type Panel struct {
	Title string
	// What says what it shows and when to worry.
	What    string
	Shape   Shape
	Unit    string // as Grafana names it
	Queries []Query
}

// Query is an expression, and how what it returns is called in a legend.
type Query struct{ Expr, Legend string }

// Units, as Grafana names them.
const (
	seconds   = "s"
	inBytes   = "bytes"
	byteRate  = "Bps"
	share     = "percentunit"
	count     = "short"
	perSecond = "cps"
)

// All are the dashboards.
func All() []Dashboard {
	return []Dashboard{fleet(), oneVM(), targets(), agents()}
}

func graph(title, what, unit string, queries ...Query) Panel {
	return Panel{Title: title, What: what, Shape: Graph, Unit: unit, Queries: queries}
}

func number(title, what, unit, expr string) Panel {
	return Panel{Title: title, What: what, Shape: Number, Unit: unit, Queries: []Query{{expr, ""}}}
}

func table(title, what, unit, expr string) Panel {
	return Panel{Title: title, What: what, Shape: Table, Unit: unit, Queries: []Query{{expr, ""}}}
}

// percentiles of a histogram over six hours: backups are rare events.
func percentiles(histogram, by string) []Query {
	var out []Query
	for _, q := range []struct{ share, legend string }{{"0.5", "p50"}, {"0.95", "p95"}} {
		if by != "" {
			q.legend = fmt.Sprintf("{{%s}} %s", by, q.legend)
		}
		out = append(out, Query{quantile(q.share, histogram, "increase(%s[6h])", by), q.legend})
	}
	return out
}

// quantile of a histogram, for each value of a label ("": of all); change makes an
// expression of its series. A Prometheus that takes native histograms has no classic
// buckets of the same name, unless it was told to take both.
func quantile(q, histogram, change, by string) string {
	group := ""
	if by != "" {
		group = fmt.Sprintf(" by (%s)", by)
	}
	return fmt.Sprintf("histogram_quantile(%[1]s, sum by (%[2]s) (%[3]s)) or histogram_quantile(%[1]s, sum%[4]s (%[5]s))",
		q, strings.TrimSuffix("le, "+by, ", "), fmt.Sprintf(change, histogram+"_bucket"), group, fmt.Sprintf(change, histogram))
}

// observed is how many observations a histogram took within an hour, for each value
// of a label, of those with the labels that a selector asks for.
func observed(histogram, selector, by string) string {
	return fmt.Sprintf("sum by (%[3]s) (increase(%[1]s_count%[2]s[1h])) or sum by (%[3]s) (histogram_count(increase(%[1]s%[2]s[1h])))", histogram, selector, by)
}

// Build makes Grafana's object of it.
func (d Dashboard) Build() (dashboard.Dashboard, error) {
	b := dashboard.NewDashboardBuilder("Hayloft / "+d.Title).
		Uid("hayloft-"+d.Name).
		Description(d.Description).
		Tags([]string{"hayloft"}).
		Time("now-24h", "now").
		Refresh("1m").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus"))
	for _, v := range d.Variables {
		b.WithVariable(v.build())
	}
	for _, r := range d.Rows {
		b.WithRow(dashboard.NewRowBuilder(r.Title))
		for _, p := range r.Panels {
			b.WithPanel(p.build())
		}
	}
	built, err := b.Build()
	if err != nil {
		return built, fmt.Errorf("building dashboard %s: %w", d.Name, err)
	}
	if err := built.Validate(); err != nil {
		return built, fmt.Errorf("dashboard %s: %w", d.Name, err)
	}
	return built, nil
}
