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
	for _, q := range []string{"0.5", "0.95"} {
		out = append(out, Query{
			fmt.Sprintf("histogram_quantile(%s, sum by (le, %s) (increase(%s_bucket[6h])))", q, by, histogram),
			fmt.Sprintf("{{%s}} p%s", by, q[2:]),
		})
	}
	return out
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
