package dashboards

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	tables "github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// source is the data source that is chosen at the top.
func source() common.DataSourceRef {
	kind, uid := "prometheus", "${datasource}"
	return common.DataSourceRef{Type: &kind, Uid: &uid}
}

func (v Variable) build() cog.Builder[dashboard.VariableModel] {
	b := dashboard.NewQueryVariableBuilder(v.Name).
		Label(v.Label).
		Datasource(source()).
		Query(dashboard.StringOrMap{String: &v.Query}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc)
	if v.Several {
		b.Multi(true).IncludeAll(true).AllValue(".*").Current(dashboard.VariableOption{
			Text: dashboard.StringOrArrayOfString{String: cog.ToPtr("All")}, Value: dashboard.StringOrArrayOfString{String: cog.ToPtr("$__all")},
		})
	}
	return b
}

func (p Panel) build() cog.Builder[dashboard.Panel] {
	switch p.Shape {
	case Number:
		b := stat.NewPanelBuilder().Title(p.Title).Description(p.What).Datasource(source()).Unit(p.Unit).Span(4).Height(4).
			ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
		for _, q := range p.queries() {
			b.WithTarget(q.Instant())
		}
		return b
	case Table:
		b := tables.NewPanelBuilder().Title(p.Title).Description(p.What).Datasource(source()).Unit(p.Unit).Span(12).Height(9).
			Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{})). // its default is not valid by its own schema
			WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{"excludeByName": map[string]bool{"Time": true}}})
		for _, q := range p.queries() {
			b.WithTarget(q.Instant().Format(prometheus.PromQueryFormatTable))
		}
		return b
	}
	b := timeseries.NewPanelBuilder().Title(p.Title).Description(p.What).Datasource(source()).Unit(p.Unit).Span(8).Height(8).
		Min(0).FillOpacity(10).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	for _, q := range p.queries() {
		b.WithTarget(q.Range())
	}
	return b
}

func (p Panel) queries() []*prometheus.DataqueryBuilder {
	var out []*prometheus.DataqueryBuilder
	for i, q := range p.Queries {
		b := prometheus.NewDataqueryBuilder().Expr(strings.TrimSpace(q.Expr)).RefId(string(rune('A' + i)))
		if q.Legend != "" {
			b.LegendFormat(q.Legend)
		}
		out = append(out, b)
	}
	return out
}
