package backend

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfigDefaults(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		config := f.Read("config", nil).OK(t)
		for field, want := range map[string]float64{
			"refresh_margin": 600, "poll_interval": 300, "request_timeout": 15, "flow_ttl": 600, "check_interval": 86400, "max_open_flows": 100,
			"max_ended_flows": 1000, "max_flows": 10_000, "max_open_links": 1000,
			"max_connections_per_owner": 0,
		} {
			assert.InDelta(t, want, number(config[field]), 0, field)
		}
		assert.Equal(t, "default", config["default_org"])
		assert.Empty(t, config["display_name"])
		assert.Equal(t, []string{"*"}, texts(t, config["endpoint_hosts"]))
		assert.Equal(t, false, config["refresh_paused"])
	})
}

func TestConfigKeepsWhatIsNotNamed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"refresh_margin": "2m", "endpoint_hosts": "*.example.com"}).OK(t)
		f.Write("config", map[string]any{
			"max_ended_flows": 8, "max_flows": 9, "max_connections_per_owner": 10, "max_open_links": 11,
			"display_name": "Acme",
		}).OK(t)
		config := f.Write("config", map[string]any{"max_open_flows": 7}).OK(t)
		for field, want := range map[string]float64{
			"max_ended_flows": 8, "max_flows": 9, "max_connections_per_owner": 10, "max_open_links": 11,
		} {
			assert.InDelta(t, want, number(config[field]), 0, field)
		}
		assert.InDelta(t, 120, number(config["refresh_margin"]), 0)
		assert.InDelta(t, 7, number(config["max_open_flows"]), 0)
		assert.Equal(t, []string{"*.example.com"}, texts(t, config["endpoint_hosts"]))
		assert.Equal(t, "https://vault.example.com", config["public_url"])
		assert.Equal(t, "Acme", config["display_name"])
		f.restart(t)
		assert.InDelta(t, 120, number(f.Read("config", nil).OK(t)["refresh_margin"]), 0, "it was stored")
	})
}

func TestConfigRefusesAndChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		before := f.Read("config", nil).OK(t)
		for _, c := range []struct {
			field string
			value any
			says  string
		}{
			{"public_url", "http://vault.example.com", "https"},
			{"public_url", "vault.example.com", "absolute"},
			{"public_url", "https://vault.example.com/?x=1", "without query"},
			{"public_url", "https://vault.example.com/#x", "fragment"},
			{"public_url", "https://u:p@vault.example.com", "user"},
			{"public_url", "ftp://vault.example.com", "https"},
			{"default_org", "Acme", "default_org"},
			{"default_org", "self", "reserved"},
			{"default_org", "", "default_org"},
			{"egress_allow", "http://10.0.0.1", "egress_allow"},
			{"egress_allow", "10.0.0.1/8", "egress_allow"},
			{"endpoint_hosts", "https://id.example.com", "endpoint_hosts"},
			{"endpoint_hosts", "*example.com", "endpoint_hosts"},
			{"endpoint_hosts", "*.", "endpoint_hosts"},
			{"endpoint_hosts", "id.*.com", "endpoint_hosts"},
			{"proxy_url", "socks5://proxy.example.com", "proxy_url"},
			{"refresh_margin", "9s", "refresh_margin"},
			{"refresh_margin", "25h", "refresh_margin"},
			{"refresh_margin", -1, "refresh_margin"},
			{"poll_interval", 4, "poll_interval"},
			{"request_timeout", 0, "request_timeout"},
			{"request_timeout", 61, "request_timeout"},
			{"flow_ttl", 29, "flow_ttl"},
			{"flow_ttl", "61m", "flow_ttl"},
			{"max_open_flows", 0, "max_open_flows"},
			{"max_open_flows", 10001, "max_open_flows"},
			{"max_ended_flows", 0, "max_ended_flows must lie between 1 and 100000"},
			{"max_ended_flows", 100_001, "max_ended_flows"},
			{"max_flows", 0, "max_flows must lie between 1 and 1000000"},
			{"max_open_links", 0, "max_open_links must lie between 1 and 100000"},
			{"max_open_links", 100_001, "max_open_links"},
			{"display_name", "a\nb", "display_name holds a line break"},
			{"display_name", strings.Repeat("x", 81), "display_name is longer"},
			{"max_flows", 1_000_001, "max_flows"},
			{"max_connections_per_owner", -1, "max_connections_per_owner must lie between 0 and 1000000"},
			{"max_connections_per_owner", 1_000_001, "max_connections_per_owner"},
			{"refresh_paused", "perhaps", "refresh_paused"},
			{"publicurl", "https://vault.example.com", `unknown field "publicurl"`},
		} {
			f.Write("config", with(map[string]any{"poll_interval": 77}, map[string]any{c.field: c.value})).
				Refused(t, http.StatusBadRequest, c.says)
			require.Equal(t, before, f.Read("config", nil).OK(t), "%s=%v", c.field, c.value)
		}
	})
}

func TestConfigHidesTheProxysPassword(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		written := f.Write("config", map[string]any{"proxy_url": "https://me:proxy-passw0rd@proxy.example.com:3128"})
		written.OK(t)
		assert.NotContains(t, written.Data["proxy_url"], "passw0rd")
		assert.Contains(t, f.Read("config", nil).OK(t)["proxy_url"], "proxy.example.com:3128")
		refused := f.Write("config", map[string]any{"proxy_url": "gopher://me:proxy-passw0rd@proxy.example.com"})
		refused.Refused(t, http.StatusBadRequest, "proxy_url")
		assert.NotContains(t, refused.Text, "passw0rd")
	})
}

func TestPublicURL(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for public, callback := range map[string]string{
			"https://vault.example.com":                  "https://vault.example.com/v1/connectors/callback/acme",
			"https://vault.example.com/":                 "https://vault.example.com/v1/connectors/callback/acme",
			"https://vault.example.com:8200":             "https://vault.example.com:8200/v1/connectors/callback/acme",
			"https://vault.example.com/behind/a/proxy/":  "https://vault.example.com/behind/a/proxy/callback/acme",
			"http://127.0.0.1:8200":                      "http://127.0.0.1:8200/v1/connectors/callback/acme",
			"https://vault.example.com/v1/ns/connectors": "https://vault.example.com/v1/ns/connectors/callback/acme",
		} {
			f.Write("config", map[string]any{"public_url": public}).OK(t)
			assert.Equal(t, callback, f.Read("providers/acme", nil).OK(t)["callback_url"])
			assert.Equal(t, callback, f.start(t, "slack", nil)["redirect_uri"])
		}
		r := f.Write("config", map[string]any{"public_url": "http://localhost:8200"})
		r.OK(t)
		assert.NotEmpty(t, r.Warnings, "plain http is worth a warning")

		f.Write("config", map[string]any{"public_url": ""}).OK(t)
		assert.Empty(t, f.Read("providers/acme", nil).OK(t)["callback_url"])
		f.Write("auth-code-url/slack", map[string]any{"provider": "acme"}).Refused(t, http.StatusBadRequest, "public_url")
		f.start(t, "slack", map[string]any{"redirect_uri": appRedirect})
	})
}

func TestDefaultOrg(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "slack")
		f.Write("config", map[string]any{"default_org": "acme"}).Refused(t, http.StatusConflict, "default_org", `"default"`,
			"(1)")
		f.Delete("connections/slack", nil).OK(t)
		f.key(t, "org/acme/slack")
		f.Write("config", map[string]any{"default_org": "acme"}).Refused(t, http.StatusConflict, `"acme"`)
		f.Write("config", map[string]any{"default_org": "default", "poll_interval": 60}).OK(t)
		f.Delete("connections/org/acme/slack", nil).OK(t)
		f.Write("config", map[string]any{"default_org": "acme"}).OK(t)
		f.key(t, "slack")
		assert.Equal(t, "org/acme", f.Read("connections/org/acme/slack", nil).OK(t)["owner"])
	})
}
