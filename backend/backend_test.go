package backend

import (
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fixture is a mount beside a provider, on one clock.
type fixture struct {
	*testenv.Env
	*clock
	provider *providertest.Server
}

// each runs a test in process and over gRPC, with the provider "acme" configured.
func each(t *testing.T, test func(*testing.T, *fixture), options ...providertest.Option) {
	t.Helper()
	run := func(mount func(testing.TB, *clock) *testenv.Env) func(*testing.T) {
		return func(t *testing.T) {
			c := newClock()
			f := &fixture{Env: mount(t, c), clock: c}
			f.provider = providertest.New(t, append([]providertest.Option{providertest.WithClock(c.Now)}, options...)...)
			f.configure(t)
			test(t, f)
		}
	}
	t.Run("in process", run(func(tb testing.TB, c *clock) *testenv.Env {
		return testenv.InProcess(tb, New(Options{Now: c.Now}), &testenv.Storage{})
	}))
	t.Run("over gRPC", run(func(tb testing.TB, c *clock) *testenv.Env {
		return testenv.OverGRPC(tb, New(Options{Now: c.Now}), &testenv.Storage{})
	}))
}

func (f *fixture) configure(t *testing.T) {
	t.Helper()
	f.Write("config", map[string]any{"public_url": "https://vault.example.com", "egress_allow": "127.0.0.1"}).OK(t)
	f.Write("providers/acme", f.acme()).OK(t)
}

// acme is the generic definition, pointed at the provider of this test.
func (f *fixture) acme() map[string]any {
	u := f.provider.URL
	return map[string]any{
		"definition": "oauth2", "client_id": providertest.ClientID, "client_secret": providertest.ClientSecret,
		"endpoints":     map[string]any{"authorize": u + "/authorize", "token": u + "/token", "revoke": u + "/revoke", "identity": u + "/userinfo"},
		"scopes":        "read,write",
		"redirect_uris": "https://app.example.com/oauth/callback,http://127.0.0.1:8080/cb",
		"return_urls":   "https://app.example.com/connected",
	}
}

// start starts a flow and gives its answer.
func (f *fixture) start(t *testing.T, path string, data map[string]any, as ...testenv.Caller) map[string]any {
	t.Helper()
	if data == nil {
		data = map[string]any{}
	}
	if _, ok := data["provider"]; !ok {
		data["provider"] = "acme"
	}
	return f.Write("auth-code-url/"+path, data, as...).OK(t)
}

// connect connects an account through the application's own redirect URI.
func (f *fixture) connect(t *testing.T, path string, as ...testenv.Caller) map[string]any {
	t.Helper()
	flow := f.start(t, path, map[string]any{"redirect_uri": "https://app.example.com/oauth/callback"}, as...)
	back := f.provider.Consent(t, flow["url"].(string))
	return f.Write("exchange", map[string]any{"state": back["state"], "code": back["code"]}, as...).OK(t)
}

func query(t *testing.T, raw, name string) string {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	return u.Query().Get(name)
}
