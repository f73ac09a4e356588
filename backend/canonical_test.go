package backend

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What is accepted in several forms is answered in one, and that one, written, is answered as it is.
func TestCanonicalForms(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		f.everything(t)
		f.Write("providers/acme", map[string]any{"ca_pem": ""}).Refused(t, http.StatusForbidden)
		pem := newAuthority(t).pem
		for _, c := range []struct {
			path, field string
			written, is any
		}{
			{"config", "poll_interval", "2m", 120.0},
			{"config", "poll_interval", "120", 120.0},
			{"config", "poll_interval", 120, 120.0},
			{"config", "request_timeout", "10s", 10.0},
			{"config", "max_open_flows", "7", 7.0},
			{"config", "refresh_paused", "true", true},
			{"config", "refresh_paused", 1, true},
			{"config", "egress_allow", "127.0.0.1, 10.0.0.0/8", []any{"127.0.0.1", "10.0.0.0/8"}},
			{"config", "egress_allow", []any{" 127.0.0.1", "10.0.0.0/8"}, []any{"127.0.0.1", "10.0.0.0/8"}},
			{"providers/acme", "return_urls", "", []any{}},
			{"config", "public_url", "https://vault.example.com/", "https://vault.example.com/"},
			{"config", "public_url", "https://vault.example.com", "https://vault.example.com"},
			{"config", "public_url", "", ""},
			{"providers/idp", "client_id", "id-of-the-app\n", "id-of-the-app"},
			{"providers/idp", "client_id", " id-of-the-app\r\n", "id-of-the-app"},
			{"providers/idp", "client_id", 1234567890123, "1234567890123"},
			{"providers/idp", "ca_pem", pem, pem},
			{"providers/idp", "ca_pem", strings.TrimSpace(pem), strings.TrimSpace(pem)},
			{"providers/idp", "ca_pem", "\n", ""},
			{"providers/idp", "assumed_ttl", "1h", 3600.0},
			{"providers/idp", "refresh_ttl", "90d", 7776000.0},
			{"providers/idp", "idle_ttl", 7200, 7200.0},
			{"providers/idp", "confirm", "false", false},
			{"providers/acme", "scopes", "read write", []any{"read", "write"}},
			{"providers/acme", "scopes", "read  write,admin", []any{"read", "write", "admin"}},
			{"providers/acme", "scopes", []any{"read write", "admin"}, []any{"read", "write", "admin"}},
			{"providers/acme", "allowed_scopes", "read write admin", []any{"read", "write", "admin"}},
			{"providers/acme", "redirect_uris", appRedirect + ", http://127.0.0.1:8080/cb", []any{
				appRedirect, "http://127.0.0.1:8080/cb",
			}},
			{"connections/slack", "required_scopes", "read admin", []any{"read", "admin"}},
			{"connections/slack", "required_scopes", " ", []any{}},
			{"connections/slack", "label", 42, "42"},
			{"connections/slack", "disabled", "1", true},
			{
				"connections/slack", "tags",
				map[string]any{"tier": 1, "on": true, "off": false, "share": 1.5, "n": 1e6},
				map[string]any{"tier": "1", "on": "true", "off": "false", "share": "1.5", "n": "1000000"},
			},
			{"connections/slack", "tags", "team=sales", map[string]any{"team": "sales"}},
			{"connections/slack", "tags", []any{"team=sales", "tier=1"}, map[string]any{"team": "sales", "tier": "1"}},
		} {
			assert.Equal(t, c.is, asClient(t, f.Write(c.path, map[string]any{c.field: c.written}).OK(t))[c.field],
				"%s %s %v", c.path, c.field, c.written)
			assert.Equal(t, c.is, asClient(t, f.Read(c.path, nil).OK(t))[c.field])
			again := asClient(t, f.Write(c.path, map[string]any{c.field: c.is}).OK(t))
			assert.Equal(t, c.is, again[c.field], "%s %s %v, written in the form of the answer", c.path, c.field, c.is)
		}
		for _, number := range []any{12345678, "12345678"} {
			f.Write("connections/number", map[string]any{"provider": "keys", "api_key": number}).OK(t)
			assert.Equal(t, "12345678", f.Read("creds/number", nil).OK(t)["api_key"])
		}
	})
}

// What cannot be taken as it was meant is refused.
func TestFormsThatAreRefused(t *testing.T) {
	eachWith(t, withEverything(t), func(t *testing.T, f *fixture) {
		f.everything(t)
		f.Storage.Forget()
		for _, c := range []struct {
			path, field string
			written     any
			says        string
		}{
			{"config", "max_open_flows", 7.5, "whole number"},
			{"config", "max_open_flows", "7.5", "whole number"},
			{"config", "request_timeout", "1500ms", "whole seconds"},
			{"config", "request_timeout", 1.5, "whole seconds"},
			{"connections/slack", "tags", map[string]any{"id": 1e19}, "in quotes"},
			{"connections/slack", "tags", map[string]any{"id": map[string]any{}}, `"tags"`},
			{"connections/slack", "label", 1e19, "in quotes"},
			{"connections/slack", "required_scopes", []any{"read", []any{"admin"}}, `"required_scopes"`},
			{"connections/key", "api_key", 1e19, "in quotes"},
		} {
			f.Write(c.path, map[string]any{c.field: c.written}).Refused(t, http.StatusBadRequest, c.field, c.says)
		}
		assert.Zero(t, f.Storage.Writes())
	})
}

// A flow asks for two scopes where one text names them.
func TestScopesInOneText(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		flow := f.start(t, "slack", map[string]any{"scopes": "read write", "required_scopes": "read write"})
		assert.Equal(t, "read write", query(t, flow["url"].(string), "scope"))
		f.Write("auth-code-url/slack", map[string]any{"provider": "acme", "scopes": "read admin"}).
			Refused(t, http.StatusBadRequest, `"admin"`)
	})
}
