package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	apiRequests = define(Metric{
		Name: "hayloft_api_requests_total", Kind: Counter, By: Coordinator, Labels: []string{"route", "method", "code"},
		Help: "Requests to the HTTP API that were answered. Those of streams count when their stream ends.",
	})
	apiDuration = define(Metric{
		Name: "hayloft_api_request_duration_seconds", Kind: Histogram, By: Coordinator, Labels: []string{"route", "method"}, Buckets: shortBuckets,
		Help: "Time until a request to the HTTP API was answered, refused ones included, streams left out.",
	})
	apiInFlight = define(Metric{
		Name: "hayloft_api_requests_in_flight", Kind: Gauge, By: Coordinator,
		Help: "Requests to the HTTP API that are being worked on, streams included.",
	})
	apiLimited = define(Metric{
		Name: "hayloft_api_limited_requests_total", Kind: Counter, By: Coordinator, Labels: []string{"limit"},
		Help: "Requests that a limit of the HTTP API turned away. Limit: caller or address (a second), requests, streams or tests (at once).",
	})
	apiStreams = define(Metric{
		Name: "hayloft_api_streams", Kind: Gauge, By: Coordinator,
		Help: "Clients that follow a point or restore over the HTTP API.",
	})
)

// apiLimits are the values of the label limit.
var apiLimits = []string{"caller", "address", "requests", "streams", "tests"}

// API is what a coordinator counts of its HTTP API.
type API struct {
	requests, limited *prometheus.CounterVec
	durations         *prometheus.HistogramVec
	inFlight, streams prometheus.Gauge
}

// NewAPI registers the metrics of the HTTP API.
func NewAPI(r prometheus.Registerer) *API {
	inFlight, streams := apiInFlight.gauge(), apiStreams.gauge()
	a := &API{
		requests: apiRequests.counter(), limited: apiLimited.counter(), durations: apiDuration.histogram(),
		inFlight: inFlight.WithLabelValues(), streams: streams.WithLabelValues(),
	}
	r.MustRegister(a.requests, a.limited, a.durations, inFlight, streams)
	for _, limit := range apiLimits {
		a.limited.WithLabelValues(limit)
	}
	return a
}

// Began counts a request until over is called.
func (a *API) Began() (over func()) { return during(a.inFlight) }

// Answered counts a request that was answered. took is zero for a stream, whose
// length says nothing.
func (a *API) Answered(route, method string, status int, took time.Duration) {
	a.requests.WithLabelValues(strconv.Itoa(status), method, route).Inc()
	if took > 0 {
		a.durations.WithLabelValues(method, route).Observe(took.Seconds())
	}
}

// Limited counts a request that a limit turned away.
func (a *API) Limited(limit string) { a.limited.WithLabelValues(limit).Inc() }

// Streaming counts a client of a stream until over is called.
func (a *API) Streaming() (over func()) { return during(a.streams) }

// during is one more until it is called.
func during(g prometheus.Gauge) (over func()) {
	g.Inc()
	return g.Dec
}
