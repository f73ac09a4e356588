package backend

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestImport(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "first")
		stolen := f.provider.Requests(providers.StepToken)
		require.Len(t, stolen, 1)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusOK,
			`{"access_token":"imported-access","token_type":"bearer","expires_in":3600,"refresh_token":"next"}`))
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"account-2","name":"Grace"}`))
		made := f.Write("connections/imported", map[string]any{
			"provider": "acme", "refresh_token": "from elsewhere", "label": "Moved",
		}).OK(t)
		assert.Equal(t, "active", made["status"])
		assert.Equal(t, "Moved", made["label"])
		assert.Equal(t, "account-2", members(t, made["account"])["id"])
		assert.Equal(t, "imported-access", f.Read("creds/imported", nil).OK(t)["access_token"])
		sent := f.provider.Requests(providers.StepRefresh)
		assert.Equal(t, "from elsewhere", sent[len(sent)-1].Form.Get("refresh_token"))
	})
}

func TestImportOfAnAccessToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusServiceUnavailable, ""))
		r := f.Write("connections/x", map[string]any{"provider": "acme", "access_token": "unknown there", "expires_in": 600})
		made := r.OK(t)
		require.Len(t, r.Warnings, 1, "whose account it is could not be learned")
		assert.Equal(t, "2026-03-01T12:10:00Z", made["expire_time"])
		assert.Equal(t, false, made["refreshable"])
		assert.Equal(t, "unknown there", f.Read("creds/x", nil).OK(t)["access_token"])
		f.Advance(10 * time.Minute)
		f.Read("creds/x", nil).Refused(t, http.StatusConflict, "expired")
	})
}

// What cannot be tried is not stored, unless that is asked for.
func TestImportThatCannotBeTried(t *testing.T) {
	for name, c := range map[string]struct {
		answer providertest.Behavior
		code   int
	}{
		"provider down": {providertest.Respond(http.StatusServiceUnavailable, "busy"), http.StatusBadGateway},
		"refused":       {providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`), http.StatusConflict},
		"app refused": {
			providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_client"}`), http.StatusConflict,
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.provider.Next(providers.StepRefresh, c.answer)
				import_ := map[string]any{"provider": "acme", "refresh_token": "from elsewhere"}
				f.Write("connections/x", import_).Refused(t, c.code, "nothing was")
				assert.Nil(t, f.Read("connections/x", nil).Response)
				f.provider.Next(providers.StepRefresh, c.answer, c.answer) // the worker may be as fast as the reader
				f.Write("connections/x", with(import_, map[string]any{"verify": false})).OK(t)
				f.Read("creds/x", nil).Refused(t, c.code)
			})
		})
	}
}

// Vault, a client or a configuration tool may send an import again when its refresh token has long been spent.
func TestImportSentAgain(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		imported := f.imported(t, "slack")
		mark := sha256.Sum256([]byte(imported["refresh_token"].(string)))
		for _, path := range []string{"creds/slack", "connections/slack"} {
			for _, v := range f.Read(path, nil).OK(t) {
				assert.NotContains(t, fmt.Sprint(v), hex.EncodeToString(mark[:]))
			}
		}
		f.Advance(time.Minute)
		f.Write("refresh/slack", nil).OK(t)
		token := f.Read("creds/slack", nil).OK(t)["access_token"]
		for _, restarted := range []bool{false, true} {
			if restarted {
				f.restart(t)
			}
			refreshed, asked := f.provider.Count(providers.StepRefresh), f.provider.Count(providers.StepIdentity)
			r := f.Write("connections/slack", with(imported, map[string]any{"label": fmt.Sprint("restarted: ", restarted)}))
			again := r.OK(t)
			assert.Equal(t, fmt.Sprint("restarted: ", restarted), again["label"], "the rest of the write counts")
			assert.Equal(t, "active", again["status"])
			require.Len(t, r.Warnings, 1)
			assert.Contains(t, r.Warnings[0], "the newer ones were kept")
			assert.Equal(t, token, f.Read("creds/slack", nil).OK(t)["access_token"])
			assert.Equal(t, refreshed, f.provider.Count(providers.StepRefresh))
			assert.Equal(t, asked, f.provider.Count(providers.StepIdentity))
		}
		f.Advance(time.Minute)
		assert.Equal(t, "active", f.Write("refresh/slack", nil).OK(t)["status"], "the grant lives")

		f.Write("connections/slack", map[string]any{"disabled": true}).OK(t)
		f.Write("connections/slack", imported).OK(t)
		assert.Equal(t, "active", f.Write("connections/slack",
			with(imported, map[string]any{"disabled": false})).OK(t)["status"])
		f.Advance(time.Minute)
		assert.Equal(t, "active", f.Write("refresh/slack", nil).OK(t)["status"])
	})
}

// The retry may come while the imported token is being spent, with another access token even. Adopting it again would
// drop what the provider answers.
func TestImportSentAgainDuringItsRefresh(t *testing.T) {
	for name, again := range map[string]map[string]any{
		"as it was":            nil,
		"with an access token": {"access_token": "another", "expires_in": 3600},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				imported := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
				begun, release := f.blocked()
				answers := make(chan testenv.Result)
				go func() { answers <- f.Write("connections/slack", imported) }()
				<-begun
				var sent sync.WaitGroup
				for range 4 {
					sent.Add(1)
					go func() {
						sent.Done()
						answers <- f.Write("connections/slack", with(imported, again))
					}()
				}
				sent.Wait()
				close(release)
				for range 5 {
					assert.Equal(t, "active", (<-answers).OK(t)["status"])
				}
				assert.Equal(t, 1, f.provider.Count(providers.StepRefresh))
				assert.True(t, f.provider.Alive(f.Read("creds/slack", nil).OK(t)["access_token"].(string)))
				f.Advance(time.Minute)
				assert.Equal(t, "active", f.Write("refresh/slack", nil).OK(t)["status"], "nobody is blamed for what was dropped")
			})
		})
	}
}

func TestImportOfAnotherToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.imported(t, "slack")
		former := f.Read("creds/slack", nil).OK(t)["access_token"]
		f.Advance(time.Minute)
		another := f.elsewhere(t)
		r := f.Write("connections/slack", map[string]any{"refresh_token": another})
		assert.Equal(t, "active", r.OK(t)["status"])
		assert.Empty(t, r.Warnings)
		sent := f.provider.Requests(providers.StepRefresh)
		assert.Equal(t, another, sent[len(sent)-1].Form.Get("refresh_token"))
		assert.NotEqual(t, former, f.Read("creds/slack", nil).OK(t)["access_token"])
	})
}

// Of a grant that was refused nothing newer is lost, and its import may be the only thing that heals it.
func TestImportSentAgainAfterARefusal(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		imported := f.imported(t, "slack")
		f.Advance(time.Minute)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`),
			providertest.Respond(http.StatusOK,
				`{"access_token":"healed","token_type":"bearer","expires_in":3600,"refresh_token":"next"}`))
		f.Write("refresh/slack", nil).Refused(t, http.StatusConflict, "grant_refused")
		f.account(f.accountOf(t, "slack"))
		assert.Equal(t, "active", f.Write("connections/slack", imported).OK(t)["status"])
		sent := f.provider.Requests(providers.StepRefresh)
		assert.Equal(t, imported["refresh_token"], sent[len(sent)-1].Form.Get("refresh_token"))
		assert.Equal(t, "healed", f.Read("creds/slack", nil).OK(t)["access_token"])
	})
}

// Inputs say where tokens belong. With other ones, they are written for another place.
func TestImportSentAgainWithOtherInputs(t *testing.T) {
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	definition := append(generic, "\ninputs:\n  - name: shop\n    set_by: connection\n    default: one\n "+
		"   pattern: '[a-z]+'\n"...)
	catalog, err := providers.NewRegistry(fstest.MapFS{"oauth2.yaml": {Data: definition}})
	require.NoError(t, err)
	eachWith(t, Options{Catalog: catalog}, func(t *testing.T, f *fixture) {
		imported := f.imported(t, "slack")
		f.Advance(time.Minute)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusOK,
			`{"access_token":"of shop two","token_type":"bearer","expires_in":3600}`))
		f.account(f.accountOf(t, "slack"))
		elsewhere := with(imported, map[string]any{"inputs": map[string]any{"shop": "two"}})
		assert.Equal(t, "two", members(t, f.Write("connections/slack", elsewhere).OK(t)["inputs"])["shop"])
		assert.Equal(t, "of shop two", f.Read("creds/slack", nil).OK(t)["access_token"])
		r := f.Write("connections/slack", elsewhere)
		r.OK(t)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "the newer ones were kept")
		assert.Equal(t, "of shop two", f.Read("creds/slack", nil).OK(t)["access_token"])
	})
}

// What a flow brought is not what was imported, whatever it replaced.
func TestImportSentAgainAfterAReconnect(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		imported := f.imported(t, "slack")
		f.connect(t, "slack")
		f.Advance(time.Minute)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusOK,
			`{"access_token":"of the import","token_type":"bearer","expires_in":3600}`))
		f.account(f.accountOf(t, "slack"))
		f.Write("connections/slack", imported).OK(t)
		assert.Equal(t, "of the import", f.Read("creds/slack", nil).OK(t)["access_token"])
	})
}

// imported imports a refresh token of the provider's, which the engine spends at once, and gives what was written.
func (f *fixture) imported(t *testing.T, path string) map[string]any {
	t.Helper()
	data := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
	r := f.Write("connections/"+path, data)
	require.Equal(t, "active", r.OK(t)["status"])
	require.Empty(t, r.Warnings)
	return data
}

func TestClientCredentials(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowApp(t)
		made := f.Write("connections/machine", map[string]any{
			"provider": "acme", "kind": "client_credentials",
			"label": "M",
		}).OK(t)
		assert.Equal(t, "client_credentials", made["kind"])
		assert.Equal(t, true, made["refreshable"])
		assert.Equal(t, "M", made["label"])
		token := f.Read("creds/machine", nil).OK(t)["access_token"].(string)
		assert.True(t, f.provider.Alive(token))
		f.Advance(2 * time.Hour)
		assert.NotEqual(t, token, f.Read("creds/machine", nil).OK(t)["access_token"])

		f.provider.Next(providers.StepToken, providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_client"}`),
			providertest.Respond(http.StatusServiceUnavailable, ""))
		another := map[string]any{"provider": "acme", "kind": "client_credentials"}
		f.Write("connections/m2", another).Refused(t, http.StatusConflict, "invalid_client", "providers/")
		f.Write("connections/m2", another).Refused(t, http.StatusBadGateway, "try again")
		f.Write("connections/m2", another).OK(t)
	})
}

// An import that replaces a grant which is being renewed waits for a renewal of its own: what the other brings is not
// its.
func TestImportDuringARefresh(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		another := f.elsewhere(t)
		f.Advance(time.Hour)
		begun, release := f.blocked()
		answers := make(chan testenv.Result, 9)
		go func() { answers <- f.Read("creds/slack", nil) }()
		<-begun
		imported := make(chan testenv.Result, 1)
		go func() { imported <- f.Write("connections/slack", map[string]any{"refresh_token": another}) }()
		require.Eventually(t, func() bool {
			return f.Read("connections/slack", nil).OK(t)["last_rotation"] == "2026-03-01T13:00:00Z"
		}, time.Minute, time.Millisecond, "the import is stored")
		for range cap(answers) - 1 {
			go func() { answers <- f.Read("creds/slack", nil) }()
		}
		close(release)
		r := <-imported
		assert.Equal(t, "active", r.OK(t)["status"])
		assert.Empty(t, r.Warnings)
		assert.Equal(t, "2026-03-01T14:00:00Z", r.Data["expire_time"], "it has a token by now")
		for range cap(answers) {
			token, _ := (<-answers).OK(t)["access_token"].(string)
			assert.NotEmpty(t, token)
			assert.True(t, f.provider.Alive(token))
		}
		sent := f.provider.Requests(providers.StepRefresh)
		require.Len(t, sent, 2)
		assert.Equal(t, another, sent[1].Form.Get("refresh_token"))
	})
}

// An entry that no release can decode is lost, and must not be in the way for ever.
func TestDamagedConnection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		f.allowApp(t)
		for _, name := range []string{"openai", "old", "slack", "bad"} {
			f.undecodable(t, "connection/org/default/"+name)
			f.Read("creds/"+name, nil).Refused(t, http.StatusInternalServerError, "damaged")
			f.Write("connections/"+name, map[string]any{"label": "x"}).
				Refused(t, http.StatusConflict, "damaged", "write a credential", "delete it")
		}
		f.Write("connections/openai", map[string]any{"api_key": openaiKey, "label": "new"}).OK(t)
		assert.Equal(t, openaiKey, f.Read("creds/openai", nil).OK(t)["api_key"])
		f.Write("connections/old", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}).OK(t)
		f.Write("connections/slack", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
		for _, name := range []string{"old", "slack"} {
			serves(name)(t, f)
		}

		r := f.Delete("connections/bad", nil)
		r.OK(t)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "not revoked")
		f.Read("creds/bad", nil).Refused(t, http.StatusBadRequest, "no connection")
		assert.Equal(t, []string{"old", "openai", "slack"}, f.stored(t, "connection/org/default/"))
		assert.EqualValues(t, 0, number(f.Read("status", nil).OK(t)["unreadable"]))
	})
}

// What a newer release wrote is whole, and that release may be back tomorrow.
func TestConnectionOfANewerRelease(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		newer := &logical.StorageEntry{
			Key: "connection/org/default/openai", Value: []byte(`{"version":9,"provider":"openai"}`),
		}
		require.NoError(t, f.Storage.Put(t.Context(), newer))
		f.Storage.Forget()
		for _, r := range []testenv.Result{
			f.Read("creds/openai", nil), f.Read("connections/openai", nil),
			f.Write("connections/openai", map[string]any{"api_key": openaiKey}),
			f.Write("connections/openai", map[string]any{"label": "x"}),
			f.Delete("connections/openai", nil),
		} {
			r.Refused(t, http.StatusInternalServerError, "written by a newer release", "run that release again")
		}
		assert.Zero(t, f.Storage.Writes())
	})
}

// What the app's own token needs of an input that people do without is said before anything is asked for, and a call
// that only people's tokens can make is not made with it.
func TestClientCredentialsDifferFromPeople(t *testing.T) {
	const tenants = `id: tenants
name: Tenants
kinds: [authorization_code, client_credentials]
inputs:
  - {name: tenant, set_by: provider, default: common, pattern: '[a-z]+', help: a directory}
endpoints:
  authorize: https://tenants.example.com/{tenant}/authorize
  token: https://tenants.example.com/{tenant}/token
  identity: https://tenants.example.com/me
token: {by_kind: {client_credentials: {inputs: {tenant: 't[a-z]+'}}}}
identity: {kinds: [authorization_code]}
account: {id: [sub]}
`
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	catalog, err := providers.NewRegistry(fstest.MapFS{
		"tenants.yaml": {Data: []byte(tenants)}, "oauth2.yaml": {Data: generic},
	})
	require.NoError(t, err)
	eachWith(t, Options{Catalog: catalog}, func(t *testing.T, f *fixture) {
		provider := map[string]any{
			"client_id": providertest.ClientID, "client_secret": providertest.ClientSecret,
			"kinds": "client_credentials", "endpoints": map[string]any{
				"token": f.provider.URL + "/token", "identity": f.provider.URL + "/userinfo",
			},
		}
		f.Write("providers/tenants", provider).OK(t)
		app := map[string]any{"provider": "tenants", "kind": "client_credentials"}
		f.Write("connections/app", app).
			Refused(t, http.StatusBadRequest, `input "tenant" of the kind client_credentials must match`, "a directory")
		assert.Empty(t, f.provider.Requests("token"), "nothing is asked for")
		provider["inputs"] = map[string]any{"tenant": "tom"}
		f.Write("providers/tenants", provider).OK(t)
		made := f.Write("connections/app", app)
		made.OK(t)
		assert.Empty(t, made.Warnings, "nobody must tell whose it is")
		told := f.Write("check/app", nil).OK(t)
		assert.Contains(t, told["advice"], "of the kind client_credentials works")
		assert.Empty(t, f.provider.Requests("identity"))
	})
}

// An app that asks for itself is granted what the definition asks for by default, as people are.
func TestClientCredentialsHaveDefaultScopes(t *testing.T) {
	const tasks = `id: tasks
name: Tasks
kinds: [client_credentials]
endpoints: {token: https://tasks.example.com/token}
scopes: {default: [read], offline: [offline_access]}
`
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	catalog, err := providers.NewRegistry(fstest.MapFS{
		"tasks.yaml": {Data: []byte(tasks)}, "oauth2.yaml": {Data: generic},
	})
	require.NoError(t, err)
	eachWith(t, Options{Catalog: catalog}, func(t *testing.T, f *fixture) {
		f.Write("providers/tasks", map[string]any{
			"client_id": providertest.ClientID, "client_secret": providertest.ClientSecret,
			"kinds": "client_credentials", "endpoints": map[string]any{"token": f.provider.URL + "/token"},
		}).OK(t)
		for _, want := range []string{"read", "write"} {
			f.Write("connections/"+want, map[string]any{"provider": "tasks", "kind": "client_credentials"}).OK(t)
			asked := f.provider.Requests(providers.StepToken)
			assert.Equal(t, want, asked[len(asked)-1].Form.Get("scope"))
			f.Write("providers/tasks", map[string]any{"scopes": "write"}).OK(t)
		}
	})
}

// A key of another group takes the place of the one before: nobody has to empty that.
func TestKeyOfAnotherGroup(t *testing.T) {
	const doors = `id: doors
name: Doors
kinds: [api_key]
key:
  one_of: [[token], [key_id, key_secret]]
  fields:
    - {name: token, secret: true}
    - {name: key_id}
    - {name: key_secret, secret: true}
    - {name: login, default_from: key_id}
send:
  optional_headers: {Authorization: 'Bearer {token}', X-Key: '{key_id}', X-Secret: '{key_secret}'}
`
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	catalog, err := providers.NewRegistry(fstest.MapFS{
		"doors.yaml": {Data: []byte(doors)}, "oauth2.yaml": {Data: generic},
	})
	require.NoError(t, err)
	eachWith(t, Options{Catalog: catalog}, func(t *testing.T, f *fixture) {
		f.Write("providers/doors", nil).OK(t)
		told := f.Read("catalog/doors", nil).OK(t)
		assert.Equal(t, []string{"token", "key_id,key_secret"}, texts(t, told["key_one_of"]))
		assert.Equal(t, "key_id", members(t, members(t, told["key_fields"])["login"])["default_from"])

		f.Write("connections/door", map[string]any{"provider": "doors", "token": "t-1"}).OK(t)
		f.Write("connections/door", map[string]any{"key_id": "i-1"}).
			Refused(t, http.StatusBadRequest, `field "key_secret" is missing`)
		assert.Equal(t, "t-1", f.Read("creds/door", nil).OK(t)["token"])
		f.Write("connections/door", map[string]any{"key_id": "i-1", "key_secret": "s-1"}).OK(t)
		has := f.Read("creds/door", nil).OK(t)
		assert.NotContains(t, has, "token")
		assert.Equal(t, "s-1", has["key_secret"])
		assert.Equal(t, "i-1", has["login"])
		f.Write("connections/door", map[string]any{"key_id": "i-2"}).OK(t)
		assert.Equal(t, "s-1", f.Read("creds/door", nil).OK(t)["key_secret"], "the rest of its group stays")
	})
}
