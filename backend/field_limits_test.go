package backend

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// withShops is the generic definition with an input of a connection that takes anything, and one with a key beside it.
func withShops(t *testing.T) Options {
	t.Helper()
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	definition := append(generic, "\ninputs:\n  - name: shop\n    set_by: connection\n    default: one\n    "+
		"pattern: '(?s).*'\n"...)
	const keys = `
id: keys
name: Keys
summary: Keys.
category: generic
kinds: [api_key]
sources: [https://example.com/docs]
key:
  fields:
    - {name: username, required: true}
    - {name: private_key, required: true, secret: true, multiline: true, handed_out: true}
    - {name: cert_chain, multiline: true}
send:
  headers: {Authorization: 'Bearer {username}'}
`
	catalog, err := providers.NewRegistry(fstest.MapFS{
		"oauth2.yaml": {Data: definition}, "keys.yaml": {Data: []byte(keys)},
	})
	require.NoError(t, err)
	return Options{Catalog: catalog}
}

// many is a list of n different texts of a length.
func many(n, length int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = fmt.Sprintf("%0*d", length, i)
	}
	return list
}

// pairsOf is a map of n pairs whose values have a length.
func pairsOf(n, length int) map[string]any {
	m := map[string]any{}
	for i := range n {
		m[fmt.Sprintf("k%03d", i)] = strings.Repeat("v", length)
	}
	return m
}

// Each field has its limit. What exceeds one is refused by name, and nothing is changed.
func TestFieldLimits(t *testing.T) {
	eachWith(t, withShops(t), func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Write("providers/keys", nil).OK(t)
		key := map[string]any{"provider": "keys", "username": "me", "private_key": "-----BEGIN\nx\n"}
		imports := map[string]any{"provider": "acme", "access_token": "x"}
		const token = 64 << 10
		f.Storage.Forget()
		for _, c := range []struct {
			path  string
			base  map[string]any
			field string
			value any
			says  string
		}{
			{"connections/slack", nil, "label", strings.Repeat("l", 257), "label is longer than 256 bytes"},
			{"connections/slack", nil, "tags", pairsOf(65, 1), "tags has 65 entries, and may have 64"},
			{"connections/slack", nil, "tags", pairsOf(1, 257), `"k000" in tags is longer than 256 bytes`},
			{"connections/slack", nil, "tags", map[string]any{strings.Repeat("t", 257): "v"}, "a name in tags"},
			{"connections/slack", nil, "required_scopes", many(501, 4), "required_scopes has 501 entries"},
			{"connections/slack", nil, "required_scopes", many(1, 1025), "required_scopes is longer than 1024 bytes"},
			{"connections/slack", nil, "required_scopes", many(20, 1000), "required_scopes takes more than 16384 bytes"},
			{"connections/slack", nil, "kind", strings.Repeat("k", 2049), "kind is longer than 2048 bytes"},
			{"connections/new", imports, "access_token", strings.Repeat("a", token+1), "access_token is longer than 65536"},
			{"connections/new", imports, "refresh_token", strings.Repeat("a", token+1), "refresh_token is longer than 65536"},
			{"connections/new", imports, "inputs", pairsOf(33, 1), "inputs has 33 entries"},
			{"connections/new", imports, "inputs", map[string]any{"shop": strings.Repeat("s", 4097)}, `"shop" in inputs`},
			{"connections/new", key, "private_key", strings.Repeat("k", token+1), `"private_key" has more than 65536 bytes`},
			{
				"connections/new", with(key, map[string]any{"private_key": strings.Repeat("k", 60<<10)}), "cert_chain",
				strings.Repeat("c", 60<<10), "more than 98304 bytes in all",
			},
			{"auth-code-url/new", map[string]any{"provider": "acme"}, "scopes", many(501, 4), "scopes has 501 entries"},
			{
				"auth-code-url/new",
				map[string]any{"provider": "acme"},
				"required_scopes", many(20, 1000),
				"required_scopes takes more than",
			},
			{"auth-code-url/new", map[string]any{"provider": "acme"}, "inputs", pairsOf(10, 4000), "inputs takes more than"},
			{
				"auth-code-url/new",
				map[string]any{"provider": "acme"},
				"login_hint", strings.Repeat("h", 2049),
				"login_hint is longer than",
			},
			{"exchange", map[string]any{"state": "x"}, "code", strings.Repeat("c", 8193), "code is longer than 8192"},
			{"providers/acme", nil, "client_id", strings.Repeat("c", 2049), "client_id is longer than"},
			{"providers/acme", nil, "client_secret", strings.Repeat("c", 8193), "client_secret is longer than 8192"},
			{"providers/acme", nil, "scopes", many(501, 4), "scopes has 501 entries"},
			{"providers/acme", nil, "allowed_scopes", many(20, 1000), "allowed_scopes takes more than"},
			{"providers/acme", nil, "inputs", pairsOf(10, 4000), "inputs takes more than"},
			{"providers/acme", nil, "endpoints", pairsOf(33, 1), "endpoints has 33 entries"},
			{"providers/acme", nil, "endpoints", pairsOf(1, 2049), "in endpoints is longer than 2048"},
			{"providers/acme", nil, "authorize_params", pairsOf(33, 1), "authorize_params has 33 entries"},
			{"providers/acme", nil, "token_params", pairsOf(5, 2000), "token_params takes more than 8192 bytes"},
			{"providers/acme", nil, "redirect_uris", many(101, 4), "redirect_uris has 101 entries"},
			{"providers/acme", nil, "return_urls", many(10, 2000), "return_urls takes more than 16384 bytes"},
			{"providers/acme", nil, "ca_pem", strings.Repeat("p", 16<<10+1), "ca_pem is longer than 16384"},
			{"config", nil, "egress_allow", many(257, 8), "egress_allow has 257 entries"},
			{"config", nil, "endpoint_hosts", many(1, 257), "endpoint_hosts is longer than 256 bytes"},
			{"config", nil, "public_url", "https://" + strings.Repeat("h", 2048), "public_url is longer than"},
			{"config", nil, "proxy_url", "https://" + strings.Repeat("h", 2048), "proxy_url is longer than"},
		} {
			r := f.Write(c.path, with(c.base, map[string]any{c.field: c.value}))
			r.Refused(t, http.StatusBadRequest, c.says)
			assert.Less(t, len(r.Text), 512, "an error does not repeat what it refuses")
		}
		r := f.Write("config", map[string]any{strings.Repeat("u", 10_000): 1})
		r.Refused(t, http.StatusBadRequest, "unknown field")
		assert.Less(t, len(r.Text), 512)
		assert.Zero(t, f.Storage.Writes(), "nothing was changed")
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))
	})
}

// Texts that people read, and values that go into a header or a form, have no control characters.
func TestControlCharacters(t *testing.T) {
	eachWith(t, withShops(t), func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Write("providers/keys", nil).OK(t)
		key := map[string]any{"provider": "keys", "username": "me", "private_key": "-----BEGIN\nx\n"}
		imports := map[string]any{"provider": "acme", "access_token": "x"}
		flow := map[string]any{"provider": "acme"}
		control := []string{"a\nb", "a\r", "\tb", "a\x00b", "a\x1b[31m", "a\x7f", "a\u0085b"}
		misleading := []string{"a\u2028b", "a\u2029b", "a\u202eb", "a\u2066b", "a\u200fb", "a\u061cb"}
		f.Storage.Forget()
		for _, c := range []struct {
			path   string
			base   map[string]any
			field  string
			wrap   func(string) any
			names  string
			people bool
		}{
			{"connections/slack", nil, "label", func(s string) any { return s }, "label", true},
			{
				"connections/slack", nil, "tags", func(s string) any { return map[string]any{"team": s} }, `"team" in tags`, true,
			},
			{"connections/slack", nil, "tags", func(s string) any { return map[string]any{s: "x"} }, "a name in tags", true},
			{
				"connections/slack", nil, "required_scopes", func(s string) any { return []any{s + "x"} }, "required_scopes",
				false,
			},
			{"connections/new", imports, "access_token", func(s string) any { return s }, "access_token", false},
			{"connections/new", imports, "refresh_token", func(s string) any { return s }, "refresh_token", false},
			{
				"connections/new", imports, "inputs", func(s string) any { return map[string]any{"shop": s} }, `"shop" in inputs`,
				false,
			},
			{"connections/new", key, "username", func(s string) any { return s }, `"username"`, false},
			{
				"auth-code-url/new", flow, "inputs", func(s string) any { return map[string]any{"shop": s} }, `"shop" in inputs`,
				false,
			},
			{"providers/acme", nil, "client_secret", func(s string) any { return s }, "client_secret", false},
		} {
			texts := control
			if c.people {
				texts = append(texts, misleading...)
			}
			for _, text := range texts {
				if c.field == "required_scopes" && strings.TrimSpace(text) != text {
					continue // lists are trimmed
				}
				r := f.Write(c.path, with(c.base, map[string]any{c.field: c.wrap(text)}))
				require.Equal(t, http.StatusBadRequest, r.Status, "%s %q: %s", c.field, text, r.Text)
				assert.Contains(t, r.Text, c.names, "%q", text)
			}
		}
		assert.Zero(t, f.Storage.Writes(), "nothing was changed")

		f.Write("connections/new", key).OK(t)
		assert.Equal(t, "-----BEGIN\nx\n", f.Read("creds/new", nil).OK(t)["private_key"], "a key may have lines")
		f.Write("connections/slack", map[string]any{"label": "Zoë 👩‍💻 日本", "tags": map[string]any{"a": "é"}}).OK(t)
	})
}

// An entry at the limits of all its fields is far from what storage takes.
func TestWorstEntries(t *testing.T) {
	const rich = `{"access_token":"%s","refresh_token":"%s","expires_in":3600,"scope":"%s"}`
	eachWith(t, withShops(t), func(t *testing.T, f *fixture) {
		size := func(key string) int {
			entry, err := f.Storage.Get(t.Context(), key)
			require.NoError(t, err)
			require.NotNil(t, entry, key)
			return len(entry.Value)
		}
		scopes := many(500, 25)
		connection := map[string]any{
			"label": strings.Repeat("<", 256), "tags": pairsOf(64, 256), "required_scopes": scopes,
			"inputs": map[string]any{"shop": strings.Repeat("s", 4<<10)},
		}
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusOK, fmt.Sprintf(rich,
			strings.Repeat("a", 64<<10), strings.Repeat("r", 64<<10), strings.Repeat("scope ", 100))))
		f.Write("connections/x", with(connection, map[string]any{"provider": "acme", "refresh_token": "given"})).OK(t)
		assert.Equal(t, "active", f.Read("connections/x", nil).OK(t)["status"])
		assert.Greater(t, size("connection/org/default/x"), 160<<10)
		assert.Less(t, size("connection/org/default/x"), store.MaxEntry)

		f.Write("providers/keys", nil).OK(t)
		delete(connection, "inputs")
		f.Write("connections/k", with(connection, map[string]any{
			"provider": "keys", "username": "me", "private_key": strings.Repeat("k", 64<<10),
			"cert_chain": strings.Repeat("c", 31<<10),
		})).OK(t)
		assert.Less(t, size("connection/org/default/k"), store.MaxEntry)

		flow := f.start(t, "x", map[string]any{
			"required_scopes": scopes, "inputs": map[string]any{"shop": strings.Repeat("t", 4<<10)},
		})
		assert.Less(t, size("flow/"+flow["flow_id"].(string)), store.MaxEntry)
	})
}

// What the provider gives may be too much to store. Then it is its fault, and nothing changes; but a token that took
// the place of another is kept, without the rest.
func TestGrantThatIsTooLarge(t *testing.T) {
	huge := providertest.Respond(http.StatusOK, `{"access_token":"tok","refresh_token":"ref","expires_in":3600,"scope":"`+
		manyScopes(400)+`"}`)
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		before := f.Read("connections/slack", nil).OK(t)["scopes"]
		f.Advance(time.Minute)
		f.provider.Next(providers.StepToken, huge)
		f.Write("exchange", f.own(t, "new", nil)).Refused(t, http.StatusConflict, "provider acme gave no token",
			"grant_too_large", "may live on", "nothing was connected")
		f.provider.Next(providers.StepToken, huge)
		f.allowApp(t)
		f.Write("connections/new", map[string]any{"provider": "acme", "kind": "client_credentials"}).
			Refused(t, http.StatusBadGateway, "grant_too_large")
		assert.Equal(t, []string{"slack"}, f.stored(t, "connection/org/default/"))
		f.provider.Next(providers.StepRefresh, huge)
		f.Write("refresh/slack", nil).OK(t)
		assert.Equal(t, "tok", f.token(t, "slack"))
		assert.Equal(t, before, f.Read("connections/slack", nil).OK(t)["scopes"])
	})
}

// Whoever sends the callback more than any provider would gets the neutral page.
func TestCallbackThatIsTooLarge(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		flow := f.start(t, "slack", nil)
		back := f.provider.Consent(t, flow["url"].(string))
		long := map[string]string{}
		for i := range 5 {
			long[fmt.Sprint("p", i)] = strings.Repeat("x", 8<<10)
		}
		for name, value := range back {
			long[name] = value
		}
		f.Storage.Forget()
		assert.Equal(t, neutral(t), f.callback(t, "acme", long))
		assert.Zero(t, f.Storage.Writes())
		assert.NotEqual(t, neutral(t), f.callback(t, "acme", back))
	})
}

// The last line: what would be too large in storage is refused as bad input, and no write is in doubt.
func TestEntryThatIsTooLarge(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	f.Storage.Forget()
	_, err := f.engine().connections.Update(t.Context(), aKey("slack"), connections.Act{Verb: "test"},
		func(c *store.Connection) (*store.Connection, error) {
			c.Label = strings.Repeat("l", store.MaxEntry)
			return c, nil
		})
	require.True(t, store.TooLarge(err), "%v", err)
	for _, a := range f.Storage.History() {
		assert.False(t, a.Write() && strings.HasPrefix(a.Key, "connection/"), a.Key)
	}
	assert.Zero(t, f.engine().connections.Doubtful())
	resp, err := f.engine().toVault(nil, err)
	require.ErrorIs(t, err, logical.ErrInvalidRequest)
	assert.Contains(t, resp.Error().Error(), "nothing was changed")
	f.Read("creds/slack", nil).OK(t)
}

// Vault does not bound the name of who asks, and it is kept with what they make.
func TestLongDisplayNames(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		named := func(r *logical.Request) { r.DisplayName = "token-" + strings.Repeat("ä", 1<<20) }
		f.Write("exchange", f.own(t, "slack", nil, named), named).OK(t)
		by := f.Read("connections/slack", nil).OK(t)["created_by"].(string)
		assert.True(t, strings.HasPrefix(by, "token-ä"), by)
		assert.Less(t, len(by), 300)
		for _, key := range []string{"flow/" + f.stored(t, "flow/")[0], "connection/org/default/slack"} {
			entry, err := f.Storage.Get(t.Context(), key)
			require.NoError(t, err)
			assert.Less(t, len(entry.Value), 4<<10, key)
		}
	})
}
