package providers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// pemOfKey is a private key as people have it.
func pemOfKey(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func newRSAKey(t *testing.T) (*rsa.PrivateKey, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key, pemOfKey(t, key)
}

// said is one request that a service got.
type said struct {
	method, path string
	query        url.Values
	header       http.Header
	form         url.Values
	body         string
}

// answering is a service that answers each request with the next of its answers, and keeps what it was asked.
type answering struct {
	URL   string
	asked []said
}

func newAnswering(t *testing.T, answers ...string) *answering {
	t.Helper()
	service := &answering{}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		form, _ := url.ParseQuery(string(body))
		service.asked = append(service.asked, said{
			r.Method, r.URL.Path, r.URL.Query(), r.Header.Clone(), form, string(body),
		})
		w.Header().Set("Content-Type", "application/json")
		if len(service.asked) > len(answers) {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_, _ = io.WriteString(w, answers[len(service.asked)-1])
	}))
	t.Cleanup(web.Close)
	service.URL = web.URL
	return service
}

// appOf is an app of a definition whose endpoints lead to a server.
func appOf(t *testing.T, text string, endpoints map[providers.Step]string) *providers.App {
	t.Helper()
	def, err := providers.Decode("acme.yaml", []byte("id: acme\nname: Acme\n"+text))
	require.NoError(t, err)
	return &providers.App{Definition: def, ClientID: "app-1", Endpoints: endpoints}
}

func issueAt(t *testing.T, client *providers.Client, app *providers.App, kind providers.Kind,
	key, inputs map[string]string,
) (providers.Resolved, *providers.Grant, error) {
	t.Helper()
	res, err := client.Resolve(t.Context(), app, kind, inputs)
	require.NoError(t, err)
	secrets := map[string]providers.Secret{}
	for name, value := range key {
		secrets[name] = providers.NewSecret(value)
	}
	g, err := client.Issue(t.Context(), app, providers.IssueRequest{
		Kind: kind, Resolved: res, Scopes: app.ScopesOfTheApp(), Key: secrets,
	})
	return res, g, err
}

const robotYAML = `kinds: [jwt_bearer]
key: {fields: [{name: pem, required: true, secret: true, multiline: true}, {name: login, required: true}]}
assertion:
  alg: RS256
  key: pem
  claims: {iss: '{login}', scope: '{scopes}', aud: '{audience}'}
  ttl: 1h
inputs:
  - {name: audience, set_by: connection, required: true, pattern: 'https?://[^ ]+'}
endpoints: {token: https://acme.example.com/token}
scopes: {default: [read, write]}
token: {by_kind: {jwt_bearer: {auth: none}}}
account: {id: ['assertion:iss'], label: ['assertion:iss']}
`

// A key buys a token, and the next: with an assertion each time, and nothing beside it. What an answer says of
// refresh tokens is not kept.
func TestIssueWithAnAssertion(t *testing.T) {
	server := providertest.New(t)
	key, text := newRSAKey(t)
	server.Trust(key.Public())
	app := appOf(t, robotYAML, map[providers.Step]string{"token": server.URL + "/token"})
	app.ClientSecret = providers.NewSecret("app-secret-1")
	client := newClient(t, time.Now)
	inputs := map[string]string{"audience": server.URL + "/token"}
	res, g, err := issueAt(t, client, app, providers.KindJWTBearer,
		map[string]string{"pem": text, "login": "robot"}, inputs)
	require.NoError(t, err)
	assert.True(t, server.Alive(g.AccessToken.Reveal()))
	assert.True(t, g.RefreshToken.IsZero())
	assert.Equal(t, providers.Account{ID: "robot", Label: "robot"}, g.Account)
	assert.Equal(t, []string{"read", "write"}, g.Scopes)
	require.Contains(t, g.Key, "pem")
	assert.Equal(t, text, g.Key["pem"].Reveal())

	require.True(t, app.CanRefresh(providers.KindJWTBearer, g))
	assert.False(t, app.MayRotate(providers.KindJWTBearer))
	server.Next("token", providertest.Respond(200,
		`{"access_token":"next","expires_in":60,"refresh_token":"refresh-1","refresh_token_expires_in":5}`))
	next, err := client.Refresh(t.Context(), app, res, providers.KindJWTBearer, g)
	require.NoError(t, err)
	assert.Equal(t, "next", next.AccessToken.Reveal())
	assert.True(t, next.RefreshToken.IsZero(), "asking again is always possible")
	assert.True(t, next.RefreshExpires.IsZero())
	assert.Equal(t, g.Key, next.Key)
	assert.Equal(t, g.Account, next.Account)

	asked := server.Requests("token")
	require.Len(t, asked, 2)
	for _, r := range asked {
		assert.Equal(t, []string{"urn:ietf:params:oauth:grant-type:jwt-bearer"}, r.Form["grant_type"])
		assert.Len(t, r.Form, 2, "and the assertion")
		assert.Empty(t, r.Header.Get("Authorization"))
		signed, err := jose.ParseSignedCompact(r.Form.Get("assertion"), []jose.SignatureAlgorithm{jose.RS256})
		require.NoError(t, err)
		payload, err := signed.Verify(key.Public())
		require.NoError(t, err)
		assert.Contains(t, string(payload), `"scope":"read write"`)
		assert.NotContains(t, r.Body, "app-secret-1")
	}

	next.Key = nil
	_, err = client.Refresh(t.Context(), app, res, providers.KindJWTBearer, next)
	assert.Equal(t, providers.ReasonNotRefreshable, failure(t, err).Reason, "without its key nothing buys the next")
	assert.Equal(t, 2, server.Count("token"))
}

// noCall fails when anything is sent.
type noCall struct{ t *testing.T }

func (n noCall) Do(r *http.Request) (*http.Response, error) {
	n.t.Errorf("a call is made: %s", r.URL.Host)
	return nil, errors.New("no call")
}

// An assertion that is the credential is signed here, whoever is asked for nothing.
func TestIssueAnAssertionItself(t *testing.T) {
	app := appOf(t, `kinds: [jwt_bearer]
key: {fields: [{name: pem, required: true, secret: true, multiline: true}, {name: login, required: true}]}
assertion: {alg: ES256, key: pem, claims: {sub: '{login}'}, ttl: 10m, skew: 1m, jti: true, credential: true}
refresh: {on_demand: true}
account: {id: ['assertion:sub']}
connection_config:
  - {name: subject, from: access_token_claims, path: [sub], required: true}
`, nil)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	at := time.Date(2026, 11, 29, 12, 0, 0, 500, time.UTC)
	client := providers.NewClient(noCall{t}, func() time.Time { return at }, "connectors-test/1")
	res, g, err := issueAt(t, client, app, providers.KindJWTBearer,
		map[string]string{"pem": pemOfKey(t, key), "login": "ada"}, nil)
	require.NoError(t, err)
	assert.Equal(t, "Bearer", g.TokenType)
	assert.Equal(t, at, g.Issued)
	assert.Equal(t, time.Date(2026, 11, 29, 12, 10, 0, 0, time.UTC), g.Expires)
	assert.Equal(t, "ada", g.Account.ID)
	assert.Equal(t, map[string]string{"subject": "ada"}, g.Config)
	signed, err := jose.ParseSignedCompact(g.AccessToken.Reveal(), []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	payload, err := signed.Verify(key.Public())
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, json.Unmarshal(payload, &claims))
	assert.InDelta(t, g.Expires.Unix(), claims["exp"], 0, "what is told of its end is what it says")

	at = at.Add(5 * time.Minute)
	next, err := client.Refresh(t.Context(), app, res, providers.KindJWTBearer, g)
	require.NoError(t, err)
	assert.NotEqual(t, g.AccessToken.Reveal(), next.AccessToken.Reveal())
	assert.Equal(t, g.Expires.Add(5*time.Minute), next.Expires)
}

// The assertion can be a bearer token of the token call and of others, made with the operator's key.
func TestIssueWithABearer(t *testing.T) {
	service := newAnswering(t, `{"token":"ghs-1","expires_at":"2026-11-29T13:00:00Z","repository_selection":"all"}`,
		`{"account":{"id":12,"login":"acme"}}`)
	app := appOf(t, `kinds: [jwt_bearer]
key: {fields: [{name: pem, set_by: provider, required: true, secret: true, multiline: true}]}
assertion: {alg: RS256, key: pem, claims: {iss: '{client_id}'}, ttl: 9m, skew: 60s}
inputs:
  - {name: installation, set_by: either, required: true, pattern: '[0-9]+'}
endpoints:
  token: https://acme.example.com/{installation}/tokens
  identity: https://acme.example.com/{installation}
token:
  by_kind:
    jwt_bearer:
      {auth: assertion, headers: {X-Version: '2'}, answer: {access_token: [token], expires_at: [expires_at]}}
identity: {auth: assertion}
account: {id: [account.id], label: [account.login]}
connection_config:
  - {name: repositories, from: token, path: [repository_selection]}
`, map[providers.Step]string{
		"token": service.URL + "/{installation}/tokens", "identity": service.URL + "/{installation}",
	})
	key, text := newRSAKey(t)
	app.Keys = map[string]providers.Secret{"pem": providers.NewSecret(text)}
	at := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	client := providers.NewClient(http.DefaultClient, func() time.Time { return at }, "connectors-test/1")
	res, g, err := issueAt(t, client, app, providers.KindJWTBearer, nil, map[string]string{"installation": "7"})
	require.NoError(t, err)
	require.NoError(t, client.Identify(t.Context(), app, res, providers.KindJWTBearer, g))
	assert.Equal(t, "ghs-1", g.AccessToken.Reveal())
	assert.Equal(t, at.Add(time.Hour), g.Expires)
	assert.Equal(t, map[string]string{"repositories": "all"}, g.Config)
	assert.Equal(t, providers.Account{ID: "12", Label: "acme"}, g.Account)
	assert.Empty(t, g.Key, "the operator's key stays the operator's")
	assert.True(t, app.CanRefresh(providers.KindJWTBearer, g))

	require.Len(t, service.asked, 2)
	assert.Equal(t, "/7/tokens", service.asked[0].path)
	assert.Equal(t, "2", service.asked[0].header.Get("X-Version"))
	assert.Empty(t, service.asked[0].body, "no grant_type, and no assertion beside the header")
	assert.Equal(t, "/7", service.asked[1].path)
	for _, r := range service.asked {
		bearer, is := strings.CutPrefix(r.header.Get("Authorization"), "Bearer ")
		require.True(t, is)
		signed, err := jose.ParseSignedCompact(bearer, []jose.SignatureAlgorithm{jose.RS256})
		require.NoError(t, err)
		payload, err := signed.Verify(key.Public())
		require.NoError(t, err)
		assert.JSONEq(t, `{"iss":"app-1","iat":1795953540,"exp":1795954140}`, string(payload))
	}
}

// A login is a call like any other: its own endpoint, body, answer and end.
func TestIssueByALogin(t *testing.T) {
	service := newAnswering(t, `{"session":{"value":"s-1","ttl":90}}`, `{"session":{"value":"s-2"}}`)
	app := appOf(t, `kinds: [key_exchange, api_key]
key:
  fields: [{name: username, required: true}, {name: password, required: true, secret: true}]
  send: {basic_user: '{username}', basic_password: '{password}'}
check: none
endpoints: {login: https://acme.example.com/login}
token:
  by_kind:
    key_exchange:
      endpoint: login
      method: PUT
      auth: none
      body: json
      headers: {X-Api: '3'}
      params: {user: '{username}', secret: '{password}'}
      answer: {access_token: [session.value], expires_in: [session.ttl]}
      lifetime: {when_absent: 5m}
`, map[providers.Step]string{"login": service.URL + "/login"})
	client := newClient(t, time.Now)
	res, g, err := issueAt(t, client, app, providers.KindKeyExchange,
		map[string]string{"username": "ada", "password": "pass-1"}, nil)
	require.NoError(t, err)
	assert.Equal(t, "s-1", g.AccessToken.Reveal())
	assert.Equal(t, 90*time.Second, g.Lifetime())
	next, err := client.Refresh(t.Context(), app, res, providers.KindKeyExchange, g)
	require.NoError(t, err)
	assert.Equal(t, "s-2", next.AccessToken.Reveal())
	assert.Equal(t, 5*time.Minute, next.Lifetime())
	require.Len(t, service.asked, 2)
	for _, r := range service.asked {
		assert.Equal(t, http.MethodPut, r.method)
		assert.Equal(t, "3", r.header.Get("X-Api"))
		assert.Empty(t, r.header.Get("Authorization"))
		assert.JSONEq(t, `{"user":"ada","secret":"pass-1"}`, r.body)
	}
}

const brokerYAML = `kinds: [brokered]
inputs:
  - {name: account, set_by: either, required: true, pattern: 'a-[0-9]+'}
endpoints: {token: https://acme.example.com/token, upgrade: 'https://acme.example.com/accounts/{account}'}
token: {by_kind: {brokered: {scopes: ['accounts:read']}}}
client: {auth: [post]}
upgrade: {method: GET, auth: bearer, answer: {access_token: [of.token], expires_at: [of.end], scope: [of.scope]}}
account: {id: ['upgrade:id']}
connection_config:
  - {name: app, from: upgrade, path: [app]}
check: none
`

// Another service holds the account: what the app gets for itself there is kept nowhere, and neither is what renews the
// account's token, which is that service's to do.
func TestIssueFromABroker(t *testing.T) {
	of := func(token, more string) string {
		return `{"id":"a-7","app":"mail","of":{"token":"` + token + `","end":"2026-11-29T12:10:00Z"` + more +
			`},"refresh_token":"refresh-of-the-account","refresh_token_expires_in":9}`
	}
	const app1 = `{"access_token":"of-the-app","expires_in":3600,"scope":"accounts:read",` +
		`"refresh_token":"refresh-of-the-app"}`
	service := newAnswering(t, app1, of("of-the-account", `,"scope":"mail.read mail.send"`),
		app1, of("the-next", ""), app1, of("silent", ""))
	app := appOf(t, brokerYAML, map[providers.Step]string{
		"token": service.URL + "/token", "upgrade": service.URL + "/accounts/{account}",
	})
	app.ClientSecret = providers.NewSecret("app-secret-1")
	at := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	client := providers.NewClient(http.DefaultClient, func() time.Time { return at }, "connectors-test/1")
	res, g, err := issueAt(t, client, app, providers.KindBrokered, nil, map[string]string{"account": "a-7"})
	require.NoError(t, err)
	assert.Equal(t, "of-the-account", g.AccessToken.Reveal())
	assert.True(t, g.RefreshToken.IsZero())
	assert.True(t, g.RefreshExpires.IsZero())
	assert.Equal(t, 10*time.Minute, g.Lifetime())
	assert.Equal(t, []string{"mail.read", "mail.send"}, g.Scopes)
	assert.Equal(t, "a-7", g.Account.ID)
	assert.Equal(t, map[string]string{"app": "mail"}, g.Config)

	next, err := client.Refresh(t.Context(), app, res, providers.KindBrokered, g)
	require.NoError(t, err)
	assert.Equal(t, "the-next", next.AccessToken.Reveal())
	assert.True(t, next.RefreshToken.IsZero())
	assert.Equal(t, g.Scopes, next.Scopes)
	_, silent, err := issueAt(t, client, app, providers.KindBrokered, nil, map[string]string{"account": "a-7"})
	require.NoError(t, err)
	assert.Empty(t, silent.Scopes, "those of the app's own token say nothing of the account's")
	require.Len(t, service.asked, 6)
	for i, r := range service.asked {
		if i%2 == 0 {
			assert.Equal(t, url.Values{
				"grant_type": {"client_credentials"}, "client_id": {"app-1"}, "client_secret": {"app-secret-1"},
				"scope": {"accounts:read"},
			}, r.form)
			continue
		}
		assert.Equal(t, "/accounts/a-7", r.path)
		assert.Equal(t, "Bearer of-the-app", r.header.Get("Authorization"))
		assert.NotContains(t, r.body, "app-secret-1")
	}
}

// An account of which the broker gives nothing is an error, and the app's token is never taken for the account's.
func TestIssueFromABrokerWithout(t *testing.T) {
	service := newAnswering(t, `{"access_token":"of-the-app","expires_in":3600}`, `{"id":"a-7","app":"mail"}`)
	app := appOf(t, brokerYAML, map[providers.Step]string{
		"token": service.URL + "/token", "upgrade": service.URL + "/accounts/{account}",
	})
	app.ClientSecret = providers.NewSecret("app-secret-1")
	_, g, err := issueAt(t, newClient(t, time.Now), app, providers.KindBrokered, nil, map[string]string{"account": "a-7"})
	assert.Nil(t, g)
	e := failure(t, err)
	assert.Equal(t, providers.StepUpgrade, e.Step)
	assert.Equal(t, providers.ReasonNoAccessToken, e.Reason)
}

// What a service says of an assertion is said of who has the key: the connection, or the app. Neither the key nor the
// words of the answer stand in the error.
func TestIssueFailures(t *testing.T) {
	_, text := newRSAKey(t)
	const words = "words of the provider that must not be repeated"
	for _, test := range []struct {
		name     string
		answer   providertest.Behavior
		own, app providers.Class // the key is the connection's, or the operator's
	}{
		{
			"the grant", providertest.Respond(400, `{"error":"invalid_grant","error_description":"`+words+`"}`),
			providers.Rejected, providers.Rejected,
		},
		{
			"the client", providertest.Respond(401, `{"error":"invalid_client","error_description":"`+words+`"}`),
			providers.Rejected, providers.Misconfigured,
		},
		{
			"the client, not allowed", providertest.Respond(400, `{"error":"unauthorized_client"}`),
			providers.Rejected, providers.Misconfigured,
		},
		{
			"401 in words of its own", providertest.Respond(401, `{"message":"`+words+`"}`),
			providers.Rejected, providers.Transient,
		},
		{"scopes", providertest.Respond(400, `{"error":"invalid_scope"}`), providers.Misconfigured, providers.Misconfigured},
		{
			"too many", providertest.Respond(429, `{"error":"`+words+`"}`, "Retry-After", "7"),
			providers.RateLimited, providers.RateLimited,
		},
		{
			"too many, as 401", providertest.Respond(401, `{}`, "Retry-After",
				"7"), providers.RateLimited, providers.RateLimited,
		},
		{"unwell", providertest.Respond(503, words), providers.Transient, providers.Transient},
		{"a gateway", providertest.Respond(502, words), providers.Unknown, providers.Unknown},
		{"no token", providertest.Respond(200, `{"ok":true}`), providers.Unknown, providers.Unknown},
		{"cut off", providertest.ResetAfter(), providers.Unknown, providers.Unknown},
		{
			"elsewhere", providertest.Respond(302, "", "Location", "https://evil.example.com/"),
			providers.Transient, providers.Transient,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, side := range []struct {
				own  bool
				want providers.Class
			}{{true, test.own}, {false, test.app}} {
				server := providertest.New(t)
				yaml, key := robotYAML, map[string]string{"login": "robot", "pem": text}
				if !side.own {
					yaml = strings.Replace(yaml, "name: pem,", "name: pem, set_by: provider,", 1)
					yaml = strings.Replace(yaml, ", {name: login, required: true}", "", 1)
					yaml = strings.ReplaceAll(yaml, "{login}", "{client_id}")
					key = nil
				}
				app := appOf(t, yaml, map[providers.Step]string{"token": server.URL + "/token"})
				app.Keys = map[string]providers.Secret{"pem": providers.NewSecret(text)}
				if side.own {
					app.Keys = nil
				}
				server.Next("token", test.answer)
				inputs := map[string]string{"audience": server.URL + "/token"}
				_, g, err := issueAt(t, newClient(t, time.Now), app, providers.KindJWTBearer, key, inputs)
				assert.Nil(t, g)
				e := failure(t, err)
				assert.Equal(t, side.want, e.Class, "the connection's own key: %t", side.own)
				assert.Equal(t, providers.StepToken, e.Step)
				assert.False(t, e.NotSent())
				assertTellsNothing(t, err, words, text)
				assert.Equal(t, 1, server.Count("token"), "it is the caller's to try again")
			}
		})
	}
}

// assertTellsNothing fails when an error, or what lies behind it, repeats words or a key.
func assertTellsNothing(t *testing.T, err error, words, key string) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		assert.NotContains(t, err.Error(), words)
		for line := range strings.Lines(key) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") && len(line) > 12 {
				assert.NotContains(t, err.Error(), line[:12])
			}
		}
	}
}

// A key that does not sign is told with its field and what it is; nothing is sent, and nothing of it is in the error.
func TestIssueWithAKeyThatDoesNotSign(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, whole := newRSAKey(t)
	for text, says := range map[string]string{
		pemOfKey(t, ec): "key field pem holds an ECDSA key of the curve P-256: the service takes RS256, which is signed with " +
			"an RSA key",
		whole[:200]:              "key field pem is no whole PEM",
		"":                       "key field pem is empty",
		"planted-secret-planted": "key field pem is no PEM",
	} {
		app := appOf(t, robotYAML, nil)
		client := providers.NewClient(noCall{t}, time.Now, "connectors-test/1")
		_, g, err := issueAt(t, client, app, providers.KindJWTBearer, map[string]string{"pem": text, "login": "robot"},
			map[string]string{"audience": "https://acme.example.com/token"})
		assert.Nil(t, g)
		e := failure(t, err)
		assert.True(t, e.NotSent())
		assert.Equal(t, providers.Misconfigured, e.Class)
		require.ErrorContains(t, err, says)
		assertTellsNothing(t, err, "planted-secret", text)
		assertTellsNothing(t, err, "planted-secret", whole)
	}
}

// What cannot be told where it must be known is no grant.
func TestIssueCaptures(t *testing.T) {
	server := providertest.New(t)
	key, text := newRSAKey(t)
	server.Trust(key.Public())
	for where, more := range map[string]string{
		"the token answer":   "connection_config: [{name: site, from: token, path: [site], required: true}]\n",
		"the token's claims": "connection_config: [{name: site, from: access_token_claims, path: [site], required: true}]\n",
	} {
		app := appOf(t, robotYAML+more, map[providers.Step]string{"token": server.URL + "/token"})
		_, g, err := issueAt(t, newClient(t, time.Now), app, providers.KindJWTBearer,
			map[string]string{"pem": text, "login": "robot"}, map[string]string{"audience": server.URL + "/token"})
		assert.Nil(t, g, where)
		assert.Equal(t, providers.ReasonCaptureMissing, failure(t, err).Reason, where)
	}
	app := appOf(t, robotYAML, nil)
	for _, kind := range providers.Kinds() {
		if kind.Issued() {
			continue
		}
		_, err := newClient(t, time.Now).Issue(context.Background(), app, providers.IssueRequest{Kind: kind})
		assert.Equal(t, providers.ReasonKindUnsupported, failure(t, err).Reason, kind)
	}
	assert.True(t, slices.ContainsFunc(providers.Kinds(), providers.Kind.Issued))
}
