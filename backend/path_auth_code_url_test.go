package backend

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestAuthCodeURL(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		flow := f.start(t, "slack", map[string]any{"scopes": "read"}, alice)
		assert.Equal(t, "2026-03-01T12:10:00Z", flow["expire_time"])
		assert.Equal(t, "https://vault.example.com/v1/connectors/callback/acme", flow["redirect_uri"])
		assert.Contains(t, flow["next_step"], "vault write connectors/exchange flow_id="+flow["flow_id"].(string))
		u, err := url.Parse(flow["url"].(string))
		require.NoError(t, err)
		assert.Equal(t, f.provider.URL+"/authorize", u.Scheme+"://"+u.Host+u.Path)
		q := u.Query()
		for name, want := range map[string]string{
			"response_type": "code", "client_id": providertest.ClientID, "redirect_uri": flow["redirect_uri"].(string),
			"scope":                 "read",
			"code_challenge_method": "S256",
		} {
			assert.Equal(t, want, q.Get(name), name)
		}
		assert.Len(t, q.Get("state"), 43, "256 bits")
		assert.Len(t, q.Get("code_challenge"), 43)
		assert.Len(t, flow["flow_id"], 64)
		assert.NotContains(t, flow["flow_id"], q.Get("state"))

		again, err := url.Parse(f.start(t, "slack", nil, alice)["url"].(string))
		require.NoError(t, err)
		for _, fresh := range []string{"state", "code_challenge"} {
			assert.NotEqual(t, q.Get(fresh), again.Query().Get(fresh))
		}
		assert.Equal(t, "read write", again.Query().Get("scope"), "the provider's, when none are named")
	})
}

func TestFlowOfAnIssuer(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		flow := f.start(t, "me", map[string]any{"provider": "idp"})
		assert.NotEmpty(t, query(t, flow["url"].(string), "nonce"))
		assert.Contains(t, query(t, flow["url"].(string), "scope"), "openid")
	})
}

// What comes in the query of a GET stands in logs, so the answer is asked for by POST where that is offered, and where
// it comes to Vault.
func TestFormPostIsAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		modes  []string
		params map[string]any
		data   map[string]any
		want   string
	}{
		"offered":      {modes: []string{"query", "form_post"}, want: "form_post"},
		"not offered":  {modes: []string{"query", "form_post.jwt"}},
		"nothing said": {},
		"offered, and the operator chose": {
			modes: []string{"form_post"}, params: map[string]any{"response_mode": "query"}, want: "query",
		},
		"an application receives the browser": {
			modes: []string{"form_post"}, data: map[string]any{"redirect_uri": appRedirect},
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.issuer(t)
				f.Write("providers/idp", map[string]any{"authorize_params": with(nil, c.params)}).OK(t)
				flow := f.start(t, "me", with(map[string]any{"provider": "idp"}, c.data))
				assert.Equal(t, c.want, query(t, flow["url"].(string), "response_mode"))
			}, providertest.WithResponseModes(c.modes...))
		})
	}
}

func TestFlowIsRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "keys")
		f.Write("providers/bound", with(f.acme(), map[string]any{"require_session_binding": true})).OK(t)
		f.Write("providers/oauth2-without-client", map[string]any{"definition": "github", "client_id": "x"}).OK(t)
		f.Storage.Forget()
		binding := strings.Repeat("A", 43)
		for name, c := range map[string]struct {
			path string
			data map[string]any
			code int
			says string
		}{
			"unknown provider":     {"x", map[string]any{"provider": "nothing"}, 400, "no provider"},
			"default provider":     {"x", map[string]any{"provider": nil}, 400, `no provider "x"`},
			"unknown field":        {"x", map[string]any{"state": "mine"}, 400, `unknown field "state"`},
			"verifier of a caller": {"x", map[string]any{"code_verifier": "mine"}, 400, "unknown field"},
			"scope":                {"x", map[string]any{"scopes": "admin"}, 400, "allowed_scopes"},
			"key provider":         {"x", map[string]any{"provider": "openai"}, 400, "cannot be connected this way"},
			"kind":                 {"x", map[string]any{"kind": "client_credentials"}, 400, "no authorization URL"},
			"no such kind":         {"x", map[string]any{"kind": "password"}, 400, "no kind"},
			"other provider":       {"keys", map[string]any{"provider": "acme"}, 400, "fixed"},
			"inputs":               {"x", map[string]any{"inputs": map[string]any{"shop": "evil.com#"}}, 400, "shop"},
			"redirect not listed": {
				"x", map[string]any{"redirect_uri": "https://evil.example.com/oauth/callback"}, 400, "redirect_uris",
			},
			"redirect prefix":     {"x", map[string]any{"redirect_uri": appRedirect + "/more"}, 400, "redirect_uris"},
			"redirect query":      {"x", map[string]any{"redirect_uri": appRedirect + "?x=1"}, 400, "redirect_uris"},
			"loopback other path": {"x", map[string]any{"redirect_uri": "http://127.0.0.1:9999/other"}, 400, "redirect_uris"},
			"loopback other host": {"x", map[string]any{"redirect_uri": "http://localhost:8080/cb"}, 400, "redirect_uris"},
			"loopback with user":  {"x", map[string]any{"redirect_uri": "http://a@127.0.0.1:8080/cb"}, 400, "redirect_uris"},
			"port of a public host": {
				"x", map[string]any{"redirect_uri": "https://app.example.com:444/oauth/callback"}, 400, "redirect_uris",
			},
			"both ends": {
				"x",
				map[string]any{"redirect_uri": appRedirect, "return_url": "https://app.example.com/connected"},
				400,
				"return_url",
			},
			"return not listed": {
				"x", map[string]any{"return_url": "https://app.example.com/connected?x"}, 400, "return_urls",
			},
			"binding malformed, Vault's callback": {
				"x", map[string]any{"session_binding": strings.Repeat("!", 43)}, 400, "43 characters",
			},
			"binding malformed, return_url": {
				"x",
				map[string]any{"return_url": "https://app.example.com/connected", "session_binding": "short"},
				400,
				"43 characters",
			},
			"binding missing, return_url": {
				"x",
				map[string]any{"provider": "bound", "return_url": "https://app.example.com/connected"},
				400,
				"asks for session_binding with a return_url",
			},
			"binding malformed": {
				"x", map[string]any{"redirect_uri": appRedirect, "session_binding": "short"}, 400, "43 characters",
			},
			"binding missing": {
				"x", map[string]any{"provider": "bound", "redirect_uri": appRedirect}, 400, "session_binding",
			},
			"no secret": {"x", map[string]any{"provider": "oauth2-without-client"}, 409, "client secret"},
		} {
			r := f.Write("auth-code-url/"+c.path, with(map[string]any{"provider": "acme"}, c.data))
			require.Equal(t, c.code, r.Status, "%s: %s", name, r.Text)
			assert.Contains(t, r.Text, c.says, name)
		}
		assert.Zero(t, f.Storage.Writes(), "bad input leaves no trace")
		f.Write("auth-code-url/x", map[string]any{"provider": "acme"}, testenv.Batch).Refused(t, http.StatusBadRequest,
			"neither an entity nor an accessor")
		assert.Zero(t, f.Storage.Writes())
		f.start(t, "x", map[string]any{"redirect_uri": "http://127.0.0.1:54321/cb"})
		f.start(t, "x", map[string]any{"provider": "bound", "redirect_uri": appRedirect, "session_binding": binding})
		f.start(t, "x", map[string]any{"provider": "bound"}) // the confirmation code is typed by a person
		f.start(t, "x", map[string]any{
			"provider": "bound", "return_url": "https://app.example.com/connected", "session_binding": binding,
		})
		f.start(t, "x", map[string]any{"session_binding": binding})
	})
}

// What the operator allows is the limit for callers; what the engine itself needs beside that is not.
func TestScopesOfAFlow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/google", map[string]any{
			"client_id": "x", "client_secret": "y", "scopes": "calendar", "allowed_scopes": "calendar,drive",
		}).OK(t)
		scope := func(asked any) string {
			return query(t, f.start(t, "g", map[string]any{"provider": "google", "scopes": asked})["url"].(string), "scope")
		}
		assert.Equal(t, "calendar openid email profile", scope(nil))
		assert.Equal(t, "drive openid email profile", scope("drive"))
		assert.Equal(t, "drive openid email profile", scope("drive,openid"))
		f.Write("auth-code-url/g", map[string]any{"provider": "google", "scopes": "mail"}).Refused(t, http.StatusBadRequest,
			"allowed_scopes")
		f.Write("providers/google", map[string]any{"allowed_scopes": "*"}).OK(t)
		assert.Equal(t, "mail openid email profile", scope("mail"))
	})
}

func TestMaxOpenFlows(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"max_open_flows": 2}).OK(t)
		f.connect(t, "done", alice)
		f.start(t, "a", nil, alice)
		f.start(t, "b", nil, alice)
		full := func() {
			f.Write("auth-code-url/c", map[string]any{"provider": "acme"}, alice).Refused(t, http.StatusConflict,
				"max_open_flows")
		}
		full()
		f.restart(t)
		full()
		f.start(t, "c", nil, bob)
		f.Advance(10 * time.Minute)
		f.start(t, "c", nil, alice)
	})
}

func TestIssuerIsDown(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		down := providertest.Respond(http.StatusServiceUnavailable, "secret words")
		f.provider.Next("discovery", down, down)
		f.issuer(t)
		r := f.Write("auth-code-url/me", map[string]any{"provider": "idp"})
		r.Refused(t, http.StatusBadGateway, "try again later", "issuer on providers/idp")
		assert.NotContains(t, r.Text, "secret words")
		f.start(t, "me", map[string]any{"provider": "idp"})
		assert.Zero(t, f.provider.Count(providers.StepToken))
	})
}

func TestOptionalScopes(t *testing.T) {
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	definition := strings.Replace(string(generic), "\nscopes:\n", "\nscopes:\n  optional_param: optional_scope\n", 1)
	catalog, err := providers.NewRegistry(fstest.MapFS{"oauth2.yaml": {Data: []byte(definition)}})
	require.NoError(t, err)
	eachWith(t, Options{Catalog: catalog}, func(t *testing.T, f *fixture) {
		asked := func(data map[string]any) string {
			return query(t, f.start(t, "x", with(map[string]any{"provider": "acme"}, data))["url"].(string),
				"optional_scope")
		}
		assert.Empty(t, asked(nil))
		told := f.Write("providers/acme", map[string]any{"optional_scopes": "calendar contacts read"}).OK(t)
		assert.Equal(t, []string{"calendar", "contacts", "read"}, texts(t, told["optional_scopes"]))
		assert.Equal(t, "calendar contacts", asked(nil), "read is asked for anyway")
		assert.Equal(t, "contacts", asked(map[string]any{"optional_scopes": "contacts"}))
		assert.Empty(t, asked(map[string]any{"optional_scopes": ""}))
		f.Write("auth-code-url/x", map[string]any{"provider": "acme", "optional_scopes": "admin"}).
			Refused(t, http.StatusBadRequest, `"admin" is not among the provider's allowed_scopes`)
		f.Write("providers/acme", map[string]any{"allowed_scopes": "read,write"}).
			Refused(t, http.StatusBadRequest, `"calendar" is not among allowed_scopes`)
		scopes := members(t, f.Read("catalog/oauth2", nil).OK(t)["scopes"])
		assert.Equal(t, "optional_scope", scopes["optional_param"])
	})
	each(t, func(t *testing.T, f *fixture) {
		f.Write("auth-code-url/x", map[string]any{"provider": "acme", "optional_scopes": "read"}).
			Refused(t, http.StatusBadRequest, "knows no scopes that a person may leave out")
	})
}
