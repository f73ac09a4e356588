package backend

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// mine is a run-time definition of the service at this address.
func mine(url string) string {
	return strings.ReplaceAll(`# of our own
name: Mine
kinds: [authorization_code]
endpoints:
  authorize: URL/authorize
  token: URL/token
  revoke: URL/revoke
  identity: URL/userinfo
scopes: {default: [read]}
refresh: {token: rotating}
revoke: {}
identity: {}
account: {id: [sub]}
`, "URL", url)
}

// ours configures the provider "mine" with such a definition.
func (f *fixture) ours(t *testing.T, more map[string]any) map[string]any {
	t.Helper()
	return f.Write("providers/mine", with(map[string]any{
		"definition_yaml": mine(f.provider.URL), "client_id": providertest.ClientID,
		"client_secret": providertest.ClientSecret, "redirect_uris": appRedirect, "shared_redirect": true,
	}, more)).OK(t)
}

func TestRuntimeDefinition(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"shared_redirect": true}).OK(t)
		text := mine(f.provider.URL)
		made := f.ours(t, nil)
		assert.Equal(t, "provider:mine", made["definition"])
		assert.Equal(t, text, made["definition_yaml"], "as it was written")
		assert.Empty(t, f.Read("providers/acme", nil).OK(t)["definition_yaml"])

		list := f.List("catalog/").OK(t)
		assert.Contains(t, texts(t, list["keys"]), "provider:mine")
		assert.Equal(t, "Mine", members(t, list["key_info"])["provider:mine"].(map[string]any)["name"])
		shown := members(t, f.Read("catalog/provider:mine", nil).OK(t))
		assert.Equal(t, f.provider.URL+"/token", shown["endpoints"].(map[string]any)["token"])
		assert.Nil(t, f.Read("catalog/provider:acme", nil).Response)
		assert.Nil(t, f.Read("catalog/provider:nobody", nil).Response)
		f.Read("catalog/provider:", nil).Refused(t, http.StatusBadRequest, "provider name")

		f.Write("exchange", f.own(t, "a", map[string]any{"provider": "mine"})).OK(t)
		f.Advance(time.Minute)
		f.Write("refresh/a", nil).OK(t)
		before := f.Read("providers/mine", nil).OK(t)
		assert.Equal(t, before, f.Write("providers/mine", before).OK(t), "a read may be written back")
		f.restart(t)
		f.Advance(time.Minute)
		f.Write("refresh/a", nil).OK(t)

		f.Write("providers/mine", map[string]any{"definition": "provider:mine", "scopes": "write"}).OK(t)
		assert.Equal(t, "active", f.Read("connections/a", nil).OK(t)["status"])
		f.Delete("connections/a", nil).OK(t)
		f.Delete("providers/mine", nil).OK(t)
		assert.NotContains(t, texts(t, f.List("catalog/").OK(t)["keys"]), "provider:mine")
		assert.Nil(t, f.Read("catalog/provider:mine", nil).Response)
	})
}

// Whatever is wrong is told as of a file of the catalogue, with the provider in the place of the file, and nothing is
// stored.
func TestRuntimeDefinitionRefused(t *testing.T) {
	const good = "https://id.example.com"
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1,*.example.com,one.example.net"}).OK(t)
		edit := func(old, new string) map[string]any {
			text := strings.Replace(mine(good), old, new, 1)
			require.NotEqual(t, mine(good), text, old)
			return map[string]any{"definition_yaml": text}
		}
		for name, c := range map[string]struct {
			data map[string]any
			want []string
		}{
			"unknown key":     {edit("refresh:", "refrsh:"), []string{"mine:10: refrsh: unknown key", "did you mean"}},
			"confirm":         {edit("identity: {}", "confirm: false"), []string{"mine:12: confirm: unknown key"}},
			"private":         {edit("identity: {}", "private: false"), []string{"mine:12: private: unknown key"}},
			"another id":      {edit("name:", "id: google\nname:"), []string{`mine:2: id: id "google"`, "leave the id out"}},
			"id of its own":   {edit("name:", "id: provider:mine\nname:"), []string{"mine:2: id: "}},
			"no YAML":         {map[string]any{"definition_yaml": "name: ["}, []string{"mine:1: "}},
			"blank":           {map[string]any{"definition_yaml": " "}, []string{"mine:1: "}},
			"too long":        {map[string]any{"definition_yaml": "#" + strings.Repeat("x", 64<<10)}, []string{"65536 bytes"}},
			"too deep":        {map[string]any{"definition_yaml": strings.Repeat("[", 100)}, []string{"nested deeper"}},
			"anchors":         {edit("[read]", "&a [read]"), []string{"anchors, aliases"}},
			"unknown parent":  {edit("name:", "extends: nothing\nname:"), []string{`mine:2: cannot extend "nothing"`}},
			"run-time parent": {edit("name:", "extends: provider:acme\nname:"), []string{"no id of a definition"}},
			"parent's file":   {edit("name:", "extends: ../oauth2\nname:"), []string{"no id of a definition"}},
			"two levels":      {edit("name:", "extends: slackbot\nname:"), []string{"one level"}},
			"plain http":      {edit(good+"/token", "http://id.example.com/token"), []string{"endpoints.token", "plain http"}},
			"loopback that is not listed": {
				edit(good+"/token", "http://127.0.0.2/token"), []string{"endpoints.token", "egress_allow"},
			},
			"a private address": {edit(good+"/token", "https://10.0.0.1/token"), []string{"endpoints.token", "egress_allow"}},
			"foreign host": {
				edit(good+"/token", "https://id.example.org/token"),
				[]string{"endpoints.token", `endpoint_hosts on config does not allow "id.example.org"`},
			},
			"foreign domain": {
				edit("scopes:", "inputs: [{name: shop, set_by: connection, required: true, pattern: '[a-z]+'}]\n"+
					"api_base: 'https://{shop}.example.org'\nscopes:"),
				[]string{"api_base", `does not allow ".example.org"`},
			},
			"foreign API": {edit("scopes:", "api_base: https://api.example.org\nscopes:"), []string{"api_base"}},
			"foreign hosts of a parent": {
				map[string]any{"definition_yaml": "name: Mine\nextends: google\n"}, []string{"does not allow", "google"},
			},
			"client secret in send": {
				edit("scopes:", "send: {headers: {X: '{client_secret}'}}\nscopes:"), []string{"send", "never leaves the engine"},
			},
			"a token as the account": {
				edit("[sub]", "['token:access_token']"), []string{"mine:13: account.id[0]", "token or a secret"},
			},
			"a token shown": {
				edit("scopes:", "connection_config: [{name: x, from: token, path: [bot.access_token]}]\nscopes:"),
				[]string{"connection_config[0]", "secret: true"},
			},
			"a token that is called otherwise": {
				edit("scopes:", "token: {answer: {access_token: [data.value]}}\n"+
					"connection_config: [{name: x, from: token, path: [data.value]}]\nscopes:"),
				[]string{"connection_config[0]", "secret: true"},
			},
			"a field of every provider": {
				map[string]any{"definition_yaml": "name: M\nkinds: [api_key]\nkey: {fields: [{name: api_key, secret: true}, " +
					"{name: confirm, set_by: provider}]}\nsend: {headers: {X: '{api_key}', Y: '{confirm}'}}\n"},
				[]string{`key field "confirm"`},
			},
			"under another name": {with(edit("read", "write"), map[string]any{"definition": "oauth2"}), []string{
				"provider:mine", "leave definition out",
			}},
			"by its name alone": {map[string]any{"definition": "provider:mine"}, []string{"no definition", "definition_yaml"}},
		} {
			data := with(map[string]any{"client_id": "id"}, c.data)
			f.Write("providers/mine", data).Refused(t, http.StatusBadRequest, c.want...)
			assert.Equal(t, http.StatusNotFound, f.Read("providers/mine", nil).Status, name)
		}
		f.Write("providers/mine", map[string]any{"client_id": "id", "definition_yaml": mine(good)}).OK(t)
		before := f.Read("providers/mine", nil).OK(t)
		f.Write("providers/mine", edit("refresh:", "refrsh:")).Refused(t, http.StatusBadRequest, "refrsh")
		f.Write("providers/mine", map[string]any{"definition_yaml": ""}).Refused(t, http.StatusBadRequest, "is fixed")
		f.Write("providers/mine", map[string]any{"definition": "oauth2"}).Refused(t, http.StatusBadRequest, "is fixed")
		assert.Equal(t, before, f.Read("providers/mine", nil).OK(t))
		f.Write("providers/acme", map[string]any{"definition_yaml": mine(good)}).Refused(t, http.StatusBadRequest,
			"is fixed", "oauth2")
		f.Write("providers/acme", map[string]any{"definition_yaml": ""}).OK(t)

		shop := "inputs: [{name: shop, set_by: connection, required: true, pattern: '[a-z]+'}]\n" +
			"api_base: 'https://{shop}.%s'\nscopes:"
		f.Write("providers/mine", edit("scopes:", fmt.Sprintf(shop, "example.net"))).OK(t)
	})
}

// It may start from a definition of the catalogue, and is named like one without taking its place.
func TestRuntimeDefinitionExtends(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/google", map[string]any{
			"client_id": "id", "client_secret": "s",
			"definition_yaml": "id: google\nname: Our Google\nextends: google\nscopes: {default: [x]}\n",
		}).OK(t)
		assert.Equal(t, "Our Google", f.Read("catalog/provider:google", nil).OK(t)["name"])
		assert.NotEqual(t, "Our Google", f.Read("catalog/google", nil).OK(t)["name"])
		url := f.start(t, "g", map[string]any{"provider": "google"})["url"].(string)
		assert.Contains(t, url, "https://accounts.google.com/")
		assert.Equal(t, "offline", query(t, url, "access_type"), "what the parent says")
		assert.Contains(t, query(t, url, "scope"), "x")
	})
}

// What was allowed when it was written is asked again at each use.
func TestRuntimeDefinitionOfHostsThatAreRefusedLater(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"shared_redirect": true}).OK(t)
		f.ours(t, map[string]any{"definition_yaml": mine(f.provider.URL) + "api_base: https://api.example.com/v1\n"})
		f.Write("exchange", f.own(t, "a", map[string]any{"provider": "mine"})).OK(t)
		assert.Equal(t, "https://api.example.com/v1", f.Read("creds/a", nil).OK(t)["api_base"])
		parked := f.own(t, "parked", map[string]any{"provider": "mine"})
		f.Write("config", map[string]any{"endpoint_hosts": "id.example.com"}).OK(t)
		calls := f.calls()
		assert.NotContains(t, f.Read("creds/a", nil).OK(t), "api_base", "where applications are not to send it either")
		f.Advance(time.Minute)
		f.Write("refresh/a", nil).Refused(t, http.StatusConflict, "endpoint_hosts", `"127.0.0.1"`, "nothing was sent")
		f.Write("exchange", parked).Refused(t, http.StatusConflict, "endpoint_hosts")
		f.Write("auth-code-url/b", map[string]any{"provider": "mine"}).Refused(t, http.StatusConflict, "endpoint_hosts")
		f.Write("providers/mine", map[string]any{"scopes": "write"}).Refused(t, http.StatusBadRequest, "endpoint_hosts")
		assert.Equal(t, calls, f.calls())
	})
}

// sink listens at a new origin, with certificates that are trusted, and keeps what arrives.
func sink(t *testing.T, a authority) (url string, loot func() string) {
	t.Helper()
	var (
		mu  sync.Mutex
		got []string
	)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dump, _ := httputil.DumpRequest(r, true)
		_, password, _ := r.BasicAuth()
		mu.Lock()
		got = append(got, string(dump)+"\n"+password)
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
	}))
	s.TLS = newTLS(a)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(got, "\n")
	}
}

// Whoever may write the definition, but not the client secret, has nothing of what was kept sent to a place of theirs.
func TestChangedDefinitionReceivesNothing(t *testing.T) {
	for name, change := range map[string]func(text, from, to string) string{
		"token":    func(text, from, to string) string { return strings.Replace(text, from+"/token", to+"/token", 1) },
		"identity": func(text, from, to string) string { return strings.Replace(text, from+"/userinfo", to+"/u", 1) },
		"revoke":   func(text, from, to string) string { return strings.Replace(text, from+"/revoke", to+"/revoke", 1) },
		"all":      func(text, from, to string) string { return strings.ReplaceAll(text, from, to) },
		"refresh": func(text, _, to string) string {
			return strings.Replace(text, "endpoints:", "endpoints:\n  refresh: "+to+"/refresh", 1)
		},
		"resources": func(text, _, to string) string {
			return strings.Replace(text, "endpoints:", "inputs: [{name: site, set_by: connection, pattern: '.+'}]\n"+
				"resources: {id: id, pick: site}\nendpoints:\n  resources: "+to+"/r", 1)
		},
		"health": func(text, _, to string) string {
			return strings.Replace(text, "endpoints:", "health: {}\nendpoints:\n  health: "+to+"/h", 1)
		},
		"a parent": func(_, _, to string) string {
			return "name: Mine\nextends: google\nendpoints: {token: '" + to + "/token'}\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				r := newRoad(t, f)
				f.Delete("providers/acme", nil).OK(t)
				text := mine(r.URL)
				f.Write("providers/acme", with(r.settings(), map[string]any{
					"definition": nil, "endpoints": nil, "definition_yaml": text, "client_secret": "older",
				})).OK(t)
				f.Write("providers/acme", map[string]any{"client_secret": providertest.ClientSecret}).OK(t)
				f.connect(t, "slack")
				parked := f.own(t, "parked", nil)
				secrets := append(r.secrets(t), parked["code"].(string), "older")
				elsewhere, loot := sink(t, r.honest)

				moved := f.Write("providers/acme", map[string]any{"definition_yaml": change(text, r.URL, elsewhere)})
				assert.Equal(t, false, moved.OK(t)["client_secret_set"])
				assert.Equal(t, false, moved.Data["former_secret_set"])
				assert.Contains(t, strings.Join(moved.Warnings, " "), "points elsewhere")
				assert.Equal(t, "provider_changed", f.Read("connections/slack", nil).OK(t)["status_reason"])
				f.Advance(time.Minute)
				for _, path := range []string{"refresh/slack", "check/slack", "refresh/parked"} {
					if answer := f.Write(path, nil); answer.Status < 300 {
						assert.Equal(t, "not_asked", answer.Data["service"], path)
					}
				}
				if r := f.Write("exchange", parked); r.Status < 300 || r.Status >= 500 {
					assert.Fail(t, "the flow is not void", "%d %s", r.Status, r.Text)
				}
				f.Write("providers/acme", map[string]any{"client_secret": "made up"}).OK(t)
				f.Advance(2 * time.Hour)
				f.periodic(t)
				f.Read("creds/slack", nil)
				f.Write("providers/acme", map[string]any{"definition_yaml": text}).OK(t)
				f.Write("providers/acme", map[string]any{"client_secret": providertest.ClientSecret, "drop_former": true}).OK(t)
				assert.Equal(t, "active", f.Read("connections/slack", nil).OK(t)["status"], "taken back, it is whole")
				f.Write("providers/acme", map[string]any{"definition_yaml": change(text, r.URL, elsewhere)}).OK(t)
				f.Delete("connections/slack", nil).OK(t)
				for _, secret := range secrets {
					assert.NotContains(t, loot(), secret)
				}
			})
		})
	}
}

// Texts, scopes and the like lead nowhere, so nobody need connect again, after an upgrade of the catalogue neither.
func TestChangedTextsOfADefinition(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"shared_redirect": true}).OK(t)
		f.ours(t, nil)
		f.Write("exchange", f.own(t, "a", map[string]any{"provider": "mine"})).OK(t)
		f.altered(t, "connection/org/default/a", func(c map[string]any) { c["pinned"] = pinOf(t, f, "an older one") })
		f.altered(t, "provider/mine", func(p map[string]any) { p["definition_pin"] = "an older one" })
		f.restart(t)
		text := mine(f.provider.URL)
		for _, change := range [][2]string{
			{"name: Mine", "name: Yours"},
			{"# of our own\n", "setup: {notes: [Mind the gap.]}\nsummary: Ours.\n"},
			{"[read]", "[read, write]"},
			{"endpoints:", "failures: [{step: [api], status: [404], class: transient}]\nendpoints:"},
		} {
			require.Contains(t, text, change[0])
			text = strings.Replace(text, change[0], change[1], 1)
			changed := f.Write("providers/mine", map[string]any{"definition_yaml": text})
			assert.Equal(t, true, changed.OK(t)["client_secret_set"], change[1])
			assert.Equal(t, text, changed.Data["definition_yaml"])
			f.Advance(time.Minute)
			f.Write("refresh/a", nil).OK(t)
		}
		assert.Equal(t, "Yours", f.Read("catalog/provider:mine", nil).OK(t)["name"])
	})
}

// pinOf is what connections of "mine" are pinned to where its definition has this pin.
func pinOf(t *testing.T, f *fixture, pin string) string {
	t.Helper()
	p, err := store.New(f.Storage).Provider(t.Context(), "mine")
	require.NoError(t, err)
	p.DefinitionPin = pin
	return p.App(&providers.Definition{ID: p.Definition}).Fingerprint()
}

// A definition that this release does not take, as after an upgrade of what it extends, is told, kept, and mended by a
// write.
func TestRuntimeDefinitionThatIsNotTakenAnyMore(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"shared_redirect": true}).OK(t)
		f.ours(t, nil)
		f.Write("exchange", f.own(t, "a", map[string]any{"provider": "mine"})).OK(t)
		f.altered(t, "provider/mine", func(p map[string]any) { p["definition_yaml"] = "name: Mine\nnew_key: 1\n" })
		f.restart(t)
		read := f.Read("providers/mine", nil)
		assert.Equal(t, "provider:mine", read.OK(t)["definition"])
		assert.Contains(t, strings.Join(read.Warnings, " "), "mine:2: new_key: unknown key")
		assert.Equal(t, "provider_missing", f.Read("connections/a", nil).OK(t)["status_reason"])
		assert.NotContains(t, texts(t, f.List("catalog/").OK(t)["keys"]), "provider:mine")
		f.Write("providers/mine", map[string]any{"scopes": "x"}).Refused(t, http.StatusBadRequest, "new_key")
		f.Write("providers/mine", map[string]any{"definition_yaml": mine(f.provider.URL)}).OK(t)
		assert.Contains(t, texts(t, f.List("catalog/").OK(t)["keys"]), "provider:mine")
		assert.Equal(t, "active", f.Read("connections/a", nil).OK(t)["status"], "it leads where it led")
	})
}

// Whoever writes definitions learns by none what is not theirs: another provider's secrets, or a person's own key.
func TestRuntimeDefinitionReadsNothingOfOthers(t *testing.T) {
	const definition = `name: Nosy
kinds: [api_key]
endpoints: {health: URL/userinfo}
key:
  fields:
    - {name: api_key}
    - {name: app_key, set_by: provider, secret: true}
health: {headers: {X-Own: '{client_secret} {app_key} {api_key}', X-Id: '{client_id}'}}
send: {headers: {X-Key: '{api_key}'}}
`
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"token_params": map[string]any{"p": "planted-parameter"}}).OK(t)
		f.Write("providers/nosy", map[string]any{
			"definition_yaml": strings.ReplaceAll(definition, "URL", f.provider.URL), "client_id": "own id",
			"client_secret": "own-secret", "app_key": "own-app-key",
		}).OK(t)
		key := map[string]any{"provider": "nosy", "verify": false}
		f.Write("connections/self/k", with(key, map[string]any{"api_key": "a-key-of-alices-own-1234"}), alice).OK(t)
		f.Write("connections/k", with(key, map[string]any{"api_key": "a-key-of-everybody-1234"})).OK(t)
		f.Write("check/k", nil).OK(t)
		f.Write("check/self/k", nil, alice).OK(t)
		asked := f.provider.Requests(providers.StepIdentity)
		require.Len(t, asked, 2)
		for _, r := range asked {
			sent := fmt.Sprint(r)
			assert.Contains(t, sent, "own-secret own-app-key a-key-of-")
			for _, secret := range []string{providertest.ClientSecret, "planted-parameter"} {
				assert.NotContains(t, sent, secret)
			}
		}
		view := members(t, f.Read("connections/k", nil).OK(t))["key"].(map[string]any)
		assert.Equal(t, "a-key-of-everybody-1234", view["api_key"], "the definition says that it is public")
		view = members(t, f.Read("connections/user/e-alice/k", nil).OK(t))["key"].(map[string]any)
		assert.Equal(t, "****1234", view["api_key"], "it is alice's own all the same")
		f.Read("creds/user/e-alice/k", nil).Refused(t, http.StatusForbidden, "private")
	})
}

func newTLS(a authority) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.cert}, MinVersion: tls.VersionTLS12}
}
