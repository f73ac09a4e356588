package backend

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// scraped is what Prometheus reads: by name and labels, such as connectors_calls{class="inside"}. Of histograms it is
// how often something was observed.
type scraped map[string]float64

// scrape reads the metrics, and holds their labels against those that may be.
func (f *fixture) scrape(t *testing.T) (values scraped, names []string) {
	t.Helper()
	data := f.Read("metrics", nil).OK(t)
	require.EqualValues(t, http.StatusOK, number(data[logical.HTTPStatusCode]))
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", data[logical.HTTPContentType])
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(rawBody(t, data)))
	require.NoError(t, err)
	values = scraped{}
	for name, family := range families {
		names = append(names, name)
		assert.NotEmpty(t, family.GetHelp(), name)
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				require.Contains(t, []string{"provider", "definition", "class", "outcome", "webhook"}, l.GetName(), name)
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			key := name
			if len(labels) > 0 {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			switch {
			case m.GetCounter() != nil:
				values[key] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				values[key] = m.GetGauge().GetValue()
			default:
				values[key] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return values, names
}

// has compares some of the values; one that is not there counts as -1.
func (s scraped) has(t *testing.T, want scraped) {
	t.Helper()
	got := scraped{}
	for key := range want {
		got[key] = -1
		if v, there := s[key]; there {
			got[key] = v
		}
	}
	assert.Equal(t, want, got)
}

// The metrics say what status says, and count what was read, refreshed and called.
func TestMetrics(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.hook(t, "siem", "https://hooks.example.com", map[string]any{"disabled": true})
		f.soon(t, func() bool { return len(members(t, f.Read("status", nil).OK(t)["webhooks"])) == 1 }, "it is known")
		f.connect(t, "org/secret-org/secret-name")
		f.connect(t, "user/secret-user/slack")
		f.key(t, "key")
		f.Write("connections/key", map[string]any{"disabled": true}).OK(t)
		f.start(t, "three", nil)
		f.Read("creds/org/secret-org/secret-name", nil).OK(t)
		f.Read("creds/key", nil).Refused(t, http.StatusForbidden)
		f.Read("creds/none", nil).Refused(t, http.StatusBadRequest)
		f.Read("creds/user/..", nil).Refused(t, http.StatusBadRequest)
		f.Advance(2 * time.Hour)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusServiceUnavailable, "down"))
		f.Read("creds/org/secret-org/secret-name", nil).Refused(t, http.StatusBadGateway)
		f.Read("creds/user/secret-user/slack", nil).OK(t)

		values, names := f.scrape(t)
		identities, consents := f.provider.Count(providers.StepIdentity), f.provider.Count(providers.StepToken)
		values.has(t, scraped{
			`connectors_connections{class="active"}`:                                 2,
			`connectors_connections{class="disabled"}`:                               1,
			`connectors_provider_connections{definition="oauth2",provider="acme"}`:   2,
			`connectors_provider_connections{definition="openai",provider="openai"}`: 1,
			`connectors_open_flows`:                                                  0,
			`connectors_retrying`:                                                    1,
			`connectors_unreadable`:                                                  0,
			`connectors_frozen_connections`:                                          0,
			`connectors_counted`:                                                     1,
			`connectors_writable`:                                                    1,
			`connectors_refresh_paused`:                                              0,
			`connectors_unsaved`:                                                     0,
			`connectors_calls{class="inside"}`:                                       0,
			`connectors_reads_total{outcome="served"}`:                               2,
			`connectors_reads_total{outcome="refused"}`:                              2,
			`connectors_reads_total{outcome="failed"}`:                               1,
			`connectors_reads_total{outcome="elsewhere"}`:                            0,
			`connectors_refreshes_total{outcome="succeeded",provider="acme"}`:        1,
			`connectors_refreshes_total{outcome="transient",provider="acme"}`:        1,
			`connectors_provider_call_seconds{outcome="5xx",provider="acme"}`:        1,
			`connectors_provider_call_seconds{outcome="2xx",provider="acme"}`:        float64(identities + consents + 1),
		})
		assert.Contains(t, values, `connectors_due_lag_seconds`)
		for key := range values {
			assert.NotContains(t, key, "secret", "no owner and no name")
		}

		status := f.Read("status", nil).OK(t)
		values.has(t, scraped{
			`connectors_reconnect_soon`: number(status["reconnect_soon"]), `connectors_doubtful_writes`: number(status["doubtful_writes"]),
		})

		var described []string
		for _, row := range rows(chapter(t, "README.md", "## `metrics` (read)")) {
			described = append(described, strings.Trim(row[0], "`"))
			assert.NotEmpty(t, row[2], row[0])
		}
		slices.Sort(names)
		assert.Contains(t, described, "connectors_circuits") // nobody is unwell here
		described = slices.DeleteFunc(described, func(name string) bool { return name == "connectors_circuits" })
		assert.ElementsMatch(t, names, described, "what is exposed, and what backend/README.md says")
	})
}

// A provider that is left alone shows, with whatever of it is.
func TestMetricsOfCircuits(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.rests(t, "slack")
		values, _ := f.scrape(t)
		values.has(t, scraped{`connectors_circuits{class="limited",provider="acme"}`: 1})
		f.Write("providers/acme", map[string]any{"return_urls": ""}).OK(t)
		values, _ = f.scrape(t)
		assert.NotContains(t, values, `connectors_circuits{class="limited",provider="acme"}`)
	})
}

// What is frozen shows, as in status.
func TestMetricsOfAFreeze(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"idle_ttl": "1h"}).OK(t)
		f.connect(t, "slack")
		f.Write("config", map[string]any{"frozen": true}).OK(t)
		f.Advance(2 * time.Hour)
		values, _ := f.scrape(t)
		values.has(t, scraped{
			`connectors_frozen_connections`: 1, `connectors_frozen_limits{class="passed"}`: 1,
			`connectors_frozen_limits{class="within_a_week"}`: 1, `connectors_connections{class="disabled"}`: 1,
		})
	})
}

// Who asks each second has what takes counting counted four times a minute, and the rest is of now.
func TestMetricsAreCountedSeldom(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "one")
		f.scrape(t)
		f.connect(t, "two")
		f.Storage.Forget()
		for range 3 {
			f.Advance(4 * time.Second)
			f.Read("creds/one", nil).OK(t)
			values, _ := f.scrape(t)
			values.has(t, scraped{`connectors_connections{class="active"}`: 1})
		}
		values, _ := f.scrape(t)
		values.has(t, scraped{`connectors_reads_total{outcome="served"}`: 3})
		for _, a := range f.Storage.History() {
			assert.NotEqual(t, testenv.Access{Op: "list", Key: "provider/"}, a, "no storage is read for it")
		}
		f.Advance(3 * time.Second)
		values, _ = f.scrape(t)
		values.has(t, scraped{`connectors_connections{class="active"}`: 2})
	})
}

// When storage fails an operator looks at the metrics: what needs no storage is told.
func TestMetricsWhileStorageFails(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Storage.Judge(func(testenv.Access) error { return testenv.ErrStorage })
		values, _ := f.scrape(t)
		values.has(t, scraped{`connectors_counted`: 0, `connectors_unsaved`: 0, `connectors_reads_total{outcome="served"}`: 0})
		assert.NotContains(t, values, `connectors_open_flows`)
		f.Storage.Judge(nil)
		f.Advance(countFor)
		values, _ = f.scrape(t)
		values.has(t, scraped{`connectors_counted`: 1, `connectors_connections{class="active"}`: 1})
	})
}

// Of a provider that is gone nothing is left, whoever makes and deletes how many.
func TestMetricsForgetAProvider(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Delete("connections/slack", nil).OK(t)
		values, _ := f.scrape(t)
		require.Contains(t, values, `connectors_provider_call_seconds{outcome="2xx",provider="acme"}`)
		f.Delete("providers/acme", nil).OK(t)
		f.Advance(countFor)
		values, _ = f.scrape(t)
		for key := range values {
			assert.NotContains(t, key, "acme")
		}
	})
}

// Many ask at once, while connections are read.
func TestMetricsUnderConcurrency(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	done := make(chan struct{})
	for range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 20 {
				f.Advance(time.Second)
				f.Read("creds/slack", nil)
				assert.Equal(t, http.StatusOK, f.Read("metrics", nil).Status)
			}
		}()
	}
	for range 8 {
		<-done
	}
	values, _ := f.scrape(t)
	values.has(t, scraped{`connectors_reads_total{outcome="served"}`: 160})
}
