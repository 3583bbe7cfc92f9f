package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

// Handler serves /metrics. Nothing is compressed: for a fleet that would cost more
// CPU than all the rest, to save some megabytes within the cluster.
//
// Who asks for the protobuf format, to get native histograms, is answered by the
// library; the text format, which Prometheus asks for otherwise, is written here.
func (g *Gatherer) Handler() http.Handler {
	library := promhttp.HandlerFor(g, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError, DisableCompression: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		format := expfmt.Negotiate(r.Header)
		if format.FormatType() != expfmt.TypeTextPlain {
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
		text := make([]byte, 0, 2*chunk)
		for _, m := range read.metrics() {
			if text, err = read.writeText(w, text, m); err != nil {
				return // as above
			}
		}
		_, _ = w.Write(text) // as above
	})
}
