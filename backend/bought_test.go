package backend

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// Definitions of services where a key buys a token: one with the connection's own key, one with the operator's, one by
// logging in, and one where the assertion is the token.
var boughtDefinitions = map[string]string{
	"robots": `id: robots
name: Robots
kinds: [jwt_bearer]
key:
  fields:
    - {name: file, required: true, secret: true, json: {email: {required: true}, pem: {required: true, secret: true}}}
    - {name: subject, pattern: '[a-z]+'}
assertion:
  alg: RS256
  key: pem
  claims: {iss: '{email}', sub: '{subject}', scope: '{scopes}', aud: '{audience}'}
  ttl: 1h
inputs:
  - {name: audience, set_by: provider, required: true, pattern: 'https?://[^ ]+'}
endpoints: {token: https://robots.example.com/token, revoke: https://robots.example.com/revoke}
scopes: {default: [read]}
token: {by_kind: {jwt_bearer: {auth: none}}}
revoke: {auth: none, params: {token: '{access_token}'}}
account: {id: ['assertion:sub', 'assertion:iss']}
setup: {manage_url: https://robots.example.com/keys}
`,
	"apps": `id: apps
name: Apps
kinds: [jwt_bearer]
key: {fields: [{name: pem, set_by: provider, required: true, secret: true, multiline: true}]}
assertion: {alg: RS256, key: pem, claims: {iss: '{client_id}', aud: '{audience}'}, ttl: 1h}
inputs:
  - {name: audience, set_by: provider, required: true, pattern: 'https?://[^ ]+'}
  - {name: tenant, set_by: connection, required: true, pattern: '[a-z]+'}
endpoints:
  token: https://apps.example.com/{tenant}
  install: https://apps.example.com/{tenant}/install
  reaches: https://apps.example.com/all
install: {kinds: [jwt_bearer], params: {app: '{client_id}', back: '{redirect_uri}'}}
reaches: {auth: assertion, list: all, id: tenant, name: title, input: tenant}
token: {by_kind: {jwt_bearer: {auth: none}}}
`,
	"logins": `id: logins
name: Logins
kinds: [key_exchange]
key: {fields: [{name: username, required: true}, {name: password, required: true, secret: true}]}
endpoints: {token: https://logins.example.com/login}
token:
  auth: none
  body: json
  params: {username: '{username}', password: '{password}'}
  answer: {access_token: [data.token], expires_in: [data.ttl]}
`,
	"signed": `id: signed
name: Signed
kinds: [jwt_bearer]
key: {fields: [{name: pem, required: true, secret: true, multiline: true}, {name: login, required: true}]}
assertion:
  {alg: ES256, key: pem, claims: {iss: '{login}', fp: 'SHA256:{key_fingerprint}'}, ttl: 10m, credential: true}
refresh: {on_demand: true}
`,
}

func withBought(t *testing.T) Options {
	t.Helper()
	files := fstest.MapFS{}
	for id, text := range boughtDefinitions {
		files[id+".yaml"] = &fstest.MapFile{Data: []byte(text)}
	}
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	files["oauth2.yaml"] = &fstest.MapFile{Data: generic}
	catalog, err := providers.NewRegistry(files)
	require.NoError(t, err)
	return Options{Catalog: catalog}
}

// someKey is an RSA key as PEM, and its public part.
func someKey(t *testing.T) (text string, public *rsa.PublicKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), &key.PublicKey
}

func ecKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// certifiedKey is a key as PEM, with a certificate of it.
func certifiedKey(t *testing.T) (text, certificate string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}))
}

// keyFile is a key as a service gives it: a JSON file.
func keyFile(t *testing.T, email, pem string) string {
	t.Helper()
	text, err := json.Marshal(map[string]string{"email": email, "pem": pem, "token_uri": "https://evil.example.com/"})
	require.NoError(t, err)
	return string(text)
}

// robots configures the provider, and gives a key that it takes.
func (f *fixture) robots(t *testing.T) (file string) {
	t.Helper()
	pem, public := someKey(t)
	f.provider.Trust(public)
	f.Write("providers/robots", map[string]any{
		"endpoints": map[string]any{"token": f.provider.URL + "/token", "revoke": f.provider.URL + "/revoke"},
		"inputs":    map[string]any{"audience": f.provider.URL + "/token"},
	}).OK(t)
	return keyFile(t, "robot@example.com", pem)
}

// A key buys tokens for as long as it lives, and never leaves.
func TestKeyBuysTokens(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		file := f.robots(t)
		made := f.Write("connections/robots", map[string]any{"file": file, "subject": "ada"}).OK(t)
		assert.Equal(t, "active", made["status"])
		assert.Equal(t, "jwt_bearer", made["kind"])
		assert.Equal(t, "ada", members(t, made["account"])["id"])
		key := members(t, made["key"])
		assert.Equal(t, "ada", key["subject"])
		assert.Equal(t, "robot@example.com", key["email"])
		first := f.Read("creds/robots", nil).OK(t)
		assert.True(t, f.provider.Alive(first["access_token"].(string)))
		assert.NotContains(t, first, "file")
		assert.NotContains(t, first, "pem")
		assert.Equal(t, "[read]", fmt.Sprint(first["scopes"]))
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))

		f.Write("connections/robots", map[string]any{"file": file, "subject": "ada", "label": "x"}).OK(t)
		assert.Equal(t, first["last_vault_rotation"], f.Read("creds/robots", nil).OK(t)["last_vault_rotation"])
		assert.Equal(t, 1, f.provider.Count(providers.StepToken), "it is the key that is there")

		f.Advance(2 * time.Hour)
		second := f.Read("creds/robots", nil).OK(t)
		assert.True(t, f.provider.Alive(second["access_token"].(string)))
		assert.Equal(t, 2, f.provider.Count(providers.StepToken))
		f.restart(t)
		f.System.SetReplication(0)
		f.Advance(2 * time.Hour)
		assert.True(t, f.provider.Alive(f.token(t, "robots").(string)), "a new process has the key, too")
		masked := f.Read("connections/robots", nil).OK(t)
		text, err := json.Marshal(masked)
		require.NoError(t, err)
		assert.NotContains(t, string(text), "BEGIN")
		assert.NotContains(t, f.Logs.String(), "BEGIN")
	})
}

// What is no key for the service is told as such, and nothing is stored or sent.
func TestKeyThatBuysNothing(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		file := f.robots(t)
		other, _ := someKey(t)
		f.Storage.Forget()
		for _, c := range []struct {
			file   string
			status int
			says   string
		}{
			{keyFile(t, "robot@example.com", ecKey(t)), http.StatusBadRequest, "holds an ECDSA key of the curve P-256"},
			{keyFile(t, "robot@example.com", "-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----"), 400, "file"},
			{keyFile(t, "robot@example.com", "secret words"), http.StatusBadRequest, "is no PEM"},
			{strings.Replace(file, "pem", "pum", 1), http.StatusBadRequest, `lacks the member "pem"`},
			{keyFile(t, "robot@example.com", other), http.StatusConflict, "the service refuses this key"},
		} {
			r := f.Write("connections/robots", map[string]any{"file": c.file})
			r.Refused(t, c.status, c.says)
			assert.NotContains(t, r.Text, "secret words")
			assert.NotContains(t, r.Text, "MII")
			assert.Equal(t, http.StatusNotFound, f.Read("connections/robots", nil).Status)
		}
		assert.Zero(t, f.Storage.Writes())

		// and what is there goes on
		f.Write("connections/robots", map[string]any{"file": file}).OK(t)
		before := f.Read("creds/robots", nil).OK(t)
		f.Write("connections/robots", map[string]any{"file": keyFile(t, "robot@example.com", other)}).
			Refused(t, http.StatusConflict, "nothing was changed")
		assert.Equal(t, before, f.Read("creds/robots", nil).OK(t))
	})
}

// A key that the service takes no more needs another, and one write of it brings the connection back.
func TestKeyIsTakenBack(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		file := f.robots(t)
		f.Write("connections/robots", map[string]any{"file": file}).OK(t)
		f.provider.Trust(nil)
		f.Advance(2 * time.Hour)
		f.Read("creds/robots", nil).
			Refused(t, http.StatusConflict, "grant_refused", "write its key fields to connections/org/default/robots")
		assert.Equal(t, "needs_reconnect", f.Read("connections/robots", nil).OK(t)["status"])
		calls := f.provider.Count(providers.StepToken)
		f.Read("creds/robots", nil).Refused(t, http.StatusConflict)
		assert.Equal(t, calls, f.provider.Count(providers.StepToken), "a refused key rests")

		again := f.robots(t)
		f.Write("connections/robots", map[string]any{"file": again}).OK(t)
		assert.True(t, f.provider.Alive(f.token(t, "robots").(string)))

		f.provider.Trust(nil)
		f.Advance(2 * time.Hour)
		f.Read("creds/robots", nil).Refused(t, http.StatusConflict)
		_, public := someKey(t)
		f.provider.Trust(public)
		f.Write("refresh/robots", nil).Refused(t, http.StatusConflict)
	})
}

// A key is private where its owner wrote it, goes to nobody with a transfer by others, and its end erases it.
func TestKeyThatBuysBelongsToItsOwner(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		file := f.robots(t)
		f.Write("connections/self/robots", map[string]any{"file": file}, alice).OK(t)
		f.Read("creds/user/e-alice/robots", nil, bob).Refused(t, http.StatusForbidden, "private")
		f.Read("creds/self/robots", nil, alice).OK(t)

		d := f.Delete("connections/self/robots", nil, alice)
		d.OK(t)
		assert.Contains(t, strings.Join(d.Warnings, " "), "https://robots.example.com/keys", "people end the key there")
		assert.Len(t, f.provider.Requests(providers.StepRevoke), 1)
	})
}

// The operator's key opens no user's connection, only kinds that the operator allows, and inputs that are bound.
func TestKeyOfTheApp(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		pem, public := someKey(t)
		f.provider.Trust(public)
		configure := map[string]any{
			"client_id": "app-1", "pem": pem, "endpoints": map[string]any{"token": f.provider.URL + "/token"},
			"inputs": map[string]any{"audience": f.provider.URL + "/token"},
		}
		f.Write("providers/apps", map[string]any{"client_id": "app-1", "pem": ecKey(t)}).
			Refused(t, http.StatusBadRequest, "holds an ECDSA key", "RS256")
		shown := f.Write("providers/apps", configure).OK(t)
		text, err := json.Marshal(shown)
		require.NoError(t, err)
		assert.NotContains(t, string(text), "BEGIN")
		of := func(tenant string) map[string]any {
			return map[string]any{"provider": "apps", "kind": "jwt_bearer", "inputs": map[string]any{"tenant": tenant}}
		}
		f.Write("connections/org/acme/apps", of("one")).Refused(t, http.StatusForbidden, "kinds on providers/apps")
		f.Write("providers/apps", map[string]any{"kinds": "jwt_bearer"}).OK(t)
		f.Write("connections/org/acme/apps", of("one")).Refused(t, http.StatusForbidden, "bound_inputs")
		f.Write("connections/self/apps", of("one"), alice).Refused(t, http.StatusForbidden, "organization")
		assert.Zero(t, f.provider.Count(providers.StepToken))
		f.Write("providers/apps", map[string]any{
			"bound_inputs": map[string]any{"org/acme": map[string]any{"tenant": []any{"one", "two"}}},
		}).OK(t)
		f.Write("connections/org/acme/apps", of("one")).OK(t)
		assert.True(t, f.provider.Alive(f.token(t, "org/acme/apps").(string)))
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))

		// the same words again change nothing, and another input asks anew
		f.Write("connections/org/acme/apps", of("one")).OK(t)
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))
		f.Write("connections/org/acme/apps", of("two")).OK(t)
		assert.Equal(t, 2, f.provider.Count(providers.StepToken))
		f.Write("connections/org/acme/apps", of("three")).Refused(t, http.StatusForbidden, "bound_inputs")

		// a key that the service takes no more is the app's fault, and not the connection's
		f.provider.Trust(nil)
		f.provider.Next(providers.StepToken, providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_client"}`))
		f.Advance(2 * time.Hour)
		f.Read("creds/org/acme/apps", nil).Refused(t, http.StatusConflict, "refuses the app itself", "providers/apps")
	})
}

// A login is one call, and a token of its own making is none.
func TestLoginBuysATokenAndASignatureIsOne(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		f.provider.SetPassword("pass-1234")
		f.Write("providers/logins", map[string]any{"endpoints": map[string]any{"token": f.provider.URL + "/login"}}).OK(t)
		f.Write("connections/logins", map[string]any{"username": "ada", "password": "wrong"}).
			Refused(t, http.StatusConflict, "the service refuses this key")
		f.Write("connections/logins", map[string]any{"username": "ada", "password": "pass-1234"}).OK(t)
		creds := f.Read("creds/logins", nil).OK(t)
		assert.True(t, f.provider.Alive(creds["access_token"].(string)))
		assert.NotContains(t, creds, "password")
		f.Advance(2 * time.Hour)
		assert.True(t, f.provider.Alive(f.token(t, "logins").(string)))

		calls := f.provider.Count(providers.StepToken)
		f.Write("providers/signed", nil).OK(t)
		f.Write("connections/signed", map[string]any{"login": "BOB", "pem": ecKey(t)}).OK(t)
		one := f.token(t, "signed")
		assert.Equal(t, one, f.token(t, "signed"), "it is kept until it ends")
		f.Advance(11 * time.Minute)
		assert.NotEqual(t, one, f.token(t, "signed"))
		assert.Equal(t, calls, f.provider.Count(providers.StepToken))
	})
}

// What nobody tries is bought soon, once for all who wait.
func TestReadersOfAKeyThatBoughtNothingYet(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		file := f.robots(t)
		f.Write("connections/robots", map[string]any{"file": file, "verify": false}).OK(t)
		const readers = 200
		var wg sync.WaitGroup
		tokens := make([]testenv.Result, readers)
		for i := range readers {
			wg.Go(func() { tokens[i] = f.Read("creds/robots", nil) })
		}
		wg.Wait()
		for _, r := range tokens {
			assert.Equal(t, tokens[0].OK(t)["access_token"], r.OK(t)["access_token"])
		}
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))
	})
}

// Whatever storage does at each access, the key stays, and what was bought is served.
func TestBoughtWhileStorageFails(t *testing.T) {
	for n := 1; n <= 6; n++ {
		eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
			file := f.robots(t)
			f.Storage.FailWrite(n)
			r := f.Write("connections/robots", map[string]any{"file": file})
			if r.Status >= 400 {
				f.Write("connections/robots", map[string]any{"file": file}).OK(t)
			}
			assert.True(t, f.provider.Alive(f.token(t, "robots").(string)))
			f.Advance(2 * time.Hour)
			f.Storage.FailWrite(n)
			assert.True(t, f.provider.Alive(f.token(t, "robots").(string)))
			f.Advance(2 * time.Hour)
			assert.True(t, f.provider.Alive(f.token(t, "robots").(string)))
		})
	}
}

// On a standby a token that lives is served, and none is bought.
func TestBoughtOnAStandby(t *testing.T) {
	f := newFixture(t, withBought(t), testenv.InProcess)
	file := f.robots(t)
	f.Write("connections/robots", map[string]any{"file": file}).OK(t)
	f.System.SetReplication(consts.ReplicationPerformanceStandby)
	f.Read("creds/robots", nil).OK(t)
	f.Advance(2 * time.Hour)
	assert.ErrorIs(t, f.Read("creds/robots", nil).Err, logical.ErrReadOnly)
	assert.ErrorIs(t, f.Write("connections/other", map[string]any{"provider": "robots", "file": file}).Err,
		logical.ErrReadOnly)
	assert.Equal(t, 1, f.provider.Count(providers.StepToken))
}

// A consent without a code proves that somebody consented, and nothing else: whose account it is the operator bound.
func TestConsentWithoutACode(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		pem, public := someKey(t)
		f.provider.Trust(public)
		f.Write("providers/apps", map[string]any{
			"client_id": "app-1", "pem": pem, "endpoints": map[string]any{"token": f.provider.URL + "/token"},
			"inputs": map[string]any{"audience": f.provider.URL + "/token"}, "kinds": "jwt_bearer",
			"redirect_uris": "https://app.example.com/back",
			"bound_inputs":  map[string]any{"org/acme": map[string]any{"tenant": "one"}},
		}).OK(t)
		of := func(tenant string, more ...string) map[string]any {
			asked := map[string]any{
				"provider": "apps", "kind": "jwt_bearer", "inputs": map[string]any{"tenant": tenant},
			}
			for i := 0; i < len(more); i += 2 {
				asked[more[i]] = more[i+1]
			}
			return asked
		}
		f.Write("auth-code-url/org/acme/apps", of("two"), alice).Refused(t, http.StatusForbidden, "bound_inputs")
		f.Write("auth-code-url/self/apps", of("one"), alice).Refused(t, http.StatusForbidden, "organization")
		f.Write("auth-code-url/org/acme/apps", of("one", "redirect_uri", "https://app.example.com/back"), alice).
			Refused(t, http.StatusBadRequest, "Vault's own callback")
		flow := f.Write("auth-code-url/org/acme/apps", of("one"), alice).OK(t)
		asked, err := url.Parse(flow["url"].(string))
		require.NoError(t, err)
		assert.Equal(t, "https://apps.example.com/one/install", "https://"+asked.Host+asked.Path)
		assert.Equal(t, "app-1", asked.Query().Get("app"))
		assert.Equal(t, flow["redirect_uri"], asked.Query().Get("back"))
		assert.NotContains(t, asked.Query(), "code_challenge")
		finish := map[string]any{"flow_id": flow["flow_id"]}
		f.Write("exchange", finish, alice).Refused(t, http.StatusConflict, "authorization_pending")
		assert.Zero(t, f.provider.Count(providers.StepToken))

		// what else comes back is anybody's to write
		page := f.callback(t, "apps", map[string]string{
			"state": asked.Query().Get("state"), "tenant": "two", "installation_id": "7", "code": "stolen",
		})
		shown := shownCode.FindStringSubmatch(page)
		require.NotNil(t, shown, "the page shows a code")
		again := f.callback(t, "apps", map[string]string{"state": asked.Query().Get("state")})
		assert.Nil(t, shownCode.FindStringSubmatch(again), "once")
		finish["confirmation_code"] = "AAAAAAAA"
		f.Write("exchange", finish, alice).Refused(t, http.StatusBadRequest, "does not match")
		finish["confirmation_code"] = shown[1] + shown[2]
		f.Write("exchange", finish, bob).Refused(t, http.StatusForbidden, "somebody else")
		assert.Zero(t, f.provider.Count(providers.StepToken))
		made := f.Write("exchange", finish, alice).OK(t)
		assert.Equal(t, "active", made["status"])
		assert.Equal(t, "one", members(t, made["inputs"])["tenant"])
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))
		f.Write("exchange", finish, alice).OK(t)
		assert.Equal(t, 1, f.provider.Count(providers.StepToken), "the same request hears the same answer")
		assert.True(t, f.provider.Alive(f.token(t, "org/acme/apps").(string)))
		for _, r := range f.provider.Requests(providers.StepToken) {
			assert.NotContains(t, r.Body, "stolen")
		}

		// no is no, and what is bound no more by then is not connected
		flow = f.Write("auth-code-url/org/acme/more", of("one"), alice).OK(t)
		asked, err = url.Parse(flow["url"].(string))
		require.NoError(t, err)
		f.callback(t, "apps", map[string]string{"state": asked.Query().Get("state"), "error": "access_denied"})
		f.Write("exchange", map[string]any{"flow_id": flow["flow_id"]}, alice).
			Refused(t, http.StatusConflict, "access_denied")
		flow = f.Write("auth-code-url/org/acme/more", of("one"), alice).OK(t)
		asked, err = url.Parse(flow["url"].(string))
		require.NoError(t, err)
		shown = shownCode.FindStringSubmatch(f.callback(t, "apps", map[string]string{"state": asked.Query().Get("state")}))
		require.NotNil(t, shown)
		f.Write("providers/apps", map[string]any{"bound_inputs": map[string]any{}}).OK(t)
		f.Write("exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": shown[1] + shown[2]}, alice).
			Refused(t, http.StatusForbidden, "bound_inputs")
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))
	})
}

// The operator is told where the app was let in, with what is bound to whom; nothing is stored, and nobody else asks.
func TestReach(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		pem, public := someKey(t)
		f.provider.Trust(public)
		f.Write("providers/apps", map[string]any{
			"client_id": "app-1", "pem": pem, "kinds": "jwt_bearer", "inputs": map[string]any{"audience": f.provider.URL + "/token"},
			"endpoints": map[string]any{"token": f.provider.URL + "/token", "reaches": f.provider.URL + "/userinfo"},
			"bound_inputs": map[string]any{
				"org/acme": map[string]any{"tenant": "one"}, "org/*": map[string]any{"tenant": "one,two"},
			},
		}).OK(t)
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"all": [
			{"tenant": "one", "title": "One\u202e Ltd"}, {"tenant": "three", "title": 3}, {"tenant": "UPPER"}, {"title": "none"}, 7
		]}`))
		f.Storage.Forget()
		told := f.Write("providers/apps/reach", nil).OK(t)
		assert.Zero(t, f.Storage.Writes())
		assert.Equal(t, "tenant", told["input"])
		assert.Equal(t, "[map[bound:[org/* org/acme] id:one name:One Ltd] map[bound:[] id:three name:3]]",
			fmt.Sprint(told["reaches"]))
		sent := f.provider.Requests(providers.StepIdentity)
		assert.Regexp(t, `^Bearer eyJ`, sent[0].Header.Get("Authorization"), "what the app signs")

		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusUnauthorized, `{"error":"bad words"}`))
		r := f.Write("providers/apps/reach", nil)
		assert.GreaterOrEqual(t, r.Status, 400)
		assert.NotContains(t, r.Text, "bad words")
		f.Write("providers/apps", map[string]any{"frozen": true, "frozen_reason": "an incident"}).OK(t)
		f.Write("providers/apps/reach", nil).Refused(t, http.StatusForbidden, "frozen", "an incident")
		f.Write("providers/acme/reach", nil).Refused(t, http.StatusBadRequest, "bound_inputs on providers/acme")
		f.Write("providers/none/reach", nil).Refused(t, http.StatusBadRequest, "no provider")
		assert.Equal(t, 2, f.provider.Count(providers.StepIdentity))
	})
}
