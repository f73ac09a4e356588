package backend

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/egress"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// metrics is what the mount counts for Prometheus, on this node and since this process began. Labels are providers and
// webhooks, as the operator configured them, and words of the engine's own: never an owner, nor the name of a
// connection.
type metrics struct {
	b        *backend
	registry *prometheus.Registry

	served, refused, failed, elsewhere prometheus.Counter // looked up once: to count a read is one atomic addition

	refreshes *prometheus.CounterVec
	calls     *prometheus.HistogramVec

	counting chan struct{} // holds a token during a count, so that there is one at a time
	last     atomic.Pointer[snapshot]
}

// snapshot is what takes the whole mount to count.
type snapshot struct {
	at          time.Time
	counted     counted
	openFlows   int
	definitions map[string]string // by provider
	background  tasks.Report
	whole       bool // storage gave what was to be counted
}

// countFor is how long a count answers: who asks each second costs no more than who asks four times a minute.
const countFor = 15 * time.Second

// prefix begins the names of all metrics.
const prefix = "connectors_"

func newMetrics(b *backend) *metrics {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "reads_total", Help: "Reads of credentials, by outcome: served, refused (4xx), failed (5xx), or " +
			"elsewhere (passed on to the node that may write).",
	}, []string{"outcome"})
	m := &metrics{
		b: b, registry: prometheus.NewRegistry(), counting: make(chan struct{}, 1),
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "refreshes_total", Help: "Requests for a new token, by provider and outcome: succeeded, " +
				"not_sent, or the class of the failure.",
		}, []string{"provider", "outcome"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "provider_call_seconds", Help: "How long providers took to answer a request of any kind, by " +
				"provider and outcome: 2xx to 5xx, or error.",
			Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30},
		}, []string{"provider", "outcome"}),
	}
	m.served, m.refused = reads.WithLabelValues("served"), reads.WithLabelValues("refused")
	m.failed, m.elsewhere = reads.WithLabelValues("failed"), reads.WithLabelValues("elsewhere")
	m.registry.MustRegister(reads, m.refreshes, m.calls, m)
	for class, count := range map[string]func() uint64{
		"full":    func() uint64 { return b.uses.dropped.Load() },
		"standby": func() uint64 { return b.uses.unseen.Load() },
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: prefix + "use_dropped_total", Help: "Reads of credentials of which nobody noted by whom, by class: full " +
				"(too many came at once), standby (this node may not write).",
			ConstLabels: prometheus.Labels{"class": class},
		}, func() float64 { return float64(count()) }))
	}
	return m
}

// countReads counts what a handler answers.
func (m *metrics) countReads(next framework.OperationFunc) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		resp, err := next(ctx, req, d)
		var coded logical.HTTPCodedError
		switch {
		case err == nil:
			m.served.Inc()
		case errors.Is(err, logical.ErrReadOnly):
			m.elsewhere.Inc()
		case errors.Is(err, logical.ErrInvalidRequest),
			errors.As(err, &coded) && coded.Code() < http.StatusInternalServerError:
			m.refused.Inc()
		default:
			m.failed.Inc()
		}
		return resp, err
	}
}

// refreshed counts what came of a request for a new token.
func (m *metrics) refreshed(provider string, err error) {
	outcome := "succeeded"
	var call *providers.Error
	switch {
	case err == nil:
	case errors.As(err, &call) && !call.NotSent():
		outcome = string(call.Class)
	default:
		outcome = "not_sent"
	}
	m.refreshes.WithLabelValues(provider, outcome).Inc()
}

// forget drops what was counted of a provider that is gone, or names that come and go would pile up.
func (m *metrics) forget(provider string) {
	of := prometheus.Labels{"provider": provider}
	m.refreshes.DeletePartialMatch(of)
	m.calls.DeletePartialMatch(of)
}

// timed is a transport that is timed for a provider.
type timed struct {
	http.RoundTripper
	calls prometheus.ObserverVec
}

// timedWire is a wire that is timed for a provider.
type timedWire struct {
	*egress.Wire
	calls prometheus.ObserverVec
}

func (m *metrics) timed(provider string, client *http.Client) {
	client.Transport = timed{client.Transport, m.calls.MustCurryWith(prometheus.Labels{"provider": provider})}
}

// RoundTrip implements [http.RoundTripper].
func (t timed) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := t.RoundTripper.RoundTrip(r)
	outcome := "error"
	if err == nil {
		outcome = strconv.Itoa(resp.StatusCode/100) + "xx"
	}
	t.calls.WithLabelValues(outcome).Observe(time.Since(began).Seconds())
	return resp, err
}

// wired counts the connections to servers of a provider's keys that do not speak HTTP.
func (m *metrics) wired(provider string, wire *egress.Wire) providers.Wire {
	return timedWire{wire, m.calls.MustCurryWith(prometheus.Labels{"provider": provider})}
}

// Dial implements [providers.Wire].
func (t timedWire) Dial(ctx context.Context, host, port string, ports []string, plain bool) (net.Conn, error) {
	began := time.Now()
	conn, err := t.Wire.Dial(ctx, host, port, ports, plain)
	outcome := "connected"
	if err != nil {
		outcome = "error"
	}
	t.calls.WithLabelValues(outcome).Observe(time.Since(began).Seconds())
	return conn, err
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] looks for.
func (t timed) CloseIdleConnections() {
	if c, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// fresh makes sure that there is a count which is not too old. Who comes while one is made waits for it.
func (m *metrics) fresh(ctx context.Context) error {
	select {
	case m.counting <- struct{}{}:
		defer func() { <-m.counting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s := m.last.Load(); s != nil {
		if age := m.b.now().Sub(s.at); age >= 0 && age < countFor {
			return nil
		}
	}
	s := &snapshot{at: m.b.now(), definitions: map[string]string{}}
	err := m.count(ctx, s)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.whole = err == nil; err != nil {
		m.b.Logger().Debug("the connections could not be counted", "error", err)
	}
	s.background = m.b.tasks.Report()
	m.last.Store(s)
	return nil
}

func (m *metrics) count(ctx context.Context, s *snapshot) error {
	states, err := m.b.readProviders(ctx, func(p *configured) { s.definitions[p.name] = p.app.Definition.ID })
	if err != nil {
		return err
	}
	if s.counted, err = m.b.countConnections(ctx, states); err != nil {
		return err
	}
	s.openFlows, err = m.b.openFlows(ctx)
	return err
}

// gauge is a metric that tells how something is now.
type gauge struct {
	name, help string
	labels     []string
	counts     bool // it is of the count, so it is left out where that failed
	// tell sends what it is, for each set of labels
	tell func(m *metrics, s *snapshot, send func(value float64, labels ...string))
}

// one is a gauge without labels.
func one(value func(*metrics, *snapshot) float64) func(*metrics, *snapshot, func(float64, ...string)) {
	return func(m *metrics, s *snapshot, send func(float64, ...string)) { send(value(m, s)) }
}

// of is a gauge of the count without labels.
func of(value func(*snapshot) int) func(*metrics, *snapshot, func(float64, ...string)) {
	return one(func(_ *metrics, s *snapshot) float64 { return float64(value(s)) })
}

// ofWebhooks is a gauge of each webhook that this node sends for.
func ofWebhooks(name, help string, value func(webhookReport) float64) gauge {
	return gauge{name, help, []string{"webhook"}, false, func(m *metrics, _ *snapshot, send func(float64, ...string)) {
		for webhook, r := range m.b.webhooks.report() {
			send(value(r), webhook)
		}
	}}
}

// gauges are all of them. Those of the count are at most countFor old.
var gauges = []gauge{
	{"connections", "Connections by status, which is the class.", []string{"class"}, true, func(
		_ *metrics, s *snapshot, send func(float64, ...string),
	) {
		for _, status := range slices.Sorted(maps.Keys(s.counted.byStatus)) {
			send(float64(s.counted.byStatus[status]), status)
		}
	}},
	{"provider_connections", "Connections by provider and its definition; empty where the provider is gone.", []string{
		"provider", "definition",
	}, true, func(_ *metrics, s *snapshot, send func(float64, ...string)) {
		for provider := range s.definitions {
			send(float64(s.counted.byProvider[provider]), provider, s.definitions[provider])
		}
		for provider, n := range s.counted.byProvider {
			if _, there := s.definitions[provider]; !there {
				send(float64(n), provider, "")
			}
		}
	}},
	{
		"unreadable", "Connections and providers whose entries cannot be read or decoded.", nil, true,
		of(func(s *snapshot) int { return s.counted.unreadable }),
	},
	{
		"retrying", "Connections whose last refresh failed.", nil, true,
		of(func(s *snapshot) int { return s.counted.retrying }),
	},
	{
		"reconnect_soon", "Connections that serve and whose consent runs out within two weeks.", nil, true,
		of(func(s *snapshot) int { return s.counted.soon }),
	},
	{
		"scope_drift", "Connections whose granted scopes drifted from what their provider asks for.", nil, true,
		of(func(s *snapshot) int { return s.counted.drifting }),
	},
	{"rotation_due", "Credentials to be replaced by now, by class: keys of connections, secrets of apps.", []string{
		"class",
	}, true, func(_ *metrics, s *snapshot, send func(float64, ...string)) {
		send(float64(s.counted.keysDue), "keys")
		send(float64(s.counted.secretsDue), "apps")
	}},
	{
		"frozen_connections", "Connections that are not served because an operator froze something.", nil, true,
		of(func(s *snapshot) int { return s.counted.frozen }),
	},
	{"frozen_limits", "Of those, the ones whose limit has passed or will soon, by class, as status says.", []string{
		"class",
	}, true, func(_ *metrics, s *snapshot, send func(float64, ...string)) {
		for i, limit := range frozenLimits {
			send(float64(s.counted.limits[i]), limit.name)
		}
	}},
	{"open_flows", "Flows that are open.", nil, true, of(func(s *snapshot) int { return s.openFlows })},
	{"counted", "1, or 0 where storage did not give what is to be counted: then the counts are left out.", nil, false, one(
		func(_ *metrics, s *snapshot) float64 { return oneIf(s.whole) },
	)},
	{"tasks", "What falls due by itself, by class: scheduled, due, overdue (for more than a minute), running.", []string{
		"class",
	}, false, func(_ *metrics, s *snapshot, send func(float64, ...string)) {
		send(float64(s.background.Scheduled), "scheduled")
		send(float64(s.background.Due), "due")
		send(float64(s.background.Overdue), "overdue")
		send(float64(s.background.Running), "running")
	}},
	{"due_lag_seconds", "For how long the first of what is due has been due.", nil, false, one(
		func(_ *metrics, s *snapshot) float64 { return s.background.Lag.Seconds() },
	)},
	{"refreshes_in_flight", "Refreshes under way, those that wait for their provider too.", nil, false, one(
		func(m *metrics, _ *snapshot) float64 { return float64(m.b.refresher.InFlight()) },
	)},
	{"calls", "Calls to providers, by class: inside, waiting for a place.", []string{"class"}, false, func(
		m *metrics, _ *snapshot, send func(float64, ...string),
	) {
		doors := m.b.gate.Report()
		send(float64(doors.Inside), "inside")
		send(float64(doors.Waiting), "waiting")
	}},
	{"circuits", "1 for each provider that is left alone, by class: limited, open, refused.", []string{
		"provider", "class",
	}, false, func(m *metrics, _ *snapshot, send func(float64, ...string)) {
		seen := map[[2]string]bool{}
		for key, unwell := range m.b.gate.Report().Unwell {
			provider, _, _ := strings.Cut(key, " ") // its discovery document, and hosts of keys, are part of it
			seen[[2]string{provider, string(unwell.State)}] = true
		}
		for labels := range seen {
			send(1, labels[:]...)
		}
	}},
	{"unsaved", "Connections whose newest state lives in memory only, because storage refuses it.", nil, false, one(
		func(m *metrics, _ *snapshot) float64 { return float64(m.b.connections.Unsaved()) },
	)},
	{"doubtful_writes", "Connections of which a write failed within the last minute and may still land.", nil, false, one(
		func(m *metrics, _ *snapshot) float64 { return float64(m.b.connections.Doubtful()) },
	)},
	ofWebhooks("webhook_pending_seconds", "For how long the first notice that waits has waited, by webhook.",
		func(r webhookReport) float64 { return r.pending.Seconds() }),
	ofWebhooks("webhook_failures", "Failures in a row, by webhook.",
		func(r webhookReport) float64 { return float64(r.failures) }),
	ofWebhooks("webhook_dropped", "Notices that left the log before they were delivered, by webhook.",
		func(r webhookReport) float64 { return float64(r.dropped) }),
	ofWebhooks("webhook_refused", "Notices that the receiver refused for a day and that were passed over, by webhook.",
		func(r webhookReport) float64 { return float64(r.refused) }),
	ofWebhooks("webhook_disabled", "1 where nothing is sent, by webhook.",
		func(r webhookReport) float64 { return oneIf(r.disabled) }),
	{
		"notices", "Notices, by class: pending (not in storage yet), counted (not told one by one).",
		[]string{"class"},
		false,
		func(m *metrics, _ *snapshot, send func(float64, ...string)) {
			pending, counted := m.b.notices.report()
			send(float64(pending), "pending")
			send(float64(counted), "counted")
		},
	},
	{"refresh_paused", "1 while refreshing is paused, or nobody knows whether it is.", nil, false, one(
		func(m *metrics, _ *snapshot) float64 { return oneIf(m.b.paused.Load() || m.b.standsStill()) },
	)},
	{
		"restored_gap_seconds", "For how long nobody was at work on this storage before a start of the last week.", nil,
		false,
		one(func(m *metrics, _ *snapshot) float64 { return m.b.gapNow(m.b.guard.seen.Load()).Length().Seconds() }),
	},
	{"writable", "1 where this node may write, and so refresh.", nil, false, one(
		func(m *metrics, _ *snapshot) float64 { return oneIf(m.b.WriteSafeReplicationState()) },
	)},
}

func oneIf(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

func (g *gauge) desc() *prometheus.Desc {
	return prometheus.NewDesc(prefix+g.name, g.help, g.labels, nil)
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, g := range gauges {
		to <- g.desc()
	}
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	s := m.last.Load()
	if s == nil {
		return // nobody has counted yet
	}
	for _, g := range gauges {
		if g.counts && !s.whole {
			continue
		}
		g.tell(m, s, func(value float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(g.desc(), prometheus.GaugeValue, value, labels...)
		})
	}
}
