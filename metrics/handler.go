package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

// Handler serves /metrics. Nothing is compressed: for a fleet that would cost more
// CPU than all the rest, to save some megabytes within the cluster.
//
// Prometheus asks for the text format, or for the protobuf format to get native
// histograms. What was read from objects is written here in either; the few other
// formats are left to the library.
func (g *Gatherer) Handler() http.Handler {
	library := promhttp.HandlerFor(g, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError, DisableCompression: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		format := expfmt.Negotiate(r.Header)
		write := (*Samples).writeText
		switch format.FormatType() {
		case expfmt.TypeTextPlain:
		case expfmt.TypeProtoDelim:
			write = (*Samples).writeWire
		default:
			library.ServeHTTP(w, r)
			return
		}
		counted, err := g.counted()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		read := g.read()
		w.Header().Set("Content-Type", string(format))
		encoder := expfmt.NewEncoder(w, format)
		for _, f := range counted {
			if encoder.Encode(f) != nil {
				return // whoever asked is gone
			}
		}
		b := make([]byte, 0, 2*chunk)
		for _, m := range read.metrics() {
			if b, err = write(read, w, b, m); err != nil {
				return // as above
			}
		}
		_, _ = w.Write(b) // as above
	})
}
