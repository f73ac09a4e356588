package backend

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestProviderLife(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		made := f.Write("providers/slack", map[string]any{"client_id": "id-1", "client_secret": "s-1"}).OK(t)
		assert.Equal(t, "slack", made["definition"], "by default that of the name")
		assert.Equal(t, true, made["client_secret_set"])
		assert.Equal(t, false, made["former_secret_set"])
		assert.Equal(t, true, made["confirm"])
		assert.NotEmpty(t, made["updated"])
		read := f.Read("providers/slack", nil).OK(t)
		assert.Equal(t, made, read)
		assert.NotContains(t, read, "client_secret")

		f.Advance(time.Second)
		changed := f.Write("providers/slack", map[string]any{"scopes": "users:read,chat:write"}).OK(t)
		assert.Equal(t, []string{"users:read", "chat:write"}, texts(t, changed["scopes"]))
		assert.Equal(t, "id-1", changed["client_id"])
		assert.Equal(t, true, changed["client_secret_set"], "what is not named keeps its value")

		list := f.List("providers/").OK(t)
		assert.Equal(t, []string{"acme", "slack"}, texts(t, list["keys"]))
		assert.Equal(t, map[string]any{"definition": "oauth2"}, members(t, list["key_info"])["acme"])

		f.Delete("providers/slack", nil).OK(t)
		assert.Equal(t, http.StatusNotFound, f.Read("providers/slack", nil).Status)
		f.Delete("providers/slack", nil).OK(t)
	})
}

func TestProvidersOfNone(t *testing.T) {
	env := testenv.InProcess(t, New(Options{}), &testenv.Storage{})
	assert.Empty(t, env.List("providers/").OK(t)["keys"])
}

func TestFormerClientSecret(t *testing.T) {
	for _, path := range []string{"providers/acme", "providers/acme/client-secret"} {
		t.Run(path, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				kept := func(data map[string]any) any { return f.Write(path, data).OK(t)["former_secret_set"] }
				secret := func(value string) map[string]any { return map[string]any{"client_secret": value} }
				dropped := func(value string) map[string]any {
					return map[string]any{"client_secret": value, "drop_former": true}
				}
				assert.Equal(t, true, kept(secret("new")), "the one before is the fallback")
				assert.Equal(t, true, kept(secret("newer")))
				assert.Equal(t, true, kept(secret("newer")), "a tool that writes it again ends nothing")
				f.Write("providers/acme", map[string]any{"client_secret": "newer", "scopes": "read"}).OK(t)
				assert.Equal(t, true, kept(map[string]any{"client_secret": "newer", "drop_former": false}))
				assert.Equal(t, false, kept(map[string]any{"drop_former": true}), "it is said")
				assert.Equal(t, true, kept(secret("newest")))
				assert.Equal(t, false, kept(dropped("newest")), "said with the same secret")
				assert.Equal(t, false, kept(dropped("last")), "said with another one")
				assert.Equal(t, true, kept(secret("very last")))
				cleared := f.Write(path, secret("")).OK(t)
				assert.Equal(t, false, cleared["client_secret_set"])
				assert.Equal(t, false, cleared["former_secret_set"], "an empty one forgets both")
			})
		})
	}
}

// While the service knows both secrets, or only the former, tokens stay fresh.
func TestFormerClientSecretRefreshes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Write("providers/acme", map[string]any{"client_secret": "not known there yet"}).OK(t)
		f.Advance(time.Minute)
		assert.Equal(t, "2026-03-01T12:01:00Z", f.Write("refresh/slack", nil).OK(t)["last_refresh"])
		f.provider.SetClientSecret("not known there yet")
		f.Advance(time.Minute)
		assert.Equal(t, "2026-03-01T12:02:00Z", f.Write("refresh/slack", nil).OK(t)["last_refresh"])
	})
}

func TestProviderRefusesAndChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		before := f.Read("providers/acme", nil).OK(t)
		url := func(step, u string) map[string]any {
			return map[string]any{"endpoints": map[string]any{
				"authorize": f.provider.URL + "/authorize", "token": f.provider.URL + "/token", step: u,
			}}
		}
		for name, c := range map[string]struct {
			data map[string]any
			says string
		}{
			"definition fixed":     {map[string]any{"definition": "slack"}, "fixed"},
			"unknown field":        {map[string]any{"client_secrte": "x"}, `unknown field "client_secrte"`},
			"client_id emptied":    {map[string]any{"definition": "oauth2", "client_id": ""}, "client_id"},
			"client_auth":          {map[string]any{"client_auth": "guess"}, "client_auth"},
			"input undeclared":     {map[string]any{"inputs": map[string]any{"shop": "x"}}, "shop"},
			"endpoint step":        {url("tokens", "https://id.example.com"), "tokens"},
			"endpoint relative":    {url("revoke", "/revoke"), "revoke"},
			"endpoint http":        {url("revoke", "http://id.example.com/revoke"), "revoke"},
			"endpoint private":     {url("revoke", "https://10.0.0.1/revoke"), "revoke"},
			"endpoint metadata":    {url("identity", "https://169.254.169.254/latest"), "identity"},
			"endpoint credentials": {url("revoke", "https://me:pw@id.example.com/revoke"), "revoke"},
			"issuer http":          {map[string]any{"issuer": "http://id.example.com"}, "issuer"},
			"own authorize param":  {map[string]any{"authorize_params": map[string]any{"state": "x"}}, "state"},
			"own token param":      {map[string]any{"token_params": map[string]any{"code_verifier": "x"}}, "code_verifier"},
			"redirect relative":    {map[string]any{"redirect_uris": "/cb"}, "redirect_uris"},
			"redirect fragment":    {map[string]any{"redirect_uris": "https://app.example.com/#x"}, "redirect_uris"},
			"redirect http":        {map[string]any{"redirect_uris": "http://app.example.com/cb"}, "redirect_uris"},
			"return http":          {map[string]any{"return_urls": "http://app.example.com/"}, "return_urls"},
			"return script":        {map[string]any{"return_urls": "javascript:alert(1)"}, "return_urls"},
			"return fragment":      {map[string]any{"return_urls": "https://app.example.com/#x"}, "return_urls"},
			"scopes":               {map[string]any{"allowed_scopes": "read"}, `"write" is not among allowed_scopes`},
			"assumed_ttl":          {map[string]any{"assumed_ttl": "30s"}, "assumed_ttl"},
			"refresh_ttl":          {map[string]any{"refresh_ttl": "59m"}, "refresh_ttl must lie between one hour"},
			"check_interval":       {map[string]any{"check_interval": "30m"}, "check_interval must lie between one hour"},
			"check_interval words": {map[string]any{"check_interval": "often"}, "check_interval must lie between one hour"},
			"idle_ttl":             {map[string]any{"idle_ttl": "100000h"}, "idle_ttl must lie between one hour"},
			"optional_scopes":      {map[string]any{"optional_scopes": "read"}, "knows no scopes that a person may leave out"},
			"ca_pem":               {map[string]any{"ca_pem": "no certificate"}, "ca_pem"},
		} {
			r := f.Write("providers/acme", with(map[string]any{"client_secret": "changed"}, c.data))
			require.Equal(t, http.StatusBadRequest, r.Status, name)
			assert.Contains(t, r.Text, c.says, name)
			require.Equal(t, before, f.Read("providers/acme", nil).OK(t), name)
		}
	})
}

func TestProviderNames(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, name := range []string{
			"self", "org", "Slack", "..", "a..b", "-slack", "slack.", "sl ack", "sl%61ck",
			"ślack",
		} {
			f.Write("providers/"+name, map[string]any{"definition": "openai"}).Refused(t, http.StatusBadRequest,
				"provider name")
			f.Read("providers/"+name, nil).Refused(t, http.StatusBadRequest, "provider name")
			f.Delete("providers/"+name, nil).Refused(t, http.StatusBadRequest, "provider name")
		}
		f.Write("providers/nothing", nil).Refused(t, http.StatusBadRequest, `no definition "nothing"`)
		assert.Equal(t, http.StatusNotFound, f.Read("providers/nothing", nil).Status)
	})
}

// An endpoint that nothing calls is refused. One that an older release took is part of where grants are pinned to, so
// it does not stand in the way of other changes.
func TestEndpointsThatNothingCalls(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		endpoints := map[string]any{"introspect": "https://id.example.com/introspect"}
		f.Write("providers/google", map[string]any{"client_id": "x", "endpoints": endpoints}).Refused(t,
			http.StatusBadRequest, `endpoints: step "introspect" is not known`)
		f.Write("providers/google", map[string]any{"client_id": "x"}).OK(t)

		stored := store.New(f.Storage)
		p, err := stored.Provider(t.Context(), "google")
		require.NoError(t, err)
		p.Endpoints = map[string]string{"introspect": "https://id.example.com/introspect"}
		require.NoError(t, stored.PutProvider(t.Context(), "google", p))
		f.restart(t)
		written := f.Write("providers/google", map[string]any{"client_secret": "new"}).OK(t)
		assert.Len(t, written["endpoints"], 1)
	})
}

// Slack names in an answer what earlier consents granted, which nobody can be refused for without knowing.
func TestRefusingWhatAccumulates(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		app := map[string]any{"client_id": "x", "surplus_scopes": "refuse", "definition": "slackbot"}
		assert.Contains(t, strings.Join(f.Write("providers/bot", app).Warnings, "\n"), "surplus_scopes=refuse: Slack")
		app["definition"] = "github"
		assert.NotContains(t, strings.Join(f.Write("providers/github", app).Warnings, "\n"), "surplus_scopes")
	})
}

// Whoever may write providers but not config reaches only the hosts that config allows.
func TestEndpointHosts(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1,id.example.com,*.corp.example.com"}).OK(t)
		endpoint := func(host string) testenv.Result {
			return f.Write("providers/other", map[string]any{
				"definition": "oauth2", "client_id": "x", "endpoints": map[string]any{"token": "https://" + host + "/token"},
			})
		}
		for _, host := range []string{
			"id.example.com", "id.example.com:8443", "a.corp.example.com",
			"a.b.corp.example.com",
		} {
			endpoint(host).OK(t)
		}
		for _, host := range []string{
			"corp.example.com", "evil.com", "id.example.com.evil.com", "evilcorp.example.com",
			"id.example.com@evil.com",
		} {
			endpoint(host).Refused(t, http.StatusBadRequest, "token")
		}
		f.Write("providers/issuer", map[string]any{"definition": "oidc", "client_id": "x", "issuer": "https://evil.com"}).
			Refused(t, http.StatusBadRequest, "issuer")
	})
}

func TestProviderMovesElsewhere(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		flow := f.start(t, "other", nil)
		parked := f.own(t, "third", nil)
		back := f.provider.Consent(t, flow["url"].(string))
		elsewhere := providertest.New(t)
		calls := f.provider.Count(providers.StepToken) + f.provider.Count(providers.StepRefresh)

		moved := with(f.acme(), map[string]any{"client_secret": nil, "endpoints": map[string]any{
			"authorize": elsewhere.URL + "/authorize", "token": elsewhere.URL + "/token",
			"identity": elsewhere.URL + "/userinfo",
		}})
		r := f.Write("providers/acme", moved)
		assert.Equal(t, false, r.OK(t)["client_secret_set"], "the secret belongs to the former origin")
		assert.Len(t, r.Warnings, 2)

		view := f.Read("connections/slack", nil).OK(t)
		assert.Equal(t, "needs_reconnect", view["status"])
		assert.Equal(t, "provider_changed", view["status_reason"])
		living := f.Read("creds/slack", nil)
		assert.NotEmpty(t, living.OK(t)["access_token"], "it lives, and goes nowhere new")
		assert.NotEmpty(t, living.Warnings)
		f.Write("refresh/slack", nil).Refused(t, http.StatusConflict, "provider_changed")
		f.Write("exchange", parked).Refused(t, http.StatusConflict, "changed")
		assert.Equal(t, f.callback(t, "acme", nil), f.callback(t, "acme", back), "the flow is void")
		// nor a public client now
		f.Write("auth-code-url/fourth", map[string]any{"provider": "acme"}).Refused(t, http.StatusConflict,
			"no client secret")
		f.Advance(2 * time.Hour)
		f.Read("creds/slack", nil).Refused(t, http.StatusConflict, "provider_changed")

		deleted := f.Delete("connections/slack", nil)
		deleted.OK(t)
		require.Len(t, deleted.Warnings, 1)
		assert.Contains(t, deleted.Warnings[0], "not revoked")
		assert.Equal(t, calls, f.provider.Count(providers.StepToken)+f.provider.Count(providers.StepRefresh))
		assert.Zero(t, f.provider.Count(providers.StepRevoke)+elsewhere.Count(providers.StepRevoke))
		assert.Zero(t,
			elsewhere.Count(providers.StepToken)+elsewhere.Count(providers.StepRefresh)+elsewhere.Count(providers.StepIdentity))
	})
}

func TestProviderTakenBack(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Write("providers/acme", map[string]any{"client_id": "another"}).OK(t)
		assert.Equal(t, "needs_reconnect", f.Read("connections/slack", nil).OK(t)["status"])
		r := f.Write("providers/acme", map[string]any{
			"client_id": providertest.ClientID, "client_secret": providertest.ClientSecret,
		})
		assert.Equal(t, true, r.OK(t)["client_secret_set"], "written with the change, it is kept")
		f.Advance(time.Minute)
		assert.Equal(t, "2026-03-01T12:01:00Z", f.Write("refresh/slack", nil).OK(t)["last_refresh"])

		for _, harmless := range []map[string]any{
			{"scopes": "read"}, {"authorize_params": map[string]any{"prompt": "consent"}}, {"confirm": false}, {
				"assumed_ttl": "1h",
			},
		} {
			assert.Equal(t, true, f.Write("providers/acme", harmless).OK(t)["client_secret_set"])
			assert.Equal(t, "active", f.Read("connections/slack", nil).OK(t)["status"])
		}
	})
}

// A connection that cannot be read may be anybody's.
func TestProviderDeletionBesideWhatCannotBeRead(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		f.connect(t, "slack")
		f.Write("providers/unused", f.acme()).OK(t)
		f.loses("connection/org/default/slack")
		f.restart(t)
		f.Delete("providers/acme", nil).Refused(t, http.StatusConflict, "1 connection cannot be read", "force=true")
		f.Delete("providers/openai", nil).Refused(t, http.StatusConflict, "has connections (1 connection)", "force=true")
		f.Delete("providers/openai", map[string]any{"force": true}).OK(t)
		f.Storage.Judge(nil)
		f.Delete("providers/unused", nil).OK(t)
		f.Delete("providers/acme", nil).Refused(t, http.StatusConflict, "has connections (1 connection)")
	})
}

func TestProviderDeletion(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.connect(t, "user/u1/slack")
		f.Delete("providers/acme", nil).Refused(t, http.StatusConflict, "2 connections", "force=true")
		f.restart(t)
		f.Delete("providers/acme", nil).Refused(t, http.StatusConflict, "2 connections")
		f.Delete("providers/acme", map[string]any{"force": true}).OK(t)
		view := f.Read("connections/slack", nil).OK(t)
		assert.Equal(t, "needs_reconnect", view["status"])
		assert.Equal(t, "provider_missing", view["status_reason"])
		f.Write("connections/slack", map[string]any{"label": "still editable"}).OK(t)
		f.Write("connections/slack", map[string]any{"refresh_token": "x"}).Refused(t, http.StatusConflict, "gone")
		f.Write("providers/acme", f.acme()).OK(t)
		f.Advance(time.Minute)
		assert.Equal(t, "2026-03-01T12:01:00Z", f.Write("refresh/slack", nil).OK(t)["last_refresh"],
			"configured as before, it serves as before")
	})
}

// Vault tells nothing of an error before the handler, and whoever writes a provider must know why that fails.
func TestProviderThatCannotBeRead(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for entry, says := range map[string]string{
			`{"version":1,"definition":`: "damaged", `{"version":9,"definition":"oauth2"}`: "written by a newer release",
		} {
			require.NoError(t, f.Storage.Put(t.Context(), &logical.StorageEntry{Key: "provider/bad", Value: []byte(entry)}))
			f.Read("providers/bad", nil).Refused(t, http.StatusInternalServerError, says)
			f.Write("providers/bad", f.acme()).Refused(t, http.StatusInternalServerError, says)
		}
		f.Delete("providers/bad", nil).OK(t)
		f.Write("providers/bad", f.acme()).OK(t)
	})
}

func TestConfirmOffIsWarnedOf(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := f.Write("providers/acme", map[string]any{"confirm": false})
		r.OK(t)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "confirm=false")
	})
}

// A provider without scopes asks for the definition's, so those count against allowed_scopes too.
func TestDefaultScopesAreWithinAllowedOnes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/slack", map[string]any{"client_id": "x", "client_secret": "y", "allowed_scopes": "chat:write"}).
			Refused(t, http.StatusBadRequest, "users:read")
		f.Write("providers/slack", map[string]any{
			"client_id": "x", "client_secret": "y", "allowed_scopes": "chat:write", "scopes": "chat:write",
		}).OK(t)
	})
}

// operatorHeld is a definition whose key the operator and the connection hold in part, with a default and a derived
// field.
const operatorHeld = `
id: held
name: Held
kinds: [api_key]
sources: ['https://example.com']
endpoints: {health: 'https://api.example.com/me'}
key:
  fields:
    - {name: app_key, set_by: provider, required: true, secret: true}
    - {name: api_key, required: true, secret: true, derive: {data_center: '[a-z0-9]+-([a-z0-9]+)'}}
    - {name: region, default: eu}
    - {name: note}
  send: {headers: {Authorization: 'Bearer {api_key}'}}
health: {headers: {X-App: '{app_key}'}}
`

func held(t *testing.T) Options {
	t.Helper()
	return withDefinition(t, "held", operatorHeld)
}

// withDefinition is a catalogue of one definition, and the generic one of each fixture's provider.
func withDefinition(t *testing.T, id, text string) Options {
	t.Helper()
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	files := fstest.MapFS{id + ".yaml": {Data: []byte(text)}, "oauth2.yaml": {Data: generic}}
	catalog, err := providers.NewRegistry(files)
	require.NoError(t, err)
	return Options{Catalog: catalog}
}

func TestOperatorHeldKeyFields(t *testing.T) {
	eachWith(t, held(t), func(t *testing.T, f *fixture) {
		f.Write("providers/held", nil).OK(t)
		f.Write("providers/held", map[string]any{"api_key": "k"}).Refused(t, http.StatusBadRequest,
			`unknown field "api_key"`)
		p := f.Write("providers/held", map[string]any{"app_key": "app-key-of-the-operator-1234"}).OK(t)
		assert.Equal(t, []string{"app_key"}, texts(t, p["key_fields_set"]))
		f.Write("connections/a", map[string]any{"provider": "held", "app_key": "mine"}).Refused(t, http.StatusBadRequest,
			`unknown field "app_key"`)
	})
}

// The first scan of the connections may take long. Who needs it waits, and nobody else.
func TestProvidersDuringTheFirstScan(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Write("providers/unused", f.acme()).OK(t)
		release := make(chan struct{})
		read := func(a testenv.Access) bool { return a.Op == "get" && a.Under("connection/") }
		scanning := make(chan struct{}, 10)
		f.Storage.Block(read, func(testenv.Access) {
			scanning <- struct{}{}
			<-release
		})
		f.restart(t)
		<-scanning
		deletions := make(chan testenv.Result, 2)
		for _, name := range []string{"acme", "unused"} {
			go func() { deletions <- f.Delete("providers/"+name, nil) }()
		}
		ctx, hangUp := context.WithCancel(t.Context())
		gone := make(chan testenv.Result, 1)
		go func() { gone <- f.DeleteCtx(ctx, "providers/acme", nil) }()
		others := make(chan struct{})
		go func() {
			defer close(others)
			for range 3 {
				f.Read("providers/acme", nil).OK(t)
				f.Write("providers/acme", map[string]any{"scopes": "read"}).OK(t)
				f.Write("providers/new", f.acme()).OK(t)
				f.Write("config", map[string]any{"poll_interval": 60}).OK(t)
				f.callback(t, "acme", map[string]string{"state": "unknown", "code": "c"})
			}
		}()
		select {
		case <-others:
		case <-time.After(time.Minute):
			assert.Fail(t, "others wait for the scan, or for who waits for it")
		}
		hangUp()
		assert.GreaterOrEqual(t, (<-gone).Status, 500, "who hangs up does not wait for it")
		assert.Empty(t, deletions, "nobody knows yet whether there are connections")
		close(release)
		<-others
		statuses := []int{(<-deletions).Status, (<-deletions).Status}
		assert.ElementsMatch(t, []int{http.StatusConflict, http.StatusNoContent}, statuses)
	})
}

// rests lets the provider ask to be left alone for a minute, by a refresh of this connection.
func (f *fixture) rests(t *testing.T, path string) {
	t.Helper()
	f.Advance(time.Minute)
	f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusTooManyRequests, "", "Retry-After", "60"))
	f.Write("refresh/"+path, nil).Refused(t, http.StatusBadGateway)
}

// Whoever changes a provider wants to see whether that helped.
func TestProviderWriteLiftsARest(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "limited")
		f.connect(t, "other")
		circuit := func(answer map[string]any) map[string]any { return members(t, answer["circuit"]) }
		assert.Empty(t, circuit(f.Read("providers/acme", nil).OK(t)))
		f.rests(t, "limited")
		limited := map[string]any{"state": "limited", "until": "2026-03-01T12:02:00Z"}
		assert.Equal(t, limited, circuit(f.Read("providers/acme", nil).OK(t)))
		f.Write("refresh/other", nil).Refused(t, http.StatusBadGateway, "left alone")
		assert.Empty(t, circuit(f.Write("providers/acme", map[string]any{"return_urls": ""}).OK(t)))
		assert.Empty(t, circuit(f.Read("providers/acme", nil).OK(t)))
		f.Write("refresh/other", nil).OK(t)
		f.Advance(10 * time.Second)
		f.Write("refresh/limited", nil).Refused(t, http.StatusBadGateway, "12:02:00") // that one was told so itself
		f.Advance(50 * time.Second)
		f.Write("refresh/limited", nil).OK(t)
	})
}
