package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

const longParameter = "planted-parameter-0123456789-WXYZ"

func TestParametersAreMasked(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		params := map[string]any{"audience": "short", "assertion": longParameter, "none": ""}
		shown := map[string]any{"audience": "****", "assertion": "****WXYZ", "none": ""}
		for _, field := range []string{"token_params", "authorize_params"} {
			sent := func() (first, second string) {
				if field == "authorize_params" {
					address := f.start(t, "new", nil)["url"].(string)
					return query(t, address, "audience"), query(t, address, "assertion")
				}
				f.Advance(time.Minute)
				f.Write("refresh/slack", nil).OK(t)
				asked := f.provider.Requests(providers.StepRefresh)
				form := asked[len(asked)-1].Form
				return form.Get("audience"), form.Get("assertion")
			}
			check := func(first, second, why string) {
				t.Helper()
				a, b := sent()
				assert.Equal(t, []string{first, second}, []string{a, b}, why)
			}
			f.Write("providers/acme", map[string]any{"client_secret": providertest.ClientSecret}).OK(t)
			if field == "token_params" {
				f.connect(t, "slack")
			}
			written := f.Write("providers/acme", map[string]any{field: params})
			assert.Equal(t, shown, members(t, written.OK(t)[field]))
			assert.Equal(t, shown, members(t, f.Read("providers/acme", nil).OK(t)[field]))
			check("short", longParameter, "as they were written")

			f.Write("providers/acme", map[string]any{field: shown}).OK(t)
			check("short", longParameter, "the masks stand for them")
			f.Write("providers/acme", map[string]any{field: with(shown, map[string]any{"audience": "other"})}).OK(t)
			check("other", longParameter, "one was changed")
			f.Write("providers/acme", map[string]any{field: map[string]any{"assertion": "****WXYZ"}}).OK(t)
			check("", longParameter, "one was taken away")

			for _, wrong := range []map[string]any{
				{"audience": "****"},
				{"assertion": "****"},
				{"assertion": "****ABCD"},
				{"another": "****WXYZ", "assertion": "****WXYZ"},
			} {
				f.Write("providers/acme", map[string]any{field: wrong}).Refused(t, http.StatusBadRequest, field, "mask")
			}
			check("", longParameter, "a mask of nothing changes nothing")
			f.Write("providers/new", with(f.acme(), map[string]any{field: shown})).Refused(t, http.StatusBadRequest, "mask")
			f.Write("providers/acme", map[string]any{field: map[string]any{}}).OK(t)
		}
	})
}

// A parameter of the token call goes where the secrets went, and nowhere else.
func TestTokenParametersDoNotMove(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		elsewhere := map[string]any{
			"authorize": f.provider.URL + "/authorize", "token": f.provider.URL + "/elsewhere",
		}
		f.Write("providers/acme", map[string]any{"token_params": map[string]any{"assertion": longParameter}}).OK(t)
		f.Write("providers/acme", map[string]any{
			"endpoints": elsewhere, "token_params": map[string]any{"assertion": "****WXYZ"},
		}).Refused(t, http.StatusBadRequest, "token_params")
		moved := f.Write("providers/acme", map[string]any{"endpoints": elsewhere})
		assert.Empty(t, members(t, moved.OK(t)["token_params"]))
		assert.Contains(t, moved.Warnings, "token_params were cleared too: write them again")
		moved = f.Write("providers/acme", map[string]any{
			"endpoints": f.acme()["endpoints"], "token_params": map[string]any{"assertion": longParameter},
		})
		assert.Equal(t, map[string]any{"assertion": "****WXYZ"}, members(t, moved.OK(t)["token_params"]),
			"written with the change, they are kept")
	})
}

func TestMaskedProxy(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                       "",
		"http://proxy.example.com:3128":          "http://proxy.example.com:3128",
		"http://me@proxy.example.com":            "http://me@proxy.example.com",
		"http://me:short@proxy.example.com:3128": "http://me:****@proxy.example.com:3128",
		"http://:short@proxy.example.com":        "http://:****@proxy.example.com",
		"https://a%3Ab:" + longParameter + "@proxy.example.com/": "https://a%3Ab:****WXYZ@proxy.example.com/",
		"https://me:planted-parameter-0123%2F%40%3A%25@proxy":    "https://me:****%2F%40%3A%25@proxy",
		"https://me:@proxy.example.com":                          "https://me:@proxy.example.com",
	} {
		shown := maskedProxy(raw)
		assert.Equal(t, want, shown)
		back, err := unmaskProxy(shown, raw)
		require.NoError(t, err, raw)
		assert.Equal(t, raw, back)
	}
}

func TestProxysPasswordKeepsItsPlace(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const (
			raw   = "https://me:" + longParameter + "@proxy.example.com:3128"
			shown = "https://me:****WXYZ@proxy.example.com:3128"
		)
		stored := func() string {
			c, err := store.New(f.Storage).Config(t.Context())
			require.NoError(t, err)
			return c.ProxyURL
		}
		assert.Equal(t, shown, f.Write("config", map[string]any{"proxy_url": raw}).OK(t)["proxy_url"])
		f.Write("config", map[string]any{"proxy_url": shown, "poll_interval": 60}).OK(t)
		assert.Equal(t, raw, stored(), "the mask stands for it")
		for _, other := range []string{
			"https://me:****WXYZ@evil.example.com:3128", "http://me:****WXYZ@proxy.example.com:3128",
			"https://you:****WXYZ@proxy.example.com:3128", "https://me:****@proxy.example.com:3128",
			"https://me:****WXYZ@proxy.example.com", "https://me:%2A%2A%2A%2AWXYZ@evil.example.com",
		} {
			f.Write("config", map[string]any{"proxy_url": other}).Refused(t, http.StatusBadRequest, "proxy_url", "mask")
			assert.Equal(t, raw, stored(), other)
		}
		f.Write("config", map[string]any{"proxy_url": ""}).OK(t)
		assert.Empty(t, stored())
	})
}
